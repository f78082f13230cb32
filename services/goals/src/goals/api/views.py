"""What a goal looks like, and to whom: named fields for each role, so that no new one is shown by accident (SPEC §2).

An invitation and a 1-on-1, and what happens in it, are their two people's. To everybody else, an operator too, they
have neither a viewer nor a price, nor a reason; and what never was a promise does not exist.
"""

from datetime import datetime
from typing import Any, Final

from chassis.http import Body, UnixTime
from contracts import Context, GoalKind, Outcome
from goals.api.contexts import BARE, CONTEXT, ContextView
from goals.domain import lifecycle
from goals.domain.goal import Goal, State
from goals.domain.state import Supporter

OF_TWO: Final[tuple[GoalKind, ...]] = ("TriggerExclusiveGoal", "ExclusiveGoal")
"""Kinds that are always two people's. A song is, when it is for somebody alone."""


class ConditionsView(Body):
    """Where a goal counts."""

    session_id: str


class OwnConditionsView(ConditionsView):
    """Where, and with whom alone."""

    exclusive_to: str | None


class LevelView(Body):
    """A mark on the way."""

    title: str | None
    target: int


class MetadataView(Body):
    """Whose goal it is: the streamer."""

    user_id: str


class OwnMetadataView(MetadataView):
    """Whose, the seconds that were paid for in advance, and when the streamer agreed."""

    prepaid_duration: int | None
    agreed: UnixTime | None


class GoalView(Body):
    """A goal, as everybody sees it; `progress` of a show are the whole seconds performed by now."""

    id: str
    kind: GoalKind
    active: bool
    state: State
    conditions: ConditionsView
    context: ContextView
    levels: tuple[LevelView, ...]
    progress: int
    nbf: UnixTime | None
    exp: UnixTime
    metadata: MetadataView
    outcome: Outcome | None
    ended_at: UnixTime | None
    lapsed: bool


class OwnGoalView(GoalView):
    """An invitation or a 1-on-1, or a song in it, as its streamer and its viewer see it."""

    conditions: OwnConditionsView
    metadata: OwnMetadataView
    amount_diamonds: int | None
    """What the invitation costs; null of the 1-on-1 that follows."""
    reason: str | None
    """Why the invitation was rejected."""


class SupporterView(Body):
    """A line of the leaderboard."""

    user_id: str
    rank: int
    count: int
    amount_diamonds: int


def is_of_two(goal: Goal) -> bool:
    """Whether a goal is two people's, its streamer's and one viewer's."""
    return goal.kind in OF_TWO or goal.conditions.exclusive_to is not None


def is_own(goal: Goal, user_id: str) -> bool:
    """Whether a goal that is two people's is this user's."""
    return is_of_two(goal) and user_id in (goal.streamer_id, goal.conditions.exclusive_to)


def exists_for(goal: Goal, user_id: str) -> bool:
    """Whether this user may know of a goal: of what never was a promise, only the two whom it concerns."""
    return goal.state in ("active", "ended") or is_own(goal, user_id)


def view_of(goal: Goal, user_id: str, now: datetime) -> GoalView | OwnGoalView:
    """The goal as this user sees it."""
    own, bare = is_own(goal, user_id), is_of_two(goal) and not is_own(goal, user_id)
    shown: dict[str, Any] = {
        "id": goal.id,
        "kind": goal.kind,
        "active": goal.active,
        "state": goal.state,
        "conditions": ConditionsView(session_id=goal.session_id),
        "context": _present(goal.context, BARE if bare else CONTEXT[goal.kind]),
        "levels": () if bare else tuple(LevelView(title=level.title, target=level.target) for level in goal.levels),
        "progress": lifecycle.progress(goal, now),
        "nbf": None if bare else goal.nbf,
        "exp": goal.exp,
        "metadata": MetadataView(user_id=goal.streamer_id),
        "outcome": goal.outcome,
        "ended_at": goal.ended_at,
        "lapsed": goal.lapsed,
    }
    return OwnGoalView(**shown | _own(goal)) if own else GoalView(**shown)


def line_of(supporter: Supporter, rank: int) -> SupporterView:
    """A line of the leaderboard."""
    return SupporterView(
        user_id=supporter.user_id, rank=rank, count=supporter.count, amount_diamonds=supporter.amount_diamonds
    )


def _own(goal: Goal) -> dict[str, Any]:
    metadata = goal.metadata
    return {
        "conditions": OwnConditionsView(session_id=goal.session_id, exclusive_to=goal.conditions.exclusive_to),
        "metadata": OwnMetadataView(
            user_id=goal.streamer_id, prepaid_duration=metadata.prepaid_duration, agreed=metadata.agreed
        ),
        "amount_diamonds": goal.amount_diamonds,
        "reason": goal.reason,
    }


def _present(context: Context, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the fields that this goal has."""
    return {name: value for name in names if (value := getattr(context, name)) is not None}
