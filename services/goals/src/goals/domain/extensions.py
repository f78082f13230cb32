"""More time for a running ExclusiveGoal: given by its streamer, or paid for by its viewer (SPEC §3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from chassis.decision import At, Decision, Timer
from chassis.errors import Conflict
from contracts import GoalExtendedV1, GoalExtensionRejectedV1, SessionViewerAuthorizedV1
from goals.domain.goal import Goal, GoalNotActive, schedule
from goals.domain.stage import Stage, require_on
from goals.domain.state import SLICE, Change, Extension, together
from goals.domain.timing import Timing

STEPS_AHEAD_MAX: Final = 60  # SPEC §3: as much as can be bought at once


class ExtensionsDue(Timer, name="extensions-due"):
    """An ended exclusive had more payments for unbegun time than one slice."""

    goal_id: str


class NotExclusive(Conflict, slug="not-exclusive"):
    """Only a 1-on-1 can be extended."""


class ExtendedEnough(Conflict, slug="extended-enough"):
    """The 1-on-1 would last for more than 60 steps from now, or longer than its session can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidExtension:
    """What a viewer has paid for more time of an exclusive, as sessions granted it `at` that moment."""

    id: str
    goal_id: str
    session_id: str
    streamer_id: str
    duration: int
    at: datetime

    def remembered(self, begins: datetime | None) -> Extension:
        """What is remembered of it."""
        return Extension(
            id=self.id,
            goal_id=self.goal_id,
            session_id=self.session_id,
            streamer_id=self.streamer_id,
            begins=begins,
            duration=self.duration,
        )


def extend(goal: Goal, stage: Stage, now: datetime, timing: Timing) -> Change:
    """Give the 1-on-1 one step more, and its viewer as well.

    Raises:
        NotExclusive, GoalNotActive, SessionOver, ExtendedEnough: as they say.
    """
    if goal.kind != "ExclusiveGoal":
        raise NotExclusive
    if not goal.active:
        raise GoalNotActive
    require_on(stage)
    exp = _extended(goal, now, timing.step_seconds)
    if not _within_bounds(exp, stage, now, timing):
        raise ExtendedEnough
    return _longer(goal, exp, now, timing.step_seconds, None)


def paid_extension(event: SessionViewerAuthorizedV1, at: datetime) -> PaidExtension | None:
    """The payment for an exclusive behind a viewer's permission, if that is what it is. Other time does not count."""
    if event.reason != "paid" or not event.payment_id or not event.exclusive_goal_id or not event.duration:
        return None
    return PaidExtension(
        id=event.payment_id,
        goal_id=event.exclusive_goal_id,
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        duration=event.duration,
        at=at,
    )


def extend_by_payment(payment: PaidExtension, goal: Goal | None, stage: Stage | None, timing: Timing) -> Change:
    """Make the 1-on-1 as much longer as its viewer has paid for. What comes too late or is too much is given back."""
    too_late: Change = reject_extensions((payment.remembered(begins=None),), payment.at, timing)
    if goal is None or goal.kind != "ExclusiveGoal" or goal.session_id != payment.session_id or not goal.active:
        return too_late
    exp = _extended(goal, payment.at, payment.duration)
    if stage is None or not _within_bounds(exp, stage, payment.at, timing):
        return too_late
    remembered: Change = Decision((payment.remembered(begins=max(payment.at, goal.exp)),))
    return together(_longer(goal, exp, payment.at, payment.duration, payment.id), remembered)


def reject_extensions(unbegun: Sequence[Extension], ended_at: datetime, timing: Timing) -> Change:
    """Give back of each payment the steps that had not begun by then; a full slice of payments may not be all."""
    parts = [
        (replace(extension, rejected=True), _unbegun_seconds(extension, ended_at, timing)) for extension in unbegun
    ]
    rejected = tuple(extension for extension, seconds in parts if seconds != 0)
    events = tuple(_rejection(extension, seconds) for extension, seconds in parts if seconds != 0)
    if len(unbegun) < SLICE:
        return Decision(rejected, events)
    first = unbegun[0]
    again = At(
        ExtensionsDue(goal_id=first.goal_id),
        id=f"extensions-due:{first.goal_id}",
        due=ended_at,
        key=first.session_id,
    )
    return Decision(rejected, events, (again,))


def _extended(goal: Goal, now: datetime, seconds: int) -> datetime:
    return max(now, goal.exp) + timedelta(seconds=seconds)


def _within_bounds(exp: datetime, stage: Stage, now: datetime, timing: Timing) -> bool:
    return exp <= now + STEPS_AHEAD_MAX * timing.step and (stage.over_at is None or exp <= stage.over_at)


def _unbegun_seconds(extension: Extension, ended_at: datetime, timing: Timing) -> int | None:
    """The seconds of its whole steps that had not begun by then; None: all of it."""
    if extension.begins is None or extension.begins >= ended_at:
        return None
    left = extension.begins + timedelta(seconds=extension.duration or 0) - ended_at
    return max(left // timing.step, 0) * timing.step_seconds


def _rejection(extension: Extension, seconds: int | None) -> GoalExtensionRejectedV1:
    return GoalExtensionRejectedV1(
        goal_id=extension.goal_id,
        session_id=extension.session_id,
        streamer_id=extension.streamer_id,
        payment_id=extension.id,
        duration=seconds,
    )


def _longer(goal: Goal, exp: datetime, now: datetime, seconds: int, payment_id: str | None) -> Change:
    """The only way in which `exp` ever moves later; also past `exp`, as long as the goal was not deactivated."""
    longer = replace(goal, exp=exp)
    viewer_id = goal.conditions.exclusive_to
    event = GoalExtendedV1(
        goal_id=goal.id,
        session_id=goal.session_id,
        streamer_id=goal.streamer_id,
        viewers=(viewer_id,) if viewer_id else (),
        nbf=now,
        duration=seconds,
        exp=exp,
        payment_id=payment_id,
    )
    return Decision((longer,), (event,), (schedule(longer),))
