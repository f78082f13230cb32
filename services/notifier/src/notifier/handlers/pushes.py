"""What is told: load, decide, save. What is pushed to whom stands in `domain.table.TABLE`."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from chassis.storage.tx import Tx
from contracts import (
    Event,
    GoalProgressedV1,
    SessionGoalAddedV1,
    SessionViewerAuthorizedV1,
)
from notifier import store
from notifier.domain import entitlement, pushes, shows, throttle
from notifier.domain.pushes import DecidedPushes, Part, PushCause
from notifier.domain.shows import TicketHoldersDue
from notifier.domain.table import GOAL_PROGRESS_UPDATED, Row
from notifier.domain.throttle import ProgressDue

AUTHORIZED = "stream.authorized"

E = TypeVar("E", bound=Event)


def pushing(row: Row[E]) -> Callable[[E, Tx], Awaitable[None]]:
    """The handler of one row of the table."""

    async def handler(event: E, tx: Tx) -> None:
        parts = row.parts(event)
        if not parts or (row.until_ended and await tx.get(store.ENDED_GOALS, event.subject)):
            return
        cause = cause_of(tx)
        if await _is_decided(row.push, cause, tx):
            return
        if isinstance(event, GoalProgressedV1) and row.throttled:
            decision = throttle.progressed(await tx.get(store.PROGRESS, event.goal_id), event, cause)
            tx.apply(store.PROGRESS, decision)
            if decision.state is None or decision.state.waiting is not None:
                return
        await _push(row.push, parts, cause, tx)

    handler.__name__ = handler.__qualname__ = row.handler_name
    return handler


async def push_waiting_progress(timer: ProgressDue, tx: Tx) -> None:
    """The latest progress had to wait; now it is its turn, unless the goal has ended."""
    progress = await tx.get(store.PROGRESS, timer.goal_id)
    if progress is None or progress.waiting is None or await tx.get(store.ENDED_GOALS, timer.goal_id):
        return
    waiting = progress.waiting
    tx.put(store.PROGRESS, throttle.taken(progress, tx.now))
    event = GoalProgressedV1.model_validate_json(waiting.event)
    row, cause = GOAL_PROGRESS_UPDATED, PushCause(waiting.event_id, waiting.at, tx.now)
    await _push(row.push, row.parts(event), cause, tx)


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
    cause = cause_of(tx)
    first = shows.begin(event, cause)
    if first is not None and not await _is_decided(TicketHoldersDue.NAME, cause, tx):
        tx.set_timer(first)


async def push_to_ticket_holders(timer: TicketHoldersDue, tx: Tx) -> None:
    """Tell one slice of the holders, and let the next one follow, unless the show has ended."""
    if await tx.get(store.ENDED_GOALS, timer.show_goal_id):
        return
    event = SessionGoalAddedV1.model_validate_json(timer.show)
    told = await store.ticket_holders(tx, timer.funding_goal_id, timer.after, shows.SLICE_MAX)
    await _push(AUTHORIZED, shows.to_holders(event, told), timer.cause(tx.now), tx)
    if len(told) == shows.SLICE_MAX:
        tx.set_timer(shows.following(timer, told[-1], event.session_id, tx.now))


async def _push_authorized(parts: tuple[Part, ...], tx: Tx) -> None:
    cause = cause_of(tx)
    if parts and not await _is_decided(AUTHORIZED, cause, tx):
        await _push(AUTHORIZED, parts, cause, tx)


async def _push(push: str, parts: tuple[Part, ...], cause: PushCause, tx: Tx) -> None:
    news = pushes.still_news(parts, cause)
    if news:
        store.save(tx, pushes.push(push, news, await store.audiences(tx, news), cause))


async def _is_decided(push: str, cause: PushCause, tx: Tx) -> bool:
    """Whether this push was decided on for this event before; from now on it is."""
    told = await tx.get(store.DECIDED, cause.event_id) or DecidedPushes(cause.event_id, cause.at)
    if push in told.pushes:
        return True
    tx.put(store.DECIDED, replace(told, pushes=(*told.pushes, push)))
    return False


def cause_of(tx: Tx) -> PushCause:
    """The event in hand."""
    if tx.cause.event_id is None:
        raise RuntimeError("a push follows from an event, and there is none")
    return PushCause(tx.cause.event_id, tx.cause.at, tx.now)
