"""Sessions, blocks and payments by the minute over HTTP."""

from chassis.http import TxRouter
from sessions.api import commands, queries

router = TxRouter()
router.include_router(commands.router)
router.include_router(queries.router)
