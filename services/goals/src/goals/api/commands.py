"""What a streamer or a viewer asks for."""

from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import Field

from chassis import ids
from chassis.http import Body, BodyBy, Caller, CallerDep, TxDep, TxRouter
from chassis.http.problems import ScopeMissing
from chassis.storage.tx import Tx
from contracts import Level
from contracts.values import ObjectIdStr
from goals import store
from goals.api.bodies import (
    BODIES,
    NO_ANSWER,
    Deletion,
    GoalTypeName,
    NewExclusive,
    NewFunding,
    NewGoal,
    NewInvitation,
    NewPrivate,
    NewShow,
)
from goals.domain import exclusive, extensions, funding, invitation, lifecycle, private, show
from goals.domain.goal import DeadlineOutOfRange, End, Goal, GoalNotActive, GoalNotFound, owned_by, require_deadline
from goals.domain.stage import (
    NotYourSession,
    SessionNotFound,
    SessionOver,
    SessionTooShort,
    Stage,
    StageTaken,
    require_own,
)
from goals.settings import GoalsSettings

router = TxRouter(tags=["goals"])

GoalId = Annotated[ObjectIdStr, Path(description="The goal")]


class CreatedGoal(Body):
    """The goal to follow."""

    goal_id: str


class ProposedGoal(Body):
    """The invitation to follow, and what it costs."""

    goal_id: str
    amount_diamonds: int


# One endpoint makes goals of all types, so it can answer the refusals of all of them.
REFUSES_NEW = (
    ScopeMissing,
    SessionNotFound,
    NotYourSession,
    SessionOver,
    SessionTooShort,
    StageTaken,
    DeadlineOutOfRange,
    invitation.NotWholeSteps,
    invitation.OwnInvitation,
    invitation.BlockedByStreamer,
    invitation.NoExclusivePrice,
    invitation.PriceChanged,
    invitation.InvitationOpen,
    invitation.TooManyInvitations,
    invitation.RefusedRecently,
    invitation.UnansweredRecently,
    invitation.UnpaidRecently,
    exclusive.InvitationNotFound,
    exclusive.InvitationNotAgreed,
    exclusive.ExclusiveExists,
    exclusive.AgreementLapsed,
    funding.ShowTooShort,
    show.BeginsTooLate,
    show.FundingNotFound,
    show.FundingNotOver,
    show.ShowExists,
    show.FundingLapsed,
    private.PrivateGoalOpen,
)


@router.post("/goal", status_code=201, refuses=REFUSES_NEW, include_in_schema=False, same_as="/goals")
@router.post(
    "/goals",
    status_code=201,
    refuses=REFUSES_NEW,
    responses={202: {"model": ProposedGoal, "description": "Proposed"}},
    operation_id="createGoal",
)
async def create_new_goal(
    kind: Annotated[GoalTypeName, Query(alias="type")],  # noqa: ARG001 - chooses the body's class
    body: Annotated[NewGoal, BodyBy("kind", BODIES), Field(discriminator="type")],
    caller: CallerDep,
    tx: TxDep,
    response: Response,
) -> CreatedGoal | ProposedGoal:
    """Make a goal. An invitation is only proposed (202): whether it opens is for its money to decide."""
    goal_id = ids.new_id()
    match body:
        case NewInvitation():
            response.status_code = 202
            return ProposedGoal(goal_id=goal_id, amount_diamonds=await _propose(goal_id, body, caller, tx))
        case NewExclusive():
            await _create_exclusive_goal(goal_id, body, caller, tx)
        case NewFunding():
            await _create_show_funding_goal(goal_id, body, caller, tx)
        case NewShow():
            await _create_show_goal(goal_id, body, caller, tx)
        case NewPrivate():
            await _create_private_goal(goal_id, body, caller, tx)
    return CreatedGoal(goal_id=goal_id)


@router.delete(
    "/goals/{goal_id}",
    refuses=(
        ScopeMissing,
        GoalNotFound,
        GoalNotActive,
        SessionOver,
        SessionTooShort,
        StageTaken,
        lifecycle.AnswerMissing,
        lifecycle.NotDeletable,
        invitation.InvitationExpired,
        invitation.InvitationRuledOut,
        invitation.PrivateGoalOwed,
    ),
)
async def delete_goal(goal_id: GoalId, caller: CallerDep, tx: TxDep, body: Deletion = NO_ANSWER) -> None:
    """End a goal of the caller. An invitation is agreed to or refused by that; its viewer withdraws it, with no body.

    Of a funding that has ended it gives up the show: nothing follows any more, and all tickets are paid back. A click
    that may come twice has an Idempotency-Key, so that the second is the first again.
    """
    found = await tx.get(store.GOALS, goal_id)
    if found is not None and body.agree is None and invitation.made_by(found, caller.user_id):
        stage = await store.stage(tx, found.session_id)
        withdrawn = End(cause="withdrawn", at=tx.now, triggerer=caller.client_id)
        await _deactivate(found, stage, lifecycle.withdrawal(found, stage, withdrawn), tx)
        return
    if "CREATOR" not in caller.scopes:
        raise ScopeMissing("CREATOR")
    goal = owned_by(found, caller.user_id)
    agree = lifecycle.require_answer(goal, body.agree)
    stage = await store.stage(tx, goal.session_id)
    if lifecycle.given_up(goal):
        store.save(tx, lifecycle.give_up(goal, stage))
        return
    answer = End(cause="deleted", at=tx.now, triggerer=caller.client_id, agree=agree)
    await _deactivate(goal, stage, lifecycle.deletion(goal, stage, answer, tx.settings(GoalsSettings).timing), tx)


