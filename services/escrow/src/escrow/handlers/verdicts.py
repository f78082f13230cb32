"""Kept or not: the owners' facts, and the timers that set the earliest time."""

from chassis.decision import Decision
from chassis.storage.tx import Tx
from contracts import GoalEndedV1, GoalLapsedV1, SessionGoalClosedV1
from escrow import store
from escrow.domain import escrows, settlement, verdicts
from escrow.domain.escrows import Escrow
from escrow.domain.verdicts import FundingRefundCheckDue, InvitationRefundCheckDue, RefundCheckDue
from escrow.handlers.settlement import settle
from escrow.settings import Settings
from escrow.store import load


async def trigger_show_escrow_refund(event: GoalEndedV1, tx: Tx) -> None:
    """An unfunded show is looked at again after its hesitation; one that was not completed is refunded."""
    escrow_id = verdicts.escrow_of_goal(event)
    if event.kind in ("ShowFundingGoal", "ShowGoal") and escrow_id is not None:
        escrow = await load.escrow(tx, escrow_id, event)
        seconds = tx.settings(Settings).show_refund_seconds
        await _judge(tx, escrow, verdicts.when_show_ended(escrow, event, refund_seconds=seconds))


async def trigger_exclusive_goal_escrow_refund(event: GoalEndedV1, tx: Tx) -> None:
    """An agreed invitation is looked at again after its window; any other, and a 1-on-1 cut short, is refunded."""
    escrow_id = verdicts.escrow_of_goal(event)
    if event.kind in ("TriggerExclusiveGoal", "ExclusiveGoal") and escrow_id is not None:
        escrow = await load.escrow(tx, escrow_id, event)
        seconds = tx.settings(Settings).invitation_refund_seconds
        await _judge(tx, escrow, verdicts.when_exclusive_ended(escrow, event, refund_seconds=seconds))


async def handle_trigger_private_goal_escrow(event: GoalEndedV1, tx: Tx) -> None:
    """A private goal that was not reached is refunded."""
    escrow_id = verdicts.escrow_of_goal(event)
    if event.kind == "TriggerPrivateGoal" and escrow_id is not None:
        escrow = await load.escrow(tx, escrow_id, event)
        await _judge(tx, escrow, verdicts.when_private_ended(escrow, event))


async def judge_lapsed_goal(event: GoalLapsedV1, tx: Tx) -> None:
    """A promise died: refund; unless the session ended or the streamer gave up, never before its refund check."""
    escrow_id = verdicts.escrow_of_lapsed(event)
    if escrow_id is not None:
        escrow = await load.escrow(tx, escrow_id, event)
        await _judge(tx, escrow, verdicts.when_lapsed(escrow, event))


async def judge_closed_goal(event: SessionGoalClosedV1, tx: Tx) -> None:
    """Sessions says whether the promise was kept: release, or refund."""
    escrow_id = verdicts.escrow_of_closed(event)
    if escrow_id is not None:
        escrow = await load.escrow(tx, escrow_id, event)
        await _judge(tx, escrow, verdicts.when_closed(escrow, event))


async def check_funding_goal_refundable(timer: FundingRefundCheckDue, tx: Tx) -> None:
    """Refund an unfunded show if it lapsed; if goals has not said so yet, as soon as it does."""
    await _check(tx, timer.escrow_id)


async def check_trigger_exclusive_goal_refundable(timer: InvitationRefundCheckDue, tx: Tx) -> None:
    """Refund an agreed invitation if it lapsed; if goals has not said so yet, as soon as it does."""
    await _check(tx, timer.escrow_id)


async def check_refundable(timer: RefundCheckDue, tx: Tx) -> None:
    """The same of either, for a timer that an older release has set."""
    await _check(tx, timer.escrow_id)


async def _check(tx: Tx, escrow_id: str) -> None:
    escrow = await tx.get(store.ESCROWS, escrow_id)
    if escrow is not None:
        await _judge(tx, escrow, verdicts.when_check_due(escrow))


async def _judge(tx: Tx, before: Escrow, decision: Decision[Escrow]) -> None:
    """Save a verdict and begin to settle: an invitation's one earning at once, any other escrow slice by slice."""
    tx.apply(store.ESCROWS, decision)
    escrow = decision.state
    if escrow is None or escrow.verdict is None or before.verdict is not None:
        return
    cause = escrows.only_cause(escrow.id)
    if cause is None:
        tx.set_timer(settlement.settlement_due(escrow, tx.now))
        return
    earning = await tx.get(store.EARNINGS, escrows.earning_id(escrow.id, cause))
    await settle(tx, escrow, (earning,) if earning else ())
