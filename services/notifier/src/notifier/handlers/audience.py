"""Who listens: how many there are, and who is cut."""

from chassis.service import EffectResult
from chassis.storage.tx import Tx
from notifier import store
from notifier.domain import cuts, heads
from notifier.domain.cuts import CutDue
from notifier.domain.entitlement import SessionState
from notifier.domain.heads import CountHeads, HeadsDue


async def follow_session(event: SessionState, tx: Tx) -> None:
    """The viewers of a session are counted from its beginning to its end."""
    known = await tx.get(store.HEAD_COUNTS, event.session_id)
    if known is None:
        if event.active:
            tx.apply(store.HEAD_COUNTS, heads.began(event.session_id, event.streamer_id, tx.now))
    elif not event.active and not known.ended:
        tx.put(store.HEAD_COUNTS, heads.ended(known, tx.now))


async def count_heads(timer: HeadsDue, tx: Tx) -> None:
    """Pusher is asked how many watch."""
    known = await tx.get(store.HEAD_COUNTS, timer.session_id)
    if known is not None:
        tx.apply(store.HEAD_COUNTS, heads.due(known, tx.now))


async def tell_head_count(answer: EffectResult[CountHeads], tx: Tx) -> None:
    """Pusher has said how many watch: what has changed is told."""
    known = await tx.get(store.HEAD_COUNTS, answer.effect.session_id)
    if known is not None:
        tx.apply(store.HEAD_COUNTS, heads.counted(known, answer.result))


async def cut(timer: CutDue, tx: Tx) -> None:
    """Who has been told that it is over is cut."""
    tx.schedule_effect(cuts.due(timer, tx.now))
