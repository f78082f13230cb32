"""What ends by time: whoever listened by it is cut, a slice at a time."""

from chassis.storage.tx import Tx
from notifier import store
from notifier.domain import endings
from notifier.domain.endings import MinutesOver, PassesOver, TicketsOver
from notifier.domain.entitlement import Permit


async def cut_whose_minutes_are_over(timer: MinutesOver, tx: Tx) -> None:
    """A slice of the viewers whose minutes ended in this second, unless they have bought more."""
    permits = await store.permits_over_at(tx, timer.session_id, timer.over_at, timer.after, endings.SLICE_MAX)
    await _cut_viewers(timer, permits, tx)


async def cut_whose_show_is_over(timer: TicketsOver, tx: Tx) -> None:
    """A slice of the holders of tickets for a show that has ended."""
    holders = await store.ticket_holders(tx, timer.funding_goal_id, timer.after, endings.SLICE_MAX)
    await _cut_viewers(timer, holders, tx)


async def cut_whose_passes_are_over(timer: PassesOver, tx: Tx) -> None:
    """A slice of the users whose pass ran out in this second. Of one for every streamer each is cut: what still lets
    them listen somewhere does so when they ask again.
    """
    passes = await store.passes_over_at(tx, timer.over_at, timer.after, endings.SLICE_MAX)
    listeners = [endings.listener(one) for one in passes]
    for one in listeners:
        if one.streamer_id is None:
            tx.schedule_effect(endings.cut(timer, one.user_id, tx.now))
    pairs = [(one.streamer_id, one.user_id) for one in listeners if one.streamer_id is not None]
    for call in endings.cuts(timer, await store.watchers(tx, pairs), tx.now):
        tx.schedule_effect(call)
    if len(passes) == endings.SLICE_MAX:
        tx.set_timer(endings.following(timer, passes[-1].id, tx.now))


async def _cut_viewers(timer: MinutesOver | TicketsOver, permits: list[Permit], tx: Tx) -> None:
    """Of a session that is over, or was followed by another, all who listened are cut anyway."""
    watchers = await store.watchers(tx, [(timer.streamer_id, one.viewer_id) for one in permits])
    of_session = (one for one in watchers if one.broadcast.session_id == timer.session_id)
    for call in endings.cuts(timer, of_session, tx.now):
        tx.schedule_effect(call)
    if len(permits) == endings.SLICE_MAX:
        tx.set_timer(endings.following(timer, permits[-1].id, tx.now))
