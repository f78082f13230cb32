"""Progress is pushed at most every 250 ms per goal, and the last one always (SPEC §6)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis.decision import At, Decision, Timer, derived_id
from contracts import GoalProgressedV1
from notifier.domain.pushes import PushCause

INTERVAL = timedelta(milliseconds=250)


class ProgressDue(Timer, name="progress-due"):
    """What has waited may be pushed now."""

    goal_id: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The latest progress that was not pushed: the event's JSON, its id and when it happened."""

    event: str
    event_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """When a goal's progress was pushed last, and what has come since."""

    id: str
    pushed: datetime
    waiting: Waiting | None = None


def progressed(known: Progress | None, event: GoalProgressedV1, cause: PushCause) -> Decision[Progress]:
    """A goal progressed: with nothing waiting afterwards it is to be pushed now, else later, instead of what waited."""
    if known is None or (known.waiting is None and cause.now - known.pushed >= INTERVAL):
        return Decision(Progress(event.goal_id, cause.now))
    waiting = Waiting(event.model_dump_json(exclude_defaults=True), cause.event_id, cause.at)
    if known.waiting is not None:
        return Decision(replace(known, waiting=waiting))
    due = ProgressDue(goal_id=event.goal_id)
    at = At(due, id=derived_id(due.NAME, event.goal_id), due=known.pushed + INTERVAL, key=event.session_id)
    return Decision(replace(known, waiting=waiting), timers=(at,))


def taken(known: Progress, now: datetime) -> Progress:
    """What waited is pushed now."""
    return replace(known, pushed=now, waiting=None)
