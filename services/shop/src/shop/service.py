"""Shop on one page: what it listens to, and what it does then."""

from chassis.service import Service, on
from contracts import (
    EscrowFailedV1,
    EscrowRejectedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalProgressedV1,
    PaymentFailedV1,
    PaymentSucceededV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from shop import api, handlers, store
from shop.settings import ShopSettings

SERVICE = Service(
    name="shop",
    router=api.router,
    handlers=(
        on(SessionStartedV1, handlers.follow_session, needs=store.of_session),
        on(SessionUpdatedV1, handlers.follow_session, needs=store.of_session),
        on(SessionEndedV1, handlers.follow_session, needs=store.of_session),
        on(ViewerBlockedV1, handlers.follow_block),
        on(ViewerUnblockedV1, handlers.follow_unblock),
        on(GoalCreatedV1, handlers.follow_goal, needs=store.of_goal),
        on(GoalEndedV1, handlers.follow_goal, needs=store.of_goal),
        on(GoalProgressedV1, handlers.send_counted_gift, needs=store.of_gift),
        on(GoalContributionRejectedV1, handlers.fail_rejected_gift, needs=store.of_gift),
        on(EscrowRejectedV1, handlers.fail_unheld_gift, needs=store.of_gift),
        on(EscrowFailedV1, handlers.remember_refund, needs=store.of_gift),
        on(PaymentSucceededV1, handlers.send_paid_gift, needs=store.of_gift),
        on(PaymentFailedV1, handlers.fail_unpaid_gift, needs=store.of_gift),
    ),
    collections=store.ALL,
    settings=(ShopSettings,),
)
