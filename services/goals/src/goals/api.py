"""Goals over HTTP: what a streamer or a viewer asks for, and what there is (SPEC §3)."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import Field, PlainSerializer

from chassis import ids
from chassis.http import Body, BodyBy, Caller, CallerDep, Page, PageDep, TxDep, TxRouter, UnixTime, paged
from chassis.http.problems import ScopeMissing
from chassis.tx import Tx
from contracts import Conditions, Context, GoalKind, Level, Outcome
from contracts.values import Count, Data, ObjectIdStr, Title
from goals import store
from goals.domain import exclusive, invitation, lifecycle
from goals.domain.goal import Goal, GoalNotActive, GoalNotFound, State, owned_by
from goals.domain.stage import NotYourSession, SessionNotFound, SessionOver, StageTaken, require_own
from goals.domain.state import Supporter
from goals.settings import GoalsSettings

router = TxRouter(tags=["goals"])

LEVELS_MAX = 10  # SPEC §3
TYPES = Literal["trigger-exclusive", "exclusive"]

GoalId = Annotated[ObjectIdStr, Path(description="The goal")]


class NewLevel(Body):
    """A mark on the way that viewers see."""

    title: Title | None = None
    target: Count


class InvitationContext(Body):
    """Where, and for how many seconds."""

    session_id: ObjectIdStr
    duration: Annotated[int, Field(ge=1, le=10**6)] | None = None


class NewInvitation(Body):
    """`type=trigger-exclusive`: a viewer asks for a 1-on-1."""

    context: InvitationContext


class ExclusiveContext(Body):
    """Which agreed invitation it follows."""

    session_id: ObjectIdStr
    trigger_exclusive_goal_id: ObjectIdStr


class NewExclusive(Body):
    """`type=exclusive`: the streamer starts the 1-on-1."""

    context: ExclusiveContext
    levels: Annotated[tuple[NewLevel, ...], Field(max_length=LEVELS_MAX)] = ()
    nbf: UnixTime | None = None


class Deletion(Body):
    """The streamer's answer to an invitation; ignored elsewhere."""

    agree: bool | None = None


NO_ANSWER = Deletion()


class CreatedGoal(Body):
    """The goal to follow."""

    goal_id: str


class MetadataView(Body):
    """Whose goal it is, and what is known of its agreement."""

    user_id: str
    prepaid_duration: int | None
    agreed: UnixTime | None


def _present(data: Data) -> dict[str, Any]:
    """Only the fields that this kind of goal has."""
    return data.model_dump(exclude_none=True)


Present = PlainSerializer(_present, return_type=dict[str, Any])


