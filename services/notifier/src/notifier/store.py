"""Where the notifier keeps the numbers of its pushes, what users can catch up with, and who may listen."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from chassis.collection import Collection, Index, Ref
from chassis.tx import Tx
from contracts import (
    Event,
    SessionGoalAddedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from notifier.domain import entitlement
from notifier.domain.entitlement import Block, Broadcast, Permit, SessionState, pair_id
from notifier.domain.pace import Progress, ProgressDue
from notifier.domain.pushes import KEPT, Audience, EndedGoal, Notification, Part, Pushed, Told
from notifier.domain.shows import TicketHoldersDue
from notifier.domain.table import Row


def _seconds(age: timedelta) -> int:
    return int(age.total_seconds())


AUDIENCES = Collection("audiences", Audience)
NOTIFICATIONS = Collection(
    "notifications",
    Notification,
    indexes=(
        Index({"user_id": 1, "seq": 1}, unique=True),
        Index({"at": 1}, expire_after_seconds=_seconds(KEPT)),
    ),
)
ENDED_GOALS = Collection(
    "ended_goals", EndedGoal, indexes=(Index({"at": 1}, expire_after_seconds=_seconds(KEPT)),)
)  # a goal lives a day at most; sessions may be away for a while before it tells of it
PROGRESS = Collection("progress", Progress, indexes=(Index({"pushed": 1}, expire_after_seconds=_seconds(KEPT)),))
BLOCKS = Collection("blocks", Block)
BROADCASTS = Collection("broadcasts", Broadcast)
PERMITS = Collection(
    "permits",
    Permit,
    indexes=(Index({"ticket_goal": 1, "_id": 1}), Index({"told": 1}, expire_after_seconds=_seconds(KEPT))),
)  # a session lasts half a day at most
TOLD = Collection("told", Told, indexes=(Index({"at": 1}, expire_after_seconds=_seconds(KEPT)),))
COLLECTIONS = (AUDIENCES, NOTIFICATIONS, TOLD, ENDED_GOALS, PROGRESS, BLOCKS, BROADCASTS, PERMITS)


# -- pushes ------------------------------------------------------------------------------------------------------------


def needed_by(row: Row[Any]) -> Callable[[Event], Iterable[Ref]]:
    """What pushing by this row reads, for a whole batch at once."""

    def needs(event: Event) -> Iterable[Ref]:
        if row.until_ended:
            yield ENDED_GOALS.ref(event.subject)
        if row.paced:
            yield PROGRESS.ref(event.subject)
        for channel in row.to(event):
            yield AUDIENCES.ref(channel.owner_id)

    return needs


def of_progress_due(timer: ProgressDue) -> Iterable[Ref]:
    """The progress that has waited, unless its goal has ended."""
    return (ENDED_GOALS.ref(timer.goal_id), PROGRESS.ref(timer.goal_id))


def of_ticket_holders_due(timer: TicketHoldersDue) -> Iterable[Ref]:
    """Whether the show has ended."""
    return (ENDED_GOALS.ref(timer.show_goal_id),)


async def ticket_holders(tx: Tx, funding_goal_id: str, after: str, limit: int) -> list[Permit]:
    """Who holds a ticket of this funding's show now: the first `limit` permits `after` this one."""
    where = {"ticket_goal": funding_goal_id, "_id": {"$gt": after}}
    return await tx.find(PERMITS, where, sort={"_id": 1}, limit=limit)


async def audiences(tx: Tx, parts: Iterable[Part]) -> dict[str, Audience]:
    """The audiences of the channels' owners, as far as they ever heard anything."""
    return await tx.get_many(AUDIENCES, (channel.owner_id for part in parts for channel in part.channels))


def save(tx: Tx, pushed: Pushed) -> None:
    """Save a push, which was never decided on before, and have it made."""
    for audience in pushed.audiences:
        tx.put(AUDIENCES, audience)
    for notification in pushed.notifications:
        tx.insert(NOTIFICATIONS, notification)
    for call in pushed.calls:
        tx.call_vendor(call, new=True)


# -- who may listen ----------------------------------------------------------------------------------------------------


def broadcast_of(event: SessionState | SessionGoalAddedV1 | SessionViewerAuthorizedV1) -> Iterable[Ref]:
    """The streamer's latest session."""
    return (BROADCASTS.ref(event.streamer_id),)


def started_for(event: SessionGoalAddedV1) -> Iterable[Ref]:
    """What the viewer of a 1-on-1 that begins has, and the audience it is told to."""
    if viewer_id := event.conditions.exclusive_to:
        yield PERMITS.ref(pair_id(event.session_id, viewer_id))
        yield AUDIENCES.ref(event.streamer_id)


def permit_of(event: SessionViewerAuthorizedV1 | SessionViewerRevokedV1) -> Iterable[Ref]:
    """What the viewer had so far."""
    return (PERMITS.ref(pair_id(event.session_id, event.viewer_id)),)


def block_id(event: ViewerBlockedV1 | ViewerUnblockedV1) -> str:
    """The id of the block that an event is about."""
    return pair_id(event.streamer_id, event.viewer_id)


async def is_blocked(tx: Tx, streamer_id: str, viewer_id: str) -> bool:
    """Whether the streamer blocks the viewer."""
    return await tx.get(BLOCKS, pair_id(streamer_id, viewer_id)) is not None


async def may_watch_paid(tx: Tx, streamer_id: str, viewer_id: str) -> bool:
    """Whether the viewer is entitled to the streamer's paid streaming now."""
    broadcast = await tx.get(BROADCASTS, streamer_id)
    if broadcast is None:
        return False
    permit = await tx.get(PERMITS, pair_id(broadcast.session_id, viewer_id))
    show_ended = await _show_ended(tx, broadcast)
    return entitlement.may_watch_paid(broadcast, permit, viewer_id, tx.now, show_ended=show_ended)


async def opens_show(tx: Tx, streamer_id: str, funding_goal_id: str | None) -> bool:
    """Whether the show for which a ticket of this funding is, is on."""
    broadcast = await tx.get(BROADCASTS, streamer_id)
    show_ended = broadcast is not None and await _show_ended(tx, broadcast)
    return entitlement.opens_show(broadcast, funding_goal_id, show_ended=show_ended)


async def _show_ended(tx: Tx, broadcast: Broadcast) -> bool:
    show_id = broadcast.show_goal_id
    return show_id is not None and await tx.get(ENDED_GOALS, show_id) is not None
