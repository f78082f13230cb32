"""What operators ask over HTTP, and what the vendor tells."""

from chassis.http import TxRouter
from rtc_control.api import callbacks, queries

router = TxRouter()
router.include_router(queries.router)
router.include_router(callbacks.router)
