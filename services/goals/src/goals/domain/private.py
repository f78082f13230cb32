"""TriggerPrivateGoal: viewers give together until the streamer performs for those who gave (SPEC §3)."""

from dataclasses import replace
from datetime import datetime

from chassis.decision import Decision
from chassis.errors import Conflict
from contracts import Conditions, Context, Level, Metadata, Outcome
from contracts.escrow_ids import make_escrow_id
from goals.domain.goal import End, Goal, created, end, schedule, unschedule
from goals.domain.hold import Hold, count, reject
from goals.domain.stage import Stage, require_on
from goals.domain.state import Change, together
from goals.domain.timing import Timing


class PrivateGoalOpen(Conflict, slug="private-goal-open"):
    """A private goal is open in this session."""


def create(goal_id: str, level: Level, exp: datetime, stage: Stage, now: datetime) -> Change:
    """Ask for `level.target` diamonds until `exp`; one such goal at a time.

    Raises:
        SessionOver, PrivateGoalOpen: as they say.
    """
    require_on(stage)
    if stage.private_id is not None:
        raise PrivateGoalOpen
    goal = Goal(
        id=goal_id,
        kind="TriggerPrivateGoal",
        state="active",
        conditions=Conditions(session_id=stage.id),
        context=Context(type="trigger-private", session_id=stage.id),
        levels=(level,),
        metadata=Metadata(user_id=stage.streamer_id),
        exp=exp,
        created_at=now,
    )
    return Decision((goal, replace(stage, private_id=goal_id)), (created(goal),), (schedule(goal),))


def answer_hold(hold: Hold) -> Change:
    """A gift counts while the goal is on; the one that reaches the target completes it."""
    goal, event = hold.goal, hold.event
    if event.escrow_id != make_escrow_id("trigger_private", goal.id):
        return reject(event, "goal_unknown")
    if hold.stage.ended_at is not None:
        return reject(event, "session_ended")
    if hold.blocked:
        return reject(event, "viewer_blocked")
    if not goal.active or hold.held_at >= goal.exp:
        return reject(event, "goal_over")
    target, progress = goal.levels[0].target, goal.progress + event.amount_diamonds
    counted = count(hold, goal, progress=progress, target=target)
    if progress < target:
        return counted
    ended, event_ended = end(replace(goal, progress=progress), "completed", hold.now)
    owed = replace(_closed(hold.stage), private_owed_until=hold.now + hold.timing.private_judged)
    completed: Change = Decision((ended, owed), (event_ended,), (unschedule(ended),))
    return together(counted, completed)


def outcome(_goal: Goal, end: End, _timing: Timing) -> Outcome:
    """Without its target it is not completed (SPEC §3)."""
    return "timed_out" if end.cause == "expired" else "cancelled"


def after_end(_goal: Goal, stage: Stage, _timing: Timing) -> Change:
    """Another one may follow."""
    return Decision((_closed(stage),))


def _closed(stage: Stage) -> Stage:
    return replace(stage, private_id=None)
