"""The private goal: contributors and the judgement; its end, and the right that it gives, are in `ended`."""

from chassis.storage.tx import Tx
from contracts import EscrowFailedV1, GoalCreatedV1, GoalProgressedV1
from contracts.escrow_ids import parse_escrow_id
from sessions import store
from sessions.domain import private as domain
from sessions.store import holders, load


async def bind_trigger_private_goal_to_session(event: GoalCreatedV1, tx: Tx) -> None:
    """A private goal is the session's."""
    if event.kind == "TriggerPrivateGoal":
        session = await load.session(tx, event.session_id)
        goal = await load.private_goal(tx, event.goal_id, session.id)
        store.save(tx, domain.bind_trigger_private_goal_to_session(session, goal, event, tx.now))


async def judge_private_goal(timer: domain.PrivateJudgementDue, tx: Tx) -> None:
    """Long enough after the right was given: say whether the goal was kept."""
    session = await load.session(tx, timer.session_id)
    store.save(tx, domain.judge(session, await load.private_goal(tx, timer.goal_id, session.id)))


async def judge_private_goals(timer: domain.PrivateGoalsLeft, tx: Tx) -> None:
    """The next slice of those that waited when the session ended."""
    session = await load.session(tx, timer.session_id)
    store.save(tx, domain.judge_all(session, await load.unjudged_private_goals(tx, session.id), tx.now))


async def contribute(event: GoalProgressedV1, tx: Tx) -> None:
    """A gift counts for a private goal."""
    if parse_escrow_id(event.escrow_id).kind == "trigger_private":
        contribution = await tx.get(store.CONTRIBUTIONS, event.earning_id)
        contributor = await load.contributor(tx, event.goal_id, event.session_id, event.user_id)
        store.save(tx, domain.contribute(contribution, contributor, event))


async def void_contribution(event: EscrowFailedV1, tx: Tx) -> None:
    """A gift was refunded, whether or not it was heard of."""
    if parse_escrow_id(event.escrow_id).kind == "trigger_private":
        session = await load.session(tx, event.session_id)
        contribution = await tx.get(store.CONTRIBUTIONS, event.earning_id)
        contributor = await load.contributor(tx, event.goal_id, session.id, event.buyer_id)
        viewer = await holders.viewer(tx, session.id, event.buyer_id)
        store.save(tx, domain.void_contribution(session, contribution, contributor, viewer, event))
