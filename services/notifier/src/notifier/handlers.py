"""Each event: load, decide, save. What is pushed to whom stands in `domain.table.TABLE`."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from chassis.tx import Tx
from contracts import (
    Event,
    GoalEndedV1,
    GoalProgressedV1,
    SessionGoalAddedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from notifier import store
from notifier.domain import entitlement, pace, pushes, shows
from notifier.domain.entitlement import Block, SessionState
from notifier.domain.pace import ProgressDue
from notifier.domain.pushes import EndedGoal, Occasion, Part, Told
from notifier.domain.shows import TicketHoldersDue
from notifier.domain.table import GOAL_PROGRESS_UPDATED, Row

AUTHORIZED = "stream.authorized"

E = TypeVar("E", bound=Event)


def pushing(row: Row[E]) -> Callable[[E, Tx], Awaitable[None]]:
    """The handler of one row of the table."""

    async def handler(event: E, tx: Tx) -> None:
        parts = row.parts(event)
        if not parts or (row.until_ended and await tx.get(store.ENDED_GOALS, event.subject)):
            return
        occasion = _occasion(tx)
        if await _is_decided(row.push, occasion, tx):
            return
        if isinstance(event, GoalProgressedV1) and row.paced:
            decision = pace.progressed(await tx.get(store.PROGRESS, event.goal_id), event, occasion)
            tx.apply(store.PROGRESS, decision)
            if decision.state is None or decision.state.waiting is not None:
                return
        await _push(row.push, parts, occasion, tx)

    handler.__name__ = handler.__qualname__ = row.deed
    return handler


async def push_waiting_progress(timer: ProgressDue, tx: Tx) -> None:
    """The latest progress had to wait; now it is its turn, unless the goal has ended."""
    progress = await tx.get(store.PROGRESS, timer.goal_id)
    if progress is None or progress.waiting is None or await tx.get(store.ENDED_GOALS, timer.goal_id):
        return
    waiting = progress.waiting
    tx.put(store.PROGRESS, pace.taken(progress, tx.now))
    event = GoalProgressedV1.model_validate_json(waiting.event)
    row, occasion = GOAL_PROGRESS_UPDATED, Occasion(waiting.event_id, waiting.at, tx.now)
    await _push(row.push, row.parts(event), occasion, tx)


async def notify_stream_authorized_to_its_viewer(event: SessionGoalAddedV1, tx: Tx) -> None:
    """A 1-on-1 begins: its viewer may watch, as long as is known here."""
    viewer_id = event.conditions.exclusive_to or ""
    permit = await tx.get(store.PERMITS, entitlement.pair_id(event.session_id, viewer_id)) if viewer_id else None
    await _push_authorized(shows.to_its_viewer(event, permit), tx)


async def notify_stream_authorized_to_ticket_buyer(event: SessionViewerAuthorizedV1, tx: Tx) -> None:
    """A ticket lets its buyer watch while its show is on; before, `gift.sent` says that it counts."""
    if event.reason == "ticket" and await store.opens_show(tx, event.streamer_id, event.goal_id):
        await _push_authorized(shows.to_buyer(event), tx)


async def notify_stream_authorized_to_ticket_holders(event: SessionGoalAddedV1, tx: Tx) -> None:
    """A show begins: its ticket holders are told from now on, a slice at a time."""
    occasion = _occasion(tx)
    first = shows.begin(event, occasion)
    if first is not None and not await _is_decided(TicketHoldersDue.NAME, occasion, tx):
        tx.set_timer(first)


async def push_to_ticket_holders(timer: TicketHoldersDue, tx: Tx) -> None:
    """Tell one slice of the holders, and let the next one follow, unless the show has ended."""
    if await tx.get(store.ENDED_GOALS, timer.show_goal_id):
        return
    event = SessionGoalAddedV1.model_validate_json(timer.show)
    told = await store.ticket_holders(tx, timer.funding_goal_id, timer.after, shows.SLICE_MAX)
    await _push(AUTHORIZED, shows.to_holders(event, told), timer.occasion(tx.now), tx)
    if len(told) == shows.SLICE_MAX:
        tx.set_timer(shows.following(timer, told[-1], event.session_id, tx.now))


async def _push_authorized(parts: tuple[Part, ...], tx: Tx) -> None:
    occasion = _occasion(tx)
    if parts and not await _is_decided(AUTHORIZED, occasion, tx):
        await _push(AUTHORIZED, parts, occasion, tx)


async def _push(push: str, parts: tuple[Part, ...], occasion: Occasion, tx: Tx) -> None:
    news = pushes.still_news(parts, occasion)
    if news:
        store.save(tx, pushes.push(push, news, await store.audiences(tx, news), occasion))


async def _is_decided(push: str, occasion: Occasion, tx: Tx) -> bool:
    """Whether this push was decided on for this event before; from now on it is."""
    told = await tx.get(store.TOLD, occasion.event_id) or Told(occasion.event_id, occasion.at)
    if push in told.pushes:
        return True
    tx.put(store.TOLD, replace(told, pushes=(*told.pushes, push)))
    return False


def _occasion(tx: Tx) -> Occasion:
    """The event in hand."""
    if tx.cause.event_id is None:
        raise RuntimeError("a push follows from an event, and there is none")
    return Occasion(tx.cause.event_id, tx.cause.at, tx.now)


async def remember_goal_ended(event: GoalEndedV1, tx: Tx) -> None:
    """What is read of this goal later is not pushed any more."""
    tx.put(store.ENDED_GOALS, EndedGoal(event.goal_id, tx.cause.at))


async def project_session(event: SessionState, tx: Tx) -> None:
    """Whether the streamer is on air, and for whom alone."""
    known = await tx.get(store.BROADCASTS, event.streamer_id)
    tx.put(store.BROADCASTS, entitlement.broadcast(known, event))


async def project_show(event: SessionGoalAddedV1, tx: Tx) -> None:
    """Which show is the streamer's last: its tickets alone let watch."""
    known = await tx.get(store.BROADCASTS, event.streamer_id)
    shown = entitlement.show_added(known, event)
    if shown is not None and shown != known:
        tx.put(store.BROADCASTS, shown)


async def project_viewer_authorized(event: SessionViewerAuthorizedV1, tx: Tx) -> None:
    """A viewer may watch."""
    known = await tx.get(store.PERMITS, entitlement.pair_id(event.session_id, event.viewer_id))
    tx.put(store.PERMITS, entitlement.authorized(known, event, tx.cause.at))


async def project_viewer_revoked(event: SessionViewerRevokedV1, tx: Tx) -> None:
    """Only what remains is a viewer's."""
    known = await tx.get(store.PERMITS, entitlement.pair_id(event.session_id, event.viewer_id))
    tx.put(store.PERMITS, entitlement.revoked(known, event, tx.cause.at))


async def project_viewer_blocked(event: ViewerBlockedV1, tx: Tx) -> None:
    """The viewer may not listen to this streamer."""
    tx.put(store.BLOCKS, Block(store.block_id(event)))


async def project_viewer_unblocked(event: ViewerUnblockedV1, tx: Tx) -> None:
    """The viewer may listen again."""
    tx.delete(store.BLOCKS, store.block_id(event))
