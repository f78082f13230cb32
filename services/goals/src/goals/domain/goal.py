"""A goal: a promise with a deadline, whatever its kind (SPEC §3)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from chassis.decision import At, Cancel, Timer
from chassis.errors import Conflict, Invalid, NotFound
from contracts import (
    Conditions,
    Context,
    GoalCreatedV1,
    GoalEndedV1,
    GoalKind,
    GoalLapsedV1,
    LapseReason,
    Levels,
    Metadata,
    Outcome,
)

State = Literal["proposed", "active", "ended", "rejected"]

DEADLINE_MAX: Final = timedelta(hours=24)  # SPEC §3
OPEN: tuple[State, ...] = ("proposed", "active")


class GoalNotFound(NotFound, slug="goal-not-found"):
    """There is no such goal."""


class GoalNotActive(Conflict, slug="goal-not-active"):
    """The goal is not active."""


class DeadlineOutOfRange(Invalid, slug="deadline-out-of-range"):
    """The deadline must lie in the future, at most 24 h away."""


class GoalDue(Timer, name="goal-due"):
    """A goal reaches its `exp`."""

    goal_id: str
    session_id: str


class LapseDue(Timer, name="lapse-due"):
    """What should have followed an ended goal has not come in time."""

    goal_id: str
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal of any kind. Contributions, supporters and payments are documents of their own."""

    id: str
    kind: GoalKind
    state: State
    conditions: Conditions
    context: Context
    levels: Levels = ()
    metadata: Metadata
    progress: int = 0
    nbf: datetime | None = None
    exp: datetime
    created_at: datetime
    outcome: Outcome | None = None
    ended_at: datetime | None = None
    lapsed: bool = False
    amount_diamonds: int | None = None
    """What an invitation costs."""
    reason: str | None = None
    """Why a proposal was rejected."""
    agreements_seen: int = 0
    """How many agreements the session had seen when this invitation became active."""

    @property
    def session_id(self) -> str:
        """Where it counts."""
        return self.conditions.session_id

    @property
    def streamer_id(self) -> str:
        """Whose goal it is."""
        return self.metadata.user_id

    @property
    def active(self) -> bool:
        """Whether it can still come out one way or another."""
        return self.state == "active"


EndCause = Literal["expired", "deleted", "session_ended", "withdrawn", "blocked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Why and when a goal ends: its `exp` came, its streamer deleted it, or the session ended.

    An invitation also ends when its viewer withdraws it, or is blocked.
    """

    cause: EndCause
    at: datetime
    triggerer: str | None = None
    agree: bool = False


def owned_by(goal: Goal | None, user_id: str) -> Goal:
    """The goal, for its streamer.

    Raises:
        GoalNotFound: it is somebody else's, or nobody's.
    """
    if goal is None or goal.streamer_id != user_id:
        raise GoalNotFound
    return goal


def require_deadline(exp: datetime, now: datetime) -> None:
    """Refuse a deadline that a streamer cannot set.

    Raises:
        DeadlineOutOfRange: it has passed, or is more than 24 h away.
    """
    if not now < exp <= now + DEADLINE_MAX:
        raise DeadlineOutOfRange(errors=[{"field": "exp", "message": "must lie within the next 24 h"}])


def created(goal: Goal) -> GoalCreatedV1:
    """Tell that the goal is open."""
    return GoalCreatedV1(
        goal_id=goal.id,
        session_id=goal.session_id,
        streamer_id=goal.streamer_id,
        kind=goal.kind,
        active=True,
        conditions=goal.conditions,
        context=goal.context,
        levels=goal.levels,
        metadata=goal.metadata,
        nbf=goal.nbf,
        exp=goal.exp,
    )


def schedule(goal: Goal) -> At:
    """Look at the goal at its `exp`; set anew when `exp` moves."""
    timer = GoalDue(goal_id=goal.id, session_id=goal.session_id)
    return At(timer, id=f"goal-due:{goal.id}", due=goal.exp, key=goal.session_id)


def unschedule(goal: Goal) -> Cancel:
    """The goal is over; its timer has nothing to do any more."""
    return Cancel(f"goal-due:{goal.id}")


def schedule_lapse(goal: Goal, due: datetime) -> At:
    """Look at `due` whether what should follow this goal has come."""
    timer = LapseDue(goal_id=goal.id, session_id=goal.session_id)
    return At(timer, id=f"lapse-due:{goal.id}", due=due, key=goal.session_id)


def unschedule_lapse(goal_id: str) -> Cancel:
    """What should follow has come."""
    return Cancel(f"lapse-due:{goal_id}")


def end(goal: Goal, outcome: Outcome, at: datetime, triggerer: str | None = None) -> tuple[Goal, GoalEndedV1]:
    """The goal when it is over, and the event that says so. `exp` never moves later."""
    ended_at = min(goal.exp, at)
    agreed = {"agreed": at} if outcome == "agreed" else {}
    ended = replace(
        goal,
        state="ended",
        outcome=outcome,
        ended_at=ended_at,
        exp=ended_at,
        metadata=goal.metadata.model_copy(update=agreed),
    )
    event = GoalEndedV1(
        goal_id=ended.id,
        session_id=ended.session_id,
        streamer_id=ended.streamer_id,
        kind=ended.kind,
        active=False,
        progress=ended.progress,
        levels=ended.levels,
        conditions=ended.conditions,
        context=ended.context,
        exp=ended.exp,
        ended_at=ended_at,
        triggerer=triggerer,
        metadata=ended.metadata,
        outcome=outcome,
    )
    return ended, event


def lapse(goal: Goal, reason: LapseReason) -> tuple[Goal, GoalLapsedV1]:
    """The goal when nothing can follow it any more, and the event that says so."""
    event = GoalLapsedV1(
        goal_id=goal.id, session_id=goal.session_id, streamer_id=goal.streamer_id, kind=goal.kind, reason=reason
    )
    return replace(goal, lapsed=True), event
