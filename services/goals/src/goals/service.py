"""Goals on one page: what it listens to, what it does then, and what it looks at later."""

from chassis.service import Service, on, when
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowHeldV1,
    EscrowRejectedV1,
    GiftSentV1,
    PaymentSucceededV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from goals import api, handlers, store
from goals.domain.extensions import ExtensionsDue
from goals.domain.goal import GoalDue, LapseDue
from goals.domain.lifecycle import SessionGoalsDue
from goals.settings import GoalsSettings

SERVICE = Service(
    name="goals",
    router=api.router,
    handlers=(
        on(SessionStartedV1, handlers.remember_session, needs=store.of_session),
        on(SessionUpdatedV1, handlers.remember_session, needs=store.of_session),
        on(SessionEndedV1, handlers.end_goals_of_session, needs=store.of_session),
        on(SessionViewerAuthorizedV1, handlers.extend_paid_exclusive, needs=store.of_payment),
        on(ViewerBlockedV1, handlers.block_viewer),
        on(ViewerUnblockedV1, handlers.unblock_viewer),
        on(EscrowHeldV1, handlers.answer_hold, needs=store.of_hold),
        on(EscrowRejectedV1, handlers.reject_proposal, needs=store.of_rejected_hold),
        on(EscrowFailedV1, handlers.take_back_contribution, needs=store.of_refund),
        on(EscrowCompletedV1, handlers.remember_buyer, needs=store.of_buyer),
        on(PaymentSucceededV1, handlers.remember_payer, needs=store.of_payer),
        on(GiftSentV1, handlers.begin_karaoke, needs=store.of_gift),
    ),
    timers=(
        when(GoalDue, handlers.deactivate_goal, needs=store.of_timer),
        when(LapseDue, handlers.lapse_goal, needs=store.of_timer),
        when(SessionGoalsDue, handlers.end_more_goals_of_session),
        when(ExtensionsDue, handlers.reject_more_extensions),
    ),
    collections=store.COLLECTIONS,
    settings=(GoalsSettings,),
)
