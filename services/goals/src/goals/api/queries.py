"""What may be seen by whoever is signed in."""

from dataclasses import replace
from typing import Annotated, Final

from fastapi import Path, Query

from chassis.http import CallerDep, Page, PageDep, RankedPageDep, TxDep, TxRouter, invalid, paged
from chassis.storage.tx import Tx
from contracts.values import ObjectIdStr
from goals import store
from goals.api.views import GoalView, OwnGoalView, SupporterView, exists_for, is_of_two, is_own, line_of, view_of
from goals.domain.goal import Goal, GoalNotFound

router = TxRouter(tags=["goals"])

GoalId = Annotated[ObjectIdStr, Path(description="The goal")]
AnyGoalView = OwnGoalView | GoalView

RANK_DIGITS_MAX: Final = 9  # a thousand million supporters of one goal


@router.get("/goals")
async def list_goals(
    *,
    session_id: Annotated[ObjectIdStr | None, Query(description="Those of this session")] = None,
    mine: Annotated[bool, Query(description="Those that the caller has made, or has invited to")] = False,
    active: Annotated[bool | None, Query(description="Only those that are active, or that are not")] = None,
    caller: CallerDep,
    tx: TxDep,
    wanted: PageDep,
) -> Page[AnyGoalView]:
    """The goals of a session, or the caller's own in all sessions. Proposals: to their two people alone."""
    if mine == (session_id is not None):
        raise invalid("session_id", "either names a session, or `mine` is true")
    if session_id is not None:
        stage = await tx.get(store.STAGES, session_id)
        own = stage is not None and stage.streamer_id == caller.user_id
        of = {"conditions.session_id": session_id}
    else:
        own = True
        of = {"metadata.user_id": caller.user_id, "conditions.exclusive_to": caller.user_id}
    where = [{name: id_, "state": state} for name, id_ in of.items() for state in _states(active=active, own=own)]
    return await paged(
        tx, store.GOALS, where, wanted, lambda goal: view_of(goal, caller.user_id, tx.now), by="created_at"
    )


@router.get("/goals/{goal_id}", refuses=(GoalNotFound,))
async def get_goal(goal_id: GoalId, caller: CallerDep, tx: TxDep) -> AnyGoalView:
    """One goal. An invitation and a 1-on-1 show more to their two people."""
    return view_of(await _goal(goal_id, caller.user_id, tx), caller.user_id, tx.now)


@router.get("/goals/{goal_id}/leaderboard", refuses=(GoalNotFound,))
async def get_leaderboard(goal_id: GoalId, caller: CallerDep, tx: TxDep, wanted: RankedPageDep) -> Page[SupporterView]:
    """Who gave most, the first first; of equal ones, who gave it first. Of an invitation: its two people's."""
    goal = await _goal(goal_id, caller.user_id, tx)
    if is_of_two(goal) and not is_own(goal, caller.user_id):
        raise GoalNotFound
    before, after = _place(wanted.after)
    where = {"goal_id": goal_id}
    page = await paged(tx, store.SUPPORTERS, where, replace(wanted, after=after), lambda one: one, by="place")
    lines = [line_of(supporter, rank) for rank, supporter in enumerate(page.items, start=before + 1)]
    rank = before + len(lines)
    return Page(items=lines, next=page.next and f"{rank}-{page.next}", last=page.last and f"{rank}-{page.last}")


def _states(*, active: bool | None, own: bool) -> list[str]:
    """The states of the goals that are asked for; what is not one's own exists from when it is active."""
    over = ["ended", "proposed", "rejected"] if own else ["ended"]
    return {True: ["active"], False: over, None: ["active", *over]}[active]


async def _goal(goal_id: str, user_id: str, tx: Tx) -> Goal:
    goal = await tx.get(store.GOALS, goal_id)
    if goal is None or not exists_for(goal, user_id):
        raise GoalNotFound
    return goal


def _place(cursor: str | None) -> tuple[int, str | None]:
    """How many stand before a page of the leaderboard: the cursor says it, so that no page counts them anew."""
    if cursor is None:
        return 0, None
    rank, _, after = cursor.partition("-")
    if not (rank.isdecimal() and len(rank) <= RANK_DIGITS_MAX and after):
        raise invalid("after", "is not a cursor of this list")
    return int(rank), after