@router.put(
    "/goals/{goal_id}/extend",
    scope="CREATOR",
    refuses=(GoalNotFound, GoalNotActive, SessionOver, extensions.NotExclusive, extensions.ExtendedEnough),
)
async def extend_goal(goal_id: GoalId, caller: CallerDep, tx: TxDep) -> None:
    """Make a running 1-on-1 one step longer, at no charge."""
    goal = owned_by(await tx.get(store.GOALS, goal_id), caller.user_id)
    stage = await store.stage(tx, goal.session_id)
    store.save(tx, extensions.extend(goal, stage, tx.now, tx.settings(GoalsSettings).timing))


async def _deactivate(goal: Goal, stage: Stage, ending: End, tx: Tx) -> None:
    unbegun = await store.unbegun_extensions(tx, goal, ending.at)
    store.save(tx, lifecycle.deactivate_goal(goal, stage, ending, unbegun, tx.settings(GoalsSettings).timing))


async def _propose(goal_id: str, body: NewInvitation, caller: Caller, tx: Tx) -> int:
    timing = tx.settings(GoalsSettings).timing
    duration = invitation.prepaid_duration(body.context.duration, timing)
    stage = await store.stage(tx, body.context.session_id)
    viewer = await store.viewer(tx, stage, caller.user_id)
    wish = invitation.Wish(goal_id=goal_id, duration=duration, max_amount_diamonds=body.max_amount_diamonds)
    amount_diamonds, proposed = invitation.propose(wish, viewer, stage, tx.now, timing)
    store.save(tx, proposed)
    return amount_diamonds


async def _create_exclusive_goal(goal_id: str, body: NewExclusive, caller: Caller, tx: Tx) -> None:
    stage = await _own_stage(body.context.session_id, caller, tx)
    invited = await tx.get(store.GOALS, body.context.trigger_exclusive_goal_id)
    levels = tuple(Level(title=level.title, target=level.target) for level in body.levels)
    wanted = exclusive.Wanted(goal_id=goal_id, levels=levels, nbf=body.nbf)
    store.save(tx, exclusive.create(wanted, invited, stage, tx.now, tx.settings(GoalsSettings).timing))


async def _create_show_funding_goal(goal_id: str, body: NewFunding, caller: Caller, tx: Tx) -> None:
    require_deadline(body.exp, tx.now)
    funding.require_performable(body.context.perform_duration, tx.settings(GoalsSettings).timing)
    stage = await _own_stage(body.context.session_id, caller, tx)
    offer = funding.Offer(
        goal_id=goal_id,
        level=Level(title=body.levels[0].title, target=body.levels[0].target),
        exp=body.exp,
        perform_duration=body.context.perform_duration,
        hesitation_countdown=body.context.hesitation_countdown,
        ticket_product_id=body.context.ticket_product_id,
        ticket_product_type=body.context.ticket_product_type,
        discount_percentage=body.context.discount_percentage,
    )
    store.save(tx, funding.create(offer, stage, tx.now))


async def _create_show_goal(goal_id: str, body: NewShow, caller: Caller, tx: Tx) -> None:
    show.require_soon(body.nbf, tx.now)
    stage = await _own_stage(body.context.session_id, caller, tx)
    funded = await tx.get(store.GOALS, body.context.funding_goal_id)
    if funded is not None and show.over_unnoticed(funded, stage, tx.now):
        # Over, although its timer has not run yet: what the timer would do comes first.
        ending = lifecycle.resolved(funded, stage, End(cause="expired", at=funded.exp))
        store.save(tx, lifecycle.deactivate_goal(funded, stage, ending, (), tx.settings(GoalsSettings).timing))
        funded, stage = await tx.get(store.GOALS, funded.id), await store.stage(tx, stage.id)
    store.save(tx, show.create(goal_id, funded, stage, body.nbf, tx.now))


async def _create_private_goal(goal_id: str, body: NewPrivate, caller: Caller, tx: Tx) -> None:
    require_deadline(body.exp, tx.now)
    stage = await _own_stage(body.context.session_id, caller, tx)
    level = Level(title=body.levels[0].title, target=body.levels[0].target)
    store.save(tx, private.create(goal_id, level, body.exp, stage, tx.now))


async def _own_stage(session_id: str, caller: Caller, tx: Tx) -> Stage:
    """The stage of a session of the caller, who must be a streamer: only some types of goals need one."""
    if "CREATOR" not in caller.scopes:
        raise ScopeMissing("CREATOR")
    return require_own(await store.stage(tx, session_id), caller.user_id)