class GoalView(Body):
    """A goal as anybody signed in may see it."""

    id: str
    kind: GoalKind
    active: bool
    state: State
    conditions: Annotated[Conditions, Present]
    context: Annotated[Context, Present]
    levels: tuple[Level, ...]
    progress: int
    nbf: UnixTime | None
    exp: UnixTime
    metadata: MetadataView
    outcome: Outcome | None
    ended_at: UnixTime | None
    lapsed: bool

    @classmethod
    def of(cls, goal: Goal) -> "GoalView":
        """Show `goal`."""
        return cls(
            id=goal.id,
            kind=goal.kind,
            active=goal.active,
            state=goal.state,
            conditions=goal.conditions,
            context=goal.context,
            levels=goal.levels,
            progress=goal.progress,
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


class SupporterView(Body):
    """A line of the leaderboard."""

    user_id: str
    rank: int
    count: int
    amount_diamonds: int


# Every refusal of every type: FastAPI documents one endpoint.
REFUSES_NEW = (
    ScopeMissing,
    SessionNotFound,
    NotYourSession,
    SessionOver,
    StageTaken,
    invitation.NotWholeSteps,
    invitation.OwnInvitation,
    invitation.BlockedByStreamer,
    invitation.NoExclusivePrice,
    invitation.InvitationOpen,
    invitation.TooManyInvitations,
    invitation.RefusedRecently,
    exclusive.InvitationNotFound,
    exclusive.InvitationNotAgreed,
    exclusive.ExclusiveExists,
    exclusive.AgreementLapsed,
)


@router.post("/goal", status_code=201, refuses=REFUSES_NEW, include_in_schema=False)
@router.post(
    "/goals", status_code=201, refuses=REFUSES_NEW, responses={202: {"model": CreatedGoal, "description": "Proposed"}}
)
async def create_new_goal(
    kind: Annotated[TYPES, Query(alias="type")],  # noqa: ARG001 - chooses the body's class
    body: Annotated[
        NewInvitation | NewExclusive, BodyBy("kind", {"trigger-exclusive": NewInvitation, "exclusive": NewExclusive})
    ],
    caller: CallerDep,
    tx: TxDep,
    response: Response,
) -> CreatedGoal:
    """Make a goal. An invitation is only proposed (202): whether it opens is for its money to decide."""
    goal_id = ids.new_id()
    match body:
        case NewInvitation():
            response.status_code = 202
            await _propose(goal_id, body, caller, tx)
        case NewExclusive():
            await _create_exclusive_goal(goal_id, body, caller, tx)
    return CreatedGoal(goal_id=goal_id)


@router.get("/goals")
async def list_goals(
    session_id: Annotated[ObjectIdStr, Query()],
    tx: TxDep,
    wanted: PageDep,
    active: Annotated[bool | None, Query()] = None,
) -> Page[GoalView]:
    """The goals of a session, all or only those that are active, or not."""
    where: dict[str, Any] = {"conditions.session_id": session_id}
    if active is not None:
        where["state"] = "active" if active else {"$ne": "active"}
    return await paged(tx, store.GOALS, where, wanted, GoalView.of, by="created_at")


@router.get("/goals/{goal_id}", refuses=(GoalNotFound,))
async def get_goal(goal_id: GoalId, tx: TxDep) -> GoalView:
    """One goal."""
    goal = await tx.get(store.GOALS, goal_id)
    if goal is None:
        raise GoalNotFound
    return GoalView.of(goal)


@router.get("/goals/{goal_id}/leaderboard", refuses=(GoalNotFound,))
async def get_leaderboard(goal_id: GoalId, tx: TxDep, wanted: PageDep) -> Page[SupporterView]:
    """Who gave most, the first first; of equal ones, who gave it first."""
    if await tx.get(store.GOALS, goal_id) is None:
        raise GoalNotFound
    page = await paged(tx, store.SUPPORTERS, {"goal_id": goal_id}, wanted, lambda supporter: supporter, by="place")
    before = await store.supporters_before(tx, page.items[0]) if wanted.after and page.items else 0
    return Page(
        items=[_line(supporter, rank) for rank, supporter in enumerate(page.items, start=before + 1)], next=page.next
    )


@router.delete(
    "/goals/{goal_id}",
    scope="CREATOR",
    refuses=(
        GoalNotFound,
        GoalNotActive,
        SessionOver,
        StageTaken,
        lifecycle.AnswerMissing,
        invitation.InvitationExpired,
        invitation.InvitationRuledOut,
    ),
)
async def delete_goal(goal_id: GoalId, caller: CallerDep, tx: TxDep, body: Deletion = NO_ANSWER) -> None:
    """End a goal of the caller; an invitation is agreed to or refused by that."""
    goal = await tx.get(store.GOALS, goal_id)
    lifecycle.require_answer(goal, body.agree)
    goal = owned_by(goal, caller.user_id)
    stage = await store.stage(tx, goal.session_id)
    how = lifecycle.deletion(goal, stage, agree=body.agree, now=tx.now, triggerer=caller.client_id)
    unbegun = await store.unbegun_extensions(tx, goal, how.at)
    store.save(tx, lifecycle.deactivate_goal(goal, stage, how, unbegun, tx.settings(GoalsSettings).timing))


@router.put(
    "/goals/{goal_id}/extend",
    scope="CREATOR",
    refuses=(GoalNotFound, GoalNotActive, SessionOver, exclusive.NotExclusive),
)
async def extend_goal(goal_id: GoalId, caller: CallerDep, tx: TxDep) -> None:
    """Make a running 1-on-1 one step longer, at no charge."""
    goal = owned_by(await tx.get(store.GOALS, goal_id), caller.user_id)
    stage = await store.stage(tx, goal.session_id)
    store.save(tx, exclusive.extend(goal, stage, tx.now, tx.settings(GoalsSettings).timing))


async def _propose(goal_id: str, body: NewInvitation, caller: Caller, tx: Tx) -> None:
    timing = tx.settings(GoalsSettings).timing
    duration = invitation.prepaid_duration(body.context.duration, timing)
    stage = await store.stage(tx, body.context.session_id)
    viewer = await store.viewer(tx, stage, caller.user_id)
    store.save(tx, invitation.propose(goal_id, viewer, stage, duration, tx.now, timing))


async def _create_exclusive_goal(goal_id: str, body: NewExclusive, caller: Caller, tx: Tx) -> None:
    _require_creator(caller)
    stage = require_own(await store.stage(tx, body.context.session_id), caller.user_id)
    invited = await tx.get(store.GOALS, body.context.trigger_exclusive_goal_id)
    levels = tuple(Level(title=level.title, target=level.target) for level in body.levels)
    wanted = exclusive.Wanted(goal_id=goal_id, levels=levels, nbf=body.nbf)
    store.save(tx, exclusive.create(wanted, invited, stage, tx.now, tx.settings(GoalsSettings).timing))


def _require_creator(caller: Caller) -> None:
    """One endpoint makes goals of all types, and only some of them need a streamer."""
    if "CREATOR" not in caller.scopes:
        raise ScopeMissing


def _line(supporter: Supporter, rank: int) -> SupporterView:
    return SupporterView(
        user_id=supporter.user_id, rank=rank, count=supporter.count, amount_diamonds=supporter.amount_diamonds
    )
