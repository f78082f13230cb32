"""How goals of every kind end and lapse: the table of SPEC §3, a row per kind, and what all of them share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from chassis.decision import Decision, Timer
from chassis.errors import Conflict, Invalid
from contracts import GoalKind, LapseReason, Outcome, ProposalRejection
from goals.domain import exclusive, extensions, funding, invitation, karaoke, private, show
from goals.domain.goal import End, EndCause, Goal, GoalNotActive, end, lapse, unschedule, unschedule_lapse
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

    outcome: Callable[[Goal, End, Timing], Outcome]
    after_end: Callable[[Goal, Stage, Timing], Change]
    progress: Callable[[Goal, datetime], int] = lambda goal, _now: goal.progress
    answer_hold: Callable[[Hold], Change] | None = None
    """None: no money is held for this kind."""
    deletable: bool = True
    awaits_more: Callable[[Goal], bool] = lambda _goal: False
    """Whether something can still follow the ended goal."""
    nothing_came: LapseReason | None = None
    """Why it lapses then when nothing came."""


REJECTED: Final[Mapping[EndCause, ProposalRejection]] = {
    "expired": "proposal_expired",
    "session_ended": "session_ended",
    "blocked": "viewer_blocked",
}
"""Why a proposal comes to nothing, by what ended it."""

KINDS: Final[Mapping[GoalKind, Kind]] = {
    "TriggerExclusiveGoal": Kind(
        outcome=invitation.outcome,
        after_end=invitation.after_end,
        answer_hold=invitation.answer_hold,
        awaits_more=invitation.awaits_exclusive,
        nothing_came="no_exclusive",
    ),
    "ExclusiveGoal": Kind(outcome=exclusive.outcome, after_end=exclusive.after_end),
    "ShowFundingGoal": Kind(
        outcome=funding.outcome,
        after_end=funding.after_end,
        answer_hold=funding.answer_hold,
        awaits_more=funding.awaits_show,
        nothing_came="no_show",
    ),
    "ShowGoal": Kind(outcome=show.outcome, after_end=show.after_end, progress=show.performed_seconds),
    "TriggerPrivateGoal": Kind(outcome=private.outcome, after_end=private.after_end, answer_hold=private.answer_hold),
    "KaraokeGoal": Kind(outcome=karaoke.outcome, after_end=karaoke.after_end, deletable=False),
}


def require_answer(goal: Goal, agree: bool | None) -> bool:  # noqa: FBT001 - the streamer's answer, as it came
    """The streamer's answer. Only an invitation needs one.

    Raises:
        AnswerMissing: it does not.
    """
    if goal.kind == "TriggerExclusiveGoal" and agree is None:
        raise AnswerMissing(errors=[{"field": "agree", "message": "required on an invitation"}])
    return bool(agree)


def deletion(goal: Goal, stage: Stage, answer: End, timing: Timing) -> End:
    """How the streamer's DELETE ends a goal; whether they `agree` is ignored unless it is an invitation.

    Raises:
        NotDeletable, GoalNotActive, SessionOver, InvitationExpired, InvitationRuledOut, StageTaken, PrivateGoalOwed,
        SessionTooShort: as they say.
    """
    if not KINDS[goal.kind].deletable:
        raise NotDeletable
    if not goal.active:
        raise GoalNotActive
    require_on(stage)
    if goal.kind == "TriggerExclusiveGoal" and answer.agree:
        invitation.require_agreeable(goal, stage, answer.at, timing)
    return resolved(goal, stage, answer)


def withdrawal(goal: Goal, stage: Stage, withdrawn: End) -> End:
    """How an invitation ends that its viewer withdraws.

    Raises:
        GoalNotActive, SessionOver: as they say.
    """
    if not goal.active:
        raise GoalNotActive
    require_on(stage)
    return resolved(goal, stage, withdrawn)


def given_up(goal: Goal) -> bool:
    """Whether a DELETE means that the streamer gives up what they still owe: the show of an ended funding."""
    return goal.kind == "ShowFundingGoal" and funding.awaits_show(goal)


def resolved(goal: Goal, stage: Stage, ending: End) -> End:
    """What really ended the goal: its session, if that was over before; its `exp`, if that had come by then."""
    if stage.ended_at is not None and stage.ended_at < ending.at:
        ending = End(cause="session_ended", at=stage.ended_at)
    return replace(ending, cause="expired", at=goal.exp) if ending.at >= goal.exp else ending


def deactivate_goal(goal: Goal, stage: Stage, ending: End, unbegun: Sequence[Extension], timing: Timing) -> Change:
    """End an active goal; `ending` is resolved, `unbegun` are payments for time of which some had not begun by then.

    Only who found the goal active ends it, so `goal.ended` is told once.
    """
    kind = KINDS[goal.kind]
    final = replace(goal, progress=kind.progress(goal, ending.at))
    ended, event = end(final, kind.outcome(final, ending, timing), ending.at, ending.triggerer)
    final_change: Change = Decision((ended,), (event,), (unschedule(ended),))
    return together(
        final_change, kind.after_end(ended, stage, timing), extensions.reject_extensions(unbegun, ending.at, timing)
    )


def progress(goal: Goal, now: datetime) -> int:
    """How far a goal has come by `now`."""
    return KINDS[goal.kind].progress(goal, now) if goal.active else goal.progress


def close_goal(goal: Goal, stage: Stage, ending: End, unbegun: Sequence[Extension], timing: Timing) -> Change:
    """End whatever is open about a goal when its time or its session is over: `ending` is resolved."""
    if goal.active:
        return deactivate_goal(goal, stage, ending, unbegun, timing)
    return invitation.reject_proposal(goal, stage, REJECTED[ending.cause], ending.at)


def give_up(goal: Goal, stage: Stage) -> Change:
    """The streamer will not do what should follow `goal`.

    Raises:
        SessionOver: it has lapsed with the session, or will.
    """
    require_on(stage)
    return lapse_goal(goal, stage, "given_up")


def lapse_goal(goal: Goal, stage: Stage, reason: LapseReason | None = None) -> Change:
    """Say that nothing will follow `goal`, unless something did, and free the stage."""
    kind = KINDS[goal.kind]
    reason = "session_ended" if stage.ended_at else reason or kind.nothing_came
    if reason is None or not kind.awaits_more(goal):
        return NOTHING
    lapsed, event = lapse(goal, reason)
    return Decision((lapsed, freed(stage, goal.id)), (event,), (unschedule_lapse(goal.id),))


def answer_hold(hold: Hold) -> Change:
    """Answer money that is held for a goal: it counts, or it is given back."""
    answer = KINDS[hold.goal.kind].answer_hold
    if answer is None:
        return reject(hold.event, "goal_unknown")
    if hold.goal.session_id != hold.event.session_id:
        return reject(hold.event, "other_session")
    return answer(hold)
