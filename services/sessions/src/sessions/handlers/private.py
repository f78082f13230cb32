"""The private goal: contributors, their right, and the judgement."""

from chassis.tx import Tx
from contracts import EscrowFailedV1, GoalCreatedV1, GoalEndedV1, GoalProgressedV1
from sessions import store
from sessions.domain import private as domain
from sessions.settings import SessionsSettings


async def bind_trigger_private_goal_to_session(event: GoalCreatedV1, tx: Tx) -> None:
    """A private goal is the session's."""
    if event.kind == "TriggerPrivateGoal":
        session = await store.session(tx, event.session_id)
        goal = await store.private_goal(tx, event.goal_id, session.id)
        store.save(tx, domain.bind_trigger_private_goal_to_session(session, goal, event))


async def set_embedded_goal_ended(event: GoalEndedV1, tx: Tx) -> None:
    """A private goal is over; completed, its contributors begin to get their right."""
    if event.kind != "TriggerPrivateGoal":
        return
    session = await store.session(tx, event.session_id)
    goal = await store.private_goal(tx, event.goal_id, session.id)
    store.save(tx, domain.set_embedded_private_ended(session, goal, event))
    await _give_right(event.goal_id, session.id, "", tx)


async def give_more_right(timer: domain.PrivateRightDue, tx: Tx) -> None:
    """The next slice of contributors gets its right."""
    await _give_right(timer.goal_id, timer.session_id, timer.after, tx)


async def judge_private_goal(timer: domain.PrivateJudgementDue, tx: Tx) -> None:
    """Long enough after the right was given: say whether the goal was kept."""
    session = await store.session(tx, timer.session_id)
    store.save(tx, domain.judge(session, await store.private_goal(tx, timer.goal_id, session.id)))


async def contribute(event: GoalProgressedV1, tx: Tx) -> None:
    """A gift counts for a private goal."""
    if event.escrow_id.startswith(domain.PRIVATE_ESCROW):
        contribution = await tx.get(store.CONTRIBUTIONS, event.earning_id)
        contributor = await store.contributor(tx, event.goal_id, event.session_id, event.user_id)
        store.save(tx, domain.contribute(contribution, contributor, event))


async def void_contribution(event: EscrowFailedV1, tx: Tx) -> None:
    """A gift was refunded, whether or not it was heard of."""
    if event.escrow_id.startswith(domain.PRIVATE_ESCROW):
        session = await store.session(tx, event.session_id)
        contribution = await tx.get(store.CONTRIBUTIONS, event.earning_id)
        contributor = await store.contributor(tx, event.goal_id, session.id, event.buyer_id)
        viewer = await store.viewer(tx, session.id, event.buyer_id)
        store.save(tx, domain.void_contribution(session, contribution, contributor, viewer, event))


async def _give_right(goal_id: str, session_id: str, after: str, tx: Tx) -> None:
    session, goal = await store.session(tx, session_id), await store.private_goal(tx, goal_id, session_id)
    if goal.state == "giving":
        slice_ = await store.contributors_after(tx, goal, after)
        judged_seconds = tx.settings(SessionsSettings).private_judged_seconds
        store.save(tx, domain.give_right(session, goal, slice_, tx.now, judged_seconds))
