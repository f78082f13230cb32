"""Karaoke goals in their session."""

from chassis.storage.tx import Tx
from contracts import GoalCreatedV1
from sessions import store
from sessions.domain import karaoke as domain
from sessions.store import load


async def bind_karaoke_goal_to_session(event: GoalCreatedV1, tx: Tx) -> None:
    """Somebody sings."""
    if event.kind == "KaraokeGoal":
        session = await load.session(tx, event.session_id)
        goal = await load.karaoke_goal(tx, event.goal_id, session.id)
        store.save(tx, domain.bind_karaoke_goal_to_session(session, goal, event, tx.now))
