"""Goals over HTTP: what a streamer or a viewer asks for, and what there is (SPEC §3)."""

from chassis.http import TxRouter
from goals.api import commands, queries

router = TxRouter()
router.include_router(commands.router)
router.include_router(queries.router)
