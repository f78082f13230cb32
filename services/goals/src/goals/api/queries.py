"""What anybody signed in may see."""

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import PlainSerializer

from chassis.http import Body, Page, PageDep, TxDep, TxRouter, UnixTime, paged
from chassis.tx import Tx
from contracts import Conditions, Context, GoalKind, Levels, Outcome
from contracts.values import Data, ObjectIdStr
from goals import store
from goals.domain import lifecycle
from goals.domain.goal import Goal, GoalNotFound, State
from goals.domain.state import Supporter

router = TxRouter(tags=["goals"])

GoalId = Annotated[ObjectIdStr, Path(description="The goal")]


def _present(data: Data) -> dict[str, Any]:
    """Only the fields that this kind of goal has."""
    return data.model_dump(exclude_none=True)


Present = PlainSerializer(_present, return_type=dict[str, Any])


class MetadataView(Body):
    """Whose goal it is, and what is known of its agreement."""

    user_id: str
    prepaid_duration: int | None
    agreed: UnixTime | None


class GoalView(Body):
    """A goal; `progress` of a show are the whole seconds performed by now."""

    id: str
    kind: GoalKind
    active: bool
    state: State
    conditions: Annotated[Conditions, Present]
    context: Annotated[Context, Present]
    levels: Levels
    progress: int
    nbf: UnixTime | None
    exp: UnixTime
    metadata: MetadataView
    outcome: Outcome | None
    ended_at: UnixTime | None
    lapsed: bool


class SupporterView(Body):
    """A line of the leaderboard."""

    user_id: str
    rank: int
    count: int
    amount_diamonds: int


@router.get("/goals")
async def list_goals(
    *, session_id: Annotated[ObjectIdStr, Query()], tx: TxDep, wanted: PageDep, active: bool | None = None
) -> Page[GoalView]:
    """The goals of a session: all, or only those that are active, or that are not."""
    where: dict[str, Any] = {"conditions.session_id": session_id}
    if active is not None:
        where["state"] = "active" if active else {"$ne": "active"}
    return await paged(tx, store.GOALS, where, wanted, lambda goal: _view(goal, tx), by="created_at")


@router.get("/goals/{goal_id}", refuses=(GoalNotFound,))
async def get_goal(goal_id: GoalId, tx: TxDep) -> GoalView:
    """One goal."""
    return _view(await _goal(goal_id, tx), tx)


@router.get("/goals/{goal_id}/leaderboard", refuses=(GoalNotFound,))
async def get_leaderboard(goal_id: GoalId, tx: TxDep, wanted: PageDep) -> Page[SupporterView]:
    """Who gave most, the first first; of equal ones, who gave it first."""
    await _goal(goal_id, tx)
    page = await paged(tx, store.SUPPORTERS, {"goal_id": goal_id}, wanted, lambda supporter: supporter, by="place")
    before = await store.supporters_before(tx, page.items[0]) if wanted.after and page.items else 0
    lines = [_line(supporter, rank) for rank, supporter in enumerate(page.items, start=before + 1)]
    return Page(items=lines, next=page.next)


async def _goal(goal_id: str, tx: Tx) -> Goal:
    goal = await tx.get(store.GOALS, goal_id)
    if goal is None:
        raise GoalNotFound
    return goal


def _view(goal: Goal, tx: Tx) -> GoalView:
    return GoalView(
        id=goal.id,
        kind=goal.kind,
        active=goal.active,
        state=goal.state,
        conditions=goal.conditions,
        context=goal.context,
        levels=goal.levels,
        progress=lifecycle.progress(goal, tx.now),
        nbf=goal.nbf,
        exp=goal.exp,
        metadata=MetadataView(
            user_id=goal.metadata.user_id,
            prepaid_duration=goal.metadata.prepaid_duration,
            agreed=goal.metadata.agreed,
        ),
        outcome=goal.outcome,
        ended_at=goal.ended_at,
        lapsed=goal.lapsed,
    )


def _line(supporter: Supporter, rank: int) -> SupporterView:
    return SupporterView(
        user_id=supporter.user_id, rank=rank, count=supporter.count, amount_diamonds=supporter.amount_diamonds
    )
