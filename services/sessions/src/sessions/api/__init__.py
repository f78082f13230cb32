"""Sessions, blocks and payments by the minute over HTTP."""

from chassis.http import TxRouter
from sessions.api import commands, queries, tokens

router = TxRouter()
router.include_router(tokens.router)  # asked for the most, and routes are looked through in this order
router.include_router(commands.router)
router.include_router(queries.router)
