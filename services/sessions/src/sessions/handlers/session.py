"""A session's own timer, and the head counts that order the list of sessions."""

from chassis.tx import Tx
from contracts import PresenceCountedV1
from sessions import store
from sessions.domain import session as domain


async def end_session_at_max(timer: domain.SessionMaxReached, tx: Tx) -> None:
    """A session ends by itself, at the moment that was set when it began."""
    session = await store.session(tx, timer.session_id)
    head_count = await tx.get(store.HEAD_COUNTS, session.id)
    store.save(tx, domain.end(session, head_count, tx.cause.at))


async def count_heads(event: PresenceCountedV1, tx: Tx) -> None:
    """The session's place in the list follows its audience."""
    head_count = await tx.get(store.HEAD_COUNTS, event.session_id)
    if head_count is not None:
        store.save(tx, domain.count_heads(head_count, event.preset, event.viewers))
