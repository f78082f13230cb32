"""Verdicts: whether a promise was kept. The settlement table of SPEC §5, one function per event.

The first verdict is final. Escrow never judges another service's facts: the owner's event is the verdict, and a timer
only sets the earliest time.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from chassis.decision import At, Decision, Timer
from contracts import GoalCreatedV1, GoalEndedV1, GoalLapsedV1, SessionGoalClosedV1
from contracts.escrow import RefundReason, Verdict
from contracts.escrow_ids import make_escrow_id
from contracts.values import Open
from escrow.domain.escrows import Escrow


class RefundCheckDue(Timer, name="refund-check-due"):
    """From now on a lapsed promise is refunded (`check_funding_goal_refundable`, `check_trigger_exclusive_goal_…`)."""

    escrow_id: str


def escrow_of_goal(event: GoalCreatedV1 | GoalEndedV1) -> str | None:
    """The escrow that a goal is paid from: a show from its funding's, an exclusive from its invitation's."""
    context = event.context
    match event.kind:
        case "ShowFundingGoal":
            return make_escrow_id("show_funding", event.goal_id)
        case "ShowGoal":
            return make_escrow_id("show_funding", context.funding_goal_id) if context.funding_goal_id else None
        case "TriggerExclusiveGoal":
            return make_escrow_id("trigger_exclusive", event.goal_id)
        case "ExclusiveGoal":
            invitation = context.trigger_exclusive_goal_id
            return make_escrow_id("trigger_exclusive", invitation) if invitation else None
        case "TriggerPrivateGoal":
            return make_escrow_id("trigger_private", event.goal_id)
        case _:  # karaoke is paid at once, and a kind of tomorrow is nobody's promise yet
            return None


def escrow_of_closed(event: SessionGoalClosedV1) -> str | None:
    """The escrow whose money sessions' judgement concerns."""
    match event.kind:
        case "ShowGoal" if event.funding_goal_id:
            return make_escrow_id("show_funding", event.funding_goal_id)
        case "ExclusiveGoal" if event.trigger_exclusive_goal_id:
            return make_escrow_id("trigger_exclusive", event.trigger_exclusive_goal_id)
        case "TriggerPrivateGoal":
            return make_escrow_id("trigger_private", event.goal_id)
        case _:
            return None


def escrow_of_lapsed(event: GoalLapsedV1) -> str | None:
    """The escrow whose promise died after its goal had ended."""
    match event.kind:
        case "ShowFundingGoal":
            return make_escrow_id("show_funding", event.goal_id)
        case "TriggerExclusiveGoal":
            return make_escrow_id("trigger_exclusive", event.goal_id)
        case _:
            return None


def when_ended(
    escrow: Escrow, event: GoalEndedV1, *, show_refund_seconds: float, invitation_refund_seconds: float
) -> Decision[Escrow]:
    """`trigger_show_escrow_refund`, `trigger_exclusive_goal_escrow_refund`, `handle_trigger_private_goal_escrow`."""
    match event.kind, event.outcome:
        case ("ShowFundingGoal", "unfunded"):
            hesitation = event.context.hesitation_countdown or 0
            return _check_later(escrow, event.exp + timedelta(seconds=hesitation + show_refund_seconds))
        case ("TriggerExclusiveGoal", "agreed"):
            return _check_later(escrow, event.exp + timedelta(seconds=invitation_refund_seconds))
        case ("TriggerExclusiveGoal" | "ShowGoal" | "ExclusiveGoal" | "TriggerPrivateGoal", outcome):
            if outcome in ("refused", "timed_out", "cancelled"):
                return _judge(escrow, "refund", outcome)
            return Decision(None)  # completed: sessions judges it by `session.goal_closed`
        case _:
            return Decision(None)


def when_lapsed(escrow: Escrow, event: GoalLapsedV1) -> Decision[Escrow]:
    """Refund at once if the session ended, else no earlier than the refund check."""
    if event.reason == "session_ended":
        return _judge(escrow, "refund", "session_ended")
    lapsed = replace(escrow, lapsed=escrow.lapsed or event.reason)
    return _judge(lapsed, "refund", event.reason) if escrow.check_passed else Decision(lapsed)


def when_check_due(escrow: Escrow) -> Decision[Escrow]:
    """Refund if goals said that the promise lapsed; if it has not said so yet, as soon as it does."""
    checked = replace(escrow, check_passed=True)
    return _judge(checked, "refund", checked.lapsed) if checked.lapsed else Decision(checked)


def when_closed(escrow: Escrow, event: SessionGoalClosedV1) -> Decision[Escrow]:
    """Kept: release. Not kept: refund; for the reason that the goal's end gives, whichever of the two is read first."""
    if event.kept:
        return _judge(escrow, "release", None)
    outcome = event.outcome
    return _judge(escrow, "refund", outcome if outcome in ("refused", "timed_out", "cancelled") else "not_kept")


def _check_later(escrow: Escrow, due: datetime) -> Decision[Escrow]:
    check = At(RefundCheckDue(escrow_id=escrow.id), f"refund-check:{escrow.id}", due, escrow.session_id)
    return Decision(escrow, timers=() if escrow.verdict or escrow.check_passed else (check,))


def _judge(escrow: Escrow, verdict: Verdict, reason: Open[RefundReason] | None) -> Decision[Escrow]:
    """The first verdict is final."""
    if escrow.verdict is not None:
        return Decision(escrow)
    return Decision(replace(escrow, verdict=verdict, reason=reason))
