"""ExclusiveGoal: the 1-on-1 itself, and the time that is added to it (SPEC §3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis.decision import At, Decision, Timer
from chassis.errors import Conflict, NotFound
from contracts import (
    Context,
    GoalExtendedV1,
    GoalExtensionRejectedV1,
    Levels,
    Outcome,
    SessionViewerAuthorizedV1,
)
from goals.domain.goal import End, Goal, GoalNotActive, created, schedule, unschedule_lapse
from goals.domain.stage import Stage, freed, require_on
from goals.domain.state import SLICE, Change, Extension, together
from goals.domain.timing import Timing


class ExtensionsDue(Timer, name="extensions-due"):
    """An ended exclusive had more payments for unbegun time than one slice."""

    goal_id: str


class InvitationNotFound(NotFound, slug="invitation-not-found"):
    """There is no such invitation in this session."""


class InvitationNotAgreed(Conflict, slug="invitation-not-agreed"):
    """The invitation was not agreed to."""


class ExclusiveExists(Conflict, slug="exclusive-exists"):
    """This invitation's 1-on-1 was already started."""


class AgreementLapsed(Conflict, slug="agreement-lapsed"):
    """The 1-on-1 was not started in time."""


class NotExclusive(Conflict, slug="not-exclusive"):
    """Only a 1-on-1 can be extended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What a viewer has paid for more time of an exclusive, as sessions granted it `at` that moment."""

    id: str
    goal_id: str
    session_id: str
    streamer_id: str
    duration: int
    at: datetime

    def extension(self, begins: datetime | None) -> Extension:
        """What is remembered of it."""
        return Extension(
            id=self.id, goal_id=self.goal_id, session_id=self.session_id, streamer_id=self.streamer_id, begins=begins
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the streamer asks for."""

    goal_id: str
    levels: Levels
    nbf: datetime | None


def create(wanted: Wanted, invitation: Goal | None, stage: Stage, now: datetime, timing: Timing) -> Change:
    """Start the 1-on-1 that `invitation` was agreed to for, once; it ends when the viewer's time does.

    Raises:
        InvitationNotFound, SessionOver, InvitationNotAgreed, ExclusiveExists, AgreementLapsed: as they say.
    """
    if invitation is None or invitation.kind != "TriggerExclusiveGoal" or invitation.session_id != stage.id:
        raise InvitationNotFound
    require_on(stage)
    agreed, prepaid = _agreement(invitation)
    paid_from = agreed + timing.step
    exp = paid_from + timedelta(seconds=prepaid)
    if invitation.context.exclusive_goal_id is not None:
        raise ExclusiveExists
    if invitation.lapsed or now > invitation.exp + timing.window or now >= exp:
        raise AgreementLapsed
    goal = Goal(
        id=wanted.goal_id,
        kind="ExclusiveGoal",
        state="active",
        conditions=invitation.conditions,
        context=Context(
            type="exclusive",
            session_id=stage.id,
            exclusive_to=invitation.conditions.exclusive_to,
            trigger_exclusive_goal_id=invitation.id,
        ),
        levels=wanted.levels,
        metadata=invitation.metadata,
        nbf=max(now, min(wanted.nbf or now, paid_from)),
        exp=exp,
        created_at=now,
    )
    bound = bind_exclusive_goal_to_trigger_exclusive_goal(goal, invitation)
    return Decision((goal, bound, stage), (created(goal),), (schedule(goal), unschedule_lapse(invitation.id)))


def bind_exclusive_goal_to_trigger_exclusive_goal(goal: Goal, invitation: Goal) -> Goal:
    """The invitation that knows its exclusive, so that it can have no other."""
    return replace(invitation, context=invitation.context.model_copy(update={"exclusive_goal_id": goal.id}))


def extend(goal: Goal, stage: Stage, now: datetime, timing: Timing) -> Change:
    """Give the 1-on-1 one step more, and its viewer as well.

    Raises:
        NotExclusive, GoalNotActive, SessionOver: as they say.
    """
    if goal.kind != "ExclusiveGoal":
        raise NotExclusive
    if not goal.active:
        raise GoalNotActive
    require_on(stage)
    return _longer(goal, now, timing.step_seconds, None)


def payment_of(event: SessionViewerAuthorizedV1, at: datetime) -> Payment | None:
    """The payment for an exclusive behind a viewer's permission, if that is what it is. Other time does not count."""
    if event.reason != "paid" or not event.payment_id or not event.exclusive_goal_id or not event.duration:
        return None
    return Payment(
        id=event.payment_id,
        goal_id=event.exclusive_goal_id,
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        duration=event.duration,
        at=at,
    )


def extend_by_payment(payment: Payment, goal: Goal | None) -> Change:
    """Make the 1-on-1 as much longer as its viewer has paid for. One that comes too late is given back."""
    if goal is None or goal.kind != "ExclusiveGoal" or goal.session_id != payment.session_id or not goal.active:
        return reject_extensions((payment.extension(begins=None),), payment.at)
    extension = payment.extension(begins=max(payment.at, goal.exp))
    return together(_longer(goal, payment.at, payment.duration, payment.id), Decision((extension,)))


def reject_extensions(unbegun: Sequence[Extension], now: datetime) -> Change:
    """Give back payments of whose time nothing will be performed; a full slice of them may not be all."""
    rejected = tuple(replace(extension, rejected=True) for extension in unbegun)
    events = tuple(_rejection(extension) for extension in rejected)
    if len(rejected) < SLICE:
        return Decision(rejected, events)
    first = rejected[0]
    again = ExtensionsDue(goal_id=first.goal_id)
    return Decision(rejected, events, (At(again, id=f"extensions-due:{first.goal_id}", due=now, key=first.session_id),))


def outcome(goal: Goal, end: End) -> Outcome:
    """How a 1-on-1 comes out: completed when it ran as long as was paid for in advance (SPEC §3)."""
    if end.how == "expired":
        return "completed"
    ran = end.at - (goal.nbf or goal.created_at)
    return "completed" if ran >= timedelta(seconds=goal.metadata.prepaid_duration or 0) else "cancelled"


def after_end(goal: Goal, stage: Stage, _timing: Timing) -> Change:
    """The stage is free again."""
    return Decision((freed(stage, goal.context.trigger_exclusive_goal_id),))


def _rejection(extension: Extension) -> GoalExtensionRejectedV1:
    return GoalExtensionRejectedV1(
        goal_id=extension.goal_id,
        session_id=extension.session_id,
        streamer_id=extension.streamer_id,
        payment_id=extension.id,
    )


def _agreement(invitation: Goal) -> tuple[datetime, int]:
    """When it was agreed to, and the seconds that were paid for."""
    agreed, prepaid = invitation.metadata.agreed, invitation.metadata.prepaid_duration
    if agreed is None or prepaid is None:
        raise InvitationNotAgreed
    return agreed, prepaid


def _longer(goal: Goal, now: datetime, seconds: int, payment_id: str | None) -> Change:
    """The only way in which `exp` ever moves later; also past `exp`, as long as the goal was not deactivated."""
    longer = replace(goal, exp=max(now, goal.exp) + timedelta(seconds=seconds))
    viewer_id = goal.conditions.exclusive_to
    event = GoalExtendedV1(
        goal_id=goal.id,
        session_id=goal.session_id,
        streamer_id=goal.streamer_id,
        viewers=(viewer_id,) if viewer_id else (),
        nbf=now,
        duration=seconds,
        exp=longer.exp,
        payment_id=payment_id,
    )
    return Decision((longer,), (event,), (schedule(longer),))
