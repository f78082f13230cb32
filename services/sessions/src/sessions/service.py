"""The sessions service on one page: what it listens to, and what it does then."""

from chassis.service import Service, on, when
from contracts import (
    EscrowFailedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalExtendedV1,
    GoalExtensionRejectedV1,
    GoalLapsedV1,
    PaymentFailedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
    PresenceCountedV1,
)
from sessions import api, store
from sessions.domain.session import SessionMaxReached
from sessions.handlers import exclusive, payments, session
from sessions.settings import SessionsSettings

SERVICE = Service(
    name="sessions",
    router=api.router,
    handlers=(
        on(GoalCreatedV1, exclusive.bind_trigger_exclusive_goal_to_session, needs=store.exclusive_of),
        on(GoalCreatedV1, exclusive.bind_exclusive_goals_to_session, needs=store.exclusive_of),
        on(GoalEndedV1, exclusive.set_embedded_goal_ended, needs=store.exclusive_of),
        on(GoalExtendedV1, exclusive.extend_viewer, needs=store.extension_of),
        on(GoalLapsedV1, exclusive.release_session, needs=store.lapsed_session_of),
        on(EscrowFailedV1, exclusive.take_back_refunded_time, needs=store.refunded_of),
        on(PaymentSucceededV1, payments.give_paid_time, needs=store.payment_of),
        on(PaymentFailedV1, payments.fail_payment, needs=store.payment_of),
        on(PaymentReversedV1, payments.confirm_payment_reversed, needs=store.payment_of),
        on(GoalExtensionRejectedV1, payments.reverse_rejected_extension, needs=store.rejected_payment_of),
        on(PresenceCountedV1, session.count_heads, needs=store.head_count_of),
    ),
    timers=(when(SessionMaxReached, session.end_session_at_max),),
    collections=store.COLLECTIONS,
    settings=(SessionsSettings,),
)
