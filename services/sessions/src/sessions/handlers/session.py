"""A session's own timer, and the head counts that order the list of sessions."""

from chassis.storage.tx import Tx
from contracts import PresenceCountedV1
from sessions import store
from sessions.domain.ending import end_session
from sessions.domain.session import SessionMaxReached, count_heads
from sessions.settings import SessionsSettings
from sessions.store import load


async def end_session_at_max(timer: SessionMaxReached, tx: Tx) -> None:
    """A session ends by itself, at the moment that was set when it began."""
    session = await load.session(tx, timer.session_id)
    step_seconds = tx.settings(SessionsSettings).step_seconds
    store.save(tx, end_session(await load.ending(tx, session, tx.cause.at, step_seconds), tx.cause.at))


async def follow_head_count(event: PresenceCountedV1, tx: Tx) -> None:
    """The session's place in the list follows its audience."""
    head_count = await tx.get(store.HEAD_COUNTS, event.session_id)
    if head_count is not None:
        store.save(tx, count_heads(head_count, event.preset, event.viewers))
