"""What clients, Pusher's clients, and Pusher itself ask over HTTP."""

from chassis.http import TxRouter
from notifier.api import authorization, configuration, queries, webhooks

router = TxRouter()
router.include_router(authorization.router)
router.include_router(configuration.router)
router.include_router(queries.router)
router.include_router(webhooks.router)
