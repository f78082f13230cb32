"""Each event: load, decide, save. What is pushed to whom stands in `domain.pushes.TABLE`."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from chassis.tx import Tx
from contracts import (
    Event,
    GoalEndedV1,
    GoalProgressedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from notifier import store
from notifier.domain import entitlement, pace, pushes
from notifier.domain.entitlement import Block, SessionState
from notifier.domain.pace import ProgressDue
from notifier.domain.pushes import GOAL_PROGRESS_UPDATED, EndedGoal, Occasion, Row, Told

E = TypeVar("E", bound=Event)


def pushing(row: Row[E]) -> Callable[[E, Tx], Awaitable[None]]:
    """The handler of one row of the table."""

    async def handler(event: E, tx: Tx) -> None:
        if row.until_ended and await tx.get(store.ENDED_GOALS, event.subject):
            return
        if tx.cause.event_id is None:
            raise RuntimeError(f"{row.push} follows from an event, and there is none")
        occasion = Occasion(tx.cause.event_id, tx.cause.at, tx.now)
        told = await tx.get(store.TOLD, occasion.event_id) or Told(occasion.event_id, occasion.at)
        if row.push in told.pushes:
            return
        tx.put(store.TOLD, replace(told, pushes=(*told.pushes, row.push)))
        if isinstance(event, GoalProgressedV1) and row.paced:
            decision = pace.progressed(await tx.get(store.PROGRESS, event.goal_id), event, occasion)
            tx.apply(store.PROGRESS, decision)
            if decision.state is None or decision.state.waiting is not None:
                return
        await _push(row, event, occasion, tx)

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
    await _push(GOAL_PROGRESS_UPDATED, event, Occasion(waiting.event_id, waiting.at, tx.now), tx)


async def _push(row: Row[E], event: E, occasion: Occasion, tx: Tx) -> None:
    channels = pushes.still_news(row.to(event), occasion)
    if channels:
        audiences = await store.audiences(tx, channels)
        store.save(tx, pushes.push(row.push, event, channels, audiences, occasion))


async def remember_goal_ended(event: GoalEndedV1, tx: Tx) -> None:
    """What is read of this goal later is not pushed any more."""
    tx.put(store.ENDED_GOALS, EndedGoal(event.goal_id, tx.cause.at))


async def project_session(event: SessionState, tx: Tx) -> None:
    """Whether the streamer is on air, and for whom alone."""
    known = await tx.get(store.BROADCASTS, event.streamer_id)
    tx.put(store.BROADCASTS, entitlement.broadcast(known, event))


async def project_viewer_authorized(event: SessionViewerAuthorizedV1, tx: Tx) -> None:
    """A viewer may watch."""
    known = await tx.get(store.PERMITS, entitlement.pair_id(event.session_id, event.viewer_id))
    tx.put(store.PERMITS, entitlement.authorized(known, event, tx.cause.at))


async def project_viewer_revoked(event: SessionViewerRevokedV1, tx: Tx) -> None:
    """Only what remains is a viewer's."""
    tx.put(store.PERMITS, entitlement.revoked(event, tx.cause.at))


async def project_viewer_blocked(event: ViewerBlockedV1, tx: Tx) -> None:
    """The viewer may not listen to this streamer."""
    tx.put(store.BLOCKS, Block(store.block_id(event)))


async def project_viewer_unblocked(event: ViewerUnblockedV1, tx: Tx) -> None:
    """The viewer may listen again."""
    tx.delete(store.BLOCKS, store.block_id(event))
