"""How goals of every kind end and lapse: the table of SPEC §3, a row per kind, and what all of them share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from chassis.decision import Decision, Timer
from chassis.errors import Conflict, Invalid
from contracts import GoalKind, LapseReason, Outcome, ProposalRejection
from goals.domain import exclusive, funding, invitation, karaoke, private, show
from goals.domain.goal import End, Goal, GoalNotActive, end, lapse, unschedule, unschedule_lapse
from goals.domain.hold import Hold, reject
from goals.domain.stage import Stage, freed, require_on
from goals.domain.state import NOTHING, Change, Extension, together
from goals.domain.timing import Timing


class SessionGoalsDue(Timer, name="session-goals-due"):
    """An ended session had more open goals than one slice."""

    session_id: str


class AnswerMissing(Invalid, slug="answer-missing"):
    """An invitation is answered with `agree`, true or false."""


class NotDeletable(Conflict, slug="not-deletable"):
    """This goal ends by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A row: what is particular to one kind of goal."""

    outcome: Callable[[Goal, End], Outcome]
    after_end: Callable[[Goal, Stage, Timing], Change]
    progress: Callable[[Goal, datetime], int] = lambda goal, _now: goal.progress
    answer_hold: Callable[[Hold], Change] | None = None
    """None: no money is held for this kind."""
    deletable: bool = True
    lapses: tuple[Callable[[Goal], bool], LapseReason] | None = None
    """Whether something can still follow the ended goal, and why it lapses when nothing came."""


KINDS: Final[Mapping[GoalKind, Kind]] = {
    "TriggerExclusiveGoal": Kind(
        outcome=invitation.outcome,
        after_end=invitation.after_end,
        answer_hold=invitation.answer_hold,
        lapses=(invitation.awaits_exclusive, "no_exclusive"),
    ),
    "ExclusiveGoal": Kind(outcome=exclusive.outcome, after_end=exclusive.after_end),
    "ShowFundingGoal": Kind(
        outcome=funding.outcome,
        after_end=funding.after_end,
        answer_hold=funding.answer_hold,
        lapses=(funding.awaits_show, "no_show"),
    ),
    "ShowGoal": Kind(outcome=show.outcome, after_end=show.after_end, progress=show.performed_seconds),
    "TriggerPrivateGoal": Kind(outcome=private.outcome, after_end=private.after_end, answer_hold=private.answer_hold),
    "KaraokeGoal": Kind(outcome=karaoke.outcome, after_end=karaoke.after_end, deletable=False),
}


def require_answer(goal: Goal | None, agree: bool | None) -> None:  # noqa: FBT001 - the streamer's answer, as it came
    """Refuse a DELETE of an invitation that does not say yes or no.

    Raises:
        AnswerMissing: it does not.
    """
    if goal is not None and goal.kind == "TriggerExclusiveGoal" and agree is None:
        raise AnswerMissing(errors=[{"field": "agree", "message": "required on an invitation"}])


def deletion(goal: Goal, stage: Stage, *, agree: bool | None, now: datetime, triggerer: str) -> End:
    """How a DELETE ends a goal; `agree` is ignored unless it is an invitation.

    Raises:
        NotDeletable, GoalNotActive, SessionOver, InvitationExpired, InvitationRuledOut, StageTaken: as they say.
    """
    if not KINDS[goal.kind].deletable:
        raise NotDeletable
    if not goal.active:
        raise GoalNotActive
    require_on(stage)
    if goal.kind == "TriggerExclusiveGoal" and agree:
        invitation.require_agreeable(goal, stage, now)
    return resolved(goal, stage, End(how="deleted", at=now, triggerer=triggerer, agree=bool(agree)))


def resolved(goal: Goal, stage: Stage, how: End) -> End:
    """What really ended the goal: its session, if that was over before; its `exp`, if that had come by then."""
    if stage.ended_at is not None and stage.ended_at < how.at:
        how = End(how="session_ended", at=stage.ended_at)
    return replace(how, how="expired", at=goal.exp) if how.at >= goal.exp else how


def deactivate_goal(goal: Goal, stage: Stage, how: End, unbegun: Sequence[Extension], timing: Timing) -> Change:
    """End an active goal; `how` is resolved, `unbegun` are payments for time that had not begun by then.

    Only who found the goal active ends it, so `goal.ended` is told once.
    """
    kind = KINDS[goal.kind]
    final = replace(goal, progress=kind.progress(goal, how.at))
    ended, event = end(final, kind.outcome(final, how), how.at, how.triggerer)
    told: Change = Decision((ended,), (event,), (unschedule(ended),))
    return together(told, kind.after_end(ended, stage, timing), exclusive.reject_extensions(unbegun, how.at))


def progress(goal: Goal, now: datetime) -> int:
    """How far a goal has come by `now`."""
    return KINDS[goal.kind].progress(goal, now) if goal.active else goal.progress


def close_goal(goal: Goal, stage: Stage, how: End, unbegun: Sequence[Extension], timing: Timing) -> Change:
    """End whatever is open about a goal when its time or its session is over: `how` is resolved."""
    if goal.active:
        return deactivate_goal(goal, stage, how, unbegun, timing)
    reason: ProposalRejection = "session_ended" if how.how == "session_ended" else "proposal_expired"
    return invitation.reject_proposal(goal, stage, reason, how.at)


def lapse_goal(goal: Goal, stage: Stage) -> Change:
    """Say that nothing will follow `goal`, unless something did, and free the stage."""
    lapses = KINDS[goal.kind].lapses
    if lapses is None or not lapses[0](goal):
        return NOTHING
    lapsed, event = lapse(goal, "session_ended" if stage.ended_at else lapses[1])
    return Decision((lapsed, freed(stage, goal.id)), (event,), (unschedule_lapse(goal.id),))


def answer_hold(hold: Hold) -> Change:
    """Answer money that is held for a goal: it counts, or it is given back."""
    answer = KINDS[hold.goal.kind].answer_hold
    if answer is None:
        return reject(hold.event, "goal_unknown")
    if hold.goal.session_id != hold.event.session_id:
        return reject(hold.event, "other_session")
    return answer(hold)
