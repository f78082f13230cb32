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
from contracts.goals import Outcome
from contracts.values import Open
from escrow.domain.escrows import Escrow

BROKEN = ("refused", "timed_out", "cancelled")  # outcomes of a promise that was not completed


class FundingRefundCheckDue(Timer, name="funding-refund-check-due"):
    """From now on a funding that lapsed is refunded."""

    escrow_id: str


class InvitationRefundCheckDue(Timer, name="invitation-refund-check-due"):
    """From now on an agreed invitation that lapsed is refunded."""

    escrow_id: str


class RefundCheckDue(Timer, name="refund-check-due"):
    """Either of the two, set by an older release."""

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


def when_show_ended(escrow: Escrow, event: GoalEndedV1, *, refund_seconds: float) -> Decision[Escrow]:
    """An unfunded show may still come; one that was not completed is refunded (`trigger_show_escrow_refund`)."""
    match event.kind, event.outcome:
        case "ShowFundingGoal", "unfunded":
            hesitation = event.context.hesitation_countdown or 0
            due = event.exp + timedelta(seconds=hesitation + refund_seconds)
            return _check_later(escrow, FundingRefundCheckDue(escrow_id=escrow.id), due)
        case "ShowGoal", _:
            return _refund_broken(escrow, event.outcome)
        case _:
            return Decision(None)  # funded: its show will tell


def when_exclusive_ended(escrow: Escrow, event: GoalEndedV1, *, refund_seconds: float) -> Decision[Escrow]:
    """An agreed invitation waits for its exclusive (`trigger_exclusive_goal_escrow_refund`)."""
    match event.kind, event.outcome:
        case "TriggerExclusiveGoal", "agreed":
            due = event.exp + timedelta(seconds=refund_seconds)
            return _check_later(escrow, InvitationRefundCheckDue(escrow_id=escrow.id), due)
        case (("TriggerExclusiveGoal" | "ExclusiveGoal"), _):
            return _refund_broken(escrow, event.outcome)
        case _:
            return Decision(None)


def when_private_ended(escrow: Escrow, event: GoalEndedV1) -> Decision[Escrow]:
    """A private goal that was not reached is refunded (`handle_trigger_private_goal_escrow`)."""
    return _refund_broken(escrow, event.outcome) if event.kind == "TriggerPrivateGoal" else Decision(None)


def when_lapsed(escrow: Escrow, event: GoalLapsedV1) -> Decision[Escrow]:
    """Refund at once if the session ended or the streamer gave up, else no earlier than the refund check."""
    if event.reason in ("session_ended", "given_up"):
        return _judge(escrow, "refund", event.reason)
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
    return _judge(escrow, "refund", event.outcome if event.outcome in BROKEN else "not_kept")


def _refund_broken(escrow: Escrow, outcome: Outcome) -> Decision[Escrow]:
    """A promise that was broken off is refunded; one that was completed is judged by `session.goal_closed`."""
    return _judge(escrow, "refund", outcome) if outcome in BROKEN else Decision(None)


def _check_later(escrow: Escrow, check: Timer, due: datetime) -> Decision[Escrow]:
    at = At(check, f"refund-check:{escrow.id}", due, escrow.session_id)
    return Decision(escrow, timers=() if escrow.verdict or escrow.check_passed else (at,))


def _judge(escrow: Escrow, verdict: Verdict, reason: Open[RefundReason] | None) -> Decision[Escrow]:
    """The first verdict is final."""
    if escrow.verdict is not None:
        return Decision(escrow)
    return Decision(replace(escrow, verdict=verdict, reason=reason))
