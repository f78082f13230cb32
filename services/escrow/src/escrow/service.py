"""Escrow on one page: what it listens to, and what it does then."""

from chassis.service import Migration, Service, on, when
from contracts import (
    GiftRequestedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    GoalProposedV1,
    SessionGoalClosedV1,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
)
from escrow import api, handlers, store
from escrow.domain.escrows import HeldTooLong
from escrow.domain.ledger import FoldDue
from escrow.domain.settlement import SettlementDue
from escrow.domain.verdicts import RefundCheckDue
from escrow.settings import Settings

SERVICE = Service(
    name="escrow",
    router=api.router,
    handlers=(
        on(GoalCreatedV1, handlers.remember_promise, needs=store.of_created),
        on(GoalProposedV1, handlers.hold_invitation_price, needs=store.of_proposal),
        on(GiftRequestedV1, handlers.hold_or_charge_gift, needs=store.of_gift),
        on(GoalProgressedV1, handlers.accept_earning, needs=store.of_answer),
        on(GoalContributionRejectedV1, handlers.refund_rejected_earning, needs=store.of_answer),
        on(GoalEndedV1, handlers.judge_ended_goal, needs=store.of_ended),
        on(GoalLapsedV1, handlers.judge_lapsed_goal, needs=store.of_lapsed),
        on(SessionGoalClosedV1, handlers.judge_closed_goal, needs=store.of_closed),
        on(SessionPaymentRequestedV1, handlers.charge_minutes, needs=store.of_minutes),
        on(SessionPaymentReversedV1, handlers.reverse_payment, needs=store.of_reversal),
    ),
    timers=(
        when(RefundCheckDue, handlers.check_refundable, needs=store.of_timer),
        when(SettlementDue, handlers.settle_slice, needs=store.of_timer),
        when(HeldTooLong, handlers.alert_held_too_long, needs=store.of_timer),
        when(FoldDue, handlers.fold_movements),
    ),
    collections=store.ALL,
    settings=(Settings,),
    migrations=(Migration(1, "fold movements for ever", store.begin_folding),),
)
