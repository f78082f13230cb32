"""ExclusiveGoal: the 1-on-1 itself (SPEC §3). The time that is added to it: `extensions`."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis.decision import Decision
from chassis.errors import Conflict, NotFound
from contracts import Context, Levels, Outcome
from goals.domain.goal import End, Goal, created, schedule, unschedule_lapse
from goals.domain.stage import Stage, freed, require_on
from goals.domain.state import Change
from goals.domain.timing import Timing


class InvitationNotFound(NotFound, slug="invitation-not-found"):
    """There is no such invitation in this session."""


class InvitationNotAgreed(Conflict, slug="invitation-not-agreed"):
    """The invitation was not agreed to."""


class ExclusiveExists(Conflict, slug="exclusive-exists"):
    """This invitation's 1-on-1 was already started."""


class AgreementLapsed(Conflict, slug="agreement-lapsed"):
    """The 1-on-1 was not started in time."""


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


def outcome(goal: Goal, end: End, timing: Timing) -> Outcome:
    """How a 1-on-1 comes out: completed when it ran as long as was paid for in advance, less a tenth of a step."""
    if end.cause == "expired":
        return "completed"
    ran = end.at - (goal.nbf or goal.created_at)
    paid = timedelta(seconds=goal.metadata.prepaid_duration or 0)
    return "completed" if ran >= paid - timing.tolerance else "cancelled"


def after_end(goal: Goal, stage: Stage, _timing: Timing) -> Change:
    """The stage is free again."""
    return Decision((freed(stage, goal.context.trigger_exclusive_goal_id),))


def _agreement(invitation: Goal) -> tuple[datetime, int]:
    """When it was agreed to, and the seconds that were paid for."""
    agreed, prepaid = invitation.metadata.agreed, invitation.metadata.prepaid_duration
    if agreed is None or prepaid is None:
        raise InvitationNotAgreed
    return agreed, prepaid
