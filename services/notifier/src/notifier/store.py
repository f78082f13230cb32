"""Where the notifier keeps the numbers of its pushes, what users can catch up with, and who may listen."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from chassis.storage.collection import Collection, Index, Ref
from chassis.storage.mongo import Database
from chassis.storage.renaming import copy_documents, copy_fields
from chassis.storage.tx import Tx
from contracts import (
    Event,
    GoalEndedV1,
    PassActivatedV1,
    SessionGoalAddedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from notifier.domain import entitlement
from notifier.domain.channels import Channel
from notifier.domain.endings import MinutesOver, TicketsOver
from notifier.domain.entitlement import (
    Block,
    Broadcast,
    Pass,
    Permit,
    SessionState,
    Watcher,
    pair_id,
    pass_id,
    pass_ids,
)
from notifier.domain.heads import HeadCount, HeadsDue
from notifier.domain.pushes import KEPT, Audience, DecidedPushes, EndedGoal, Notification, Part, PushResult
from notifier.domain.shows import TicketHoldersDue
from notifier.domain.table import Row
from notifier.domain.throttle import Progress, ProgressDue

ID_MAX: Final = "g"  # comes after every id, which are hex digits


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
    indexes=(
        Index({"ticket_goal": 1, "_id": 1}),
        Index({"over_at": 1, "_id": 1}),
        *(Index({name: 1}, expire_after_seconds=_seconds(KEPT)) for name in ("updated_at", "told")),
    ),
    formerly={"updated_at": "told"},
)  # a session lasts half a day at most
DECIDED = Collection("decided_pushes", DecidedPushes, indexes=(Index({"at": 1}, expire_after_seconds=_seconds(KEPT)),))
PASSES = Collection(
    "passes", Pass, indexes=(Index({"over_at": 1, "_id": 1}), Index({"exp": 1}, expire_after_seconds=_seconds(KEPT)))
)
HEAD_COUNTS = Collection("head_counts", HeadCount, indexes=(Index({"ended": 1}, expire_after_seconds=_seconds(KEPT)),))
COLLECTIONS = (
    AUDIENCES,
    NOTIFICATIONS,
    DECIDED,
    ENDED_GOALS,
    PROGRESS,
    BLOCKS,
    BROADCASTS,
    PERMITS,
    PASSES,
    HEAD_COUNTS,
)


async def copy_former_names(database: Database) -> None:
    """Permits say when they changed, and decided pushes stand, under other names than in the release before.

    What that one still decides after this is in the inboxes, for days.
    """
    await copy_fields(database, (PERMITS,))
    await copy_documents(database, "told", DECIDED.name)


# -- pushes ------------------------------------------------------------------------------------------------------------


def needed_by(row: Row[Any]) -> Callable[[Event], Iterable[Ref]]:
    """What pushing by this row reads, for a whole batch at once."""

    def needs(event: Event) -> Iterable[Ref]:
        if row.until_ended:
            yield ENDED_GOALS.ref(event.subject)
        if row.throttled:
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


def save(tx: Tx, pushed: PushResult) -> None:
    """Save a push, which was never decided on before, and have it made."""
    for audience in pushed.audiences:
        tx.put(AUDIENCES, audience)
    for notification in pushed.notifications:
        tx.insert(NOTIFICATIONS, notification)
    for call in pushed.calls:
        tx.schedule_effect(call, new=True)


# -- who may listen ----------------------------------------------------------------------------------------------------


def broadcast_of(event: GoalEndedV1 | SessionGoalAddedV1 | SessionViewerAuthorizedV1) -> Iterable[Ref]:
    """The streamer's latest session."""
    return (BROADCASTS.ref(event.streamer_id),)


def of_session(event: SessionState) -> Iterable[Ref]:
    """The streamer's latest session, and how many watch this one."""
    return (BROADCASTS.ref(event.streamer_id), HEAD_COUNTS.ref(event.session_id))


def of_heads_due(timer: HeadsDue) -> Iterable[Ref]:
    """How many watched when they were counted last."""
    return (HEAD_COUNTS.ref(timer.session_id),)


async def head_counts(tx: Tx, streamer_ids: Sequence[str]) -> list[HeadCount]:
    """How many watch what these streamers have on air. Asked of nobody, nothing is looked up."""
    if not streamer_ids:
        return []
    broadcasts = (await tx.get_many(BROADCASTS, streamer_ids)).values()
    found = await tx.get_many(HEAD_COUNTS, (broadcast.session_id for broadcast in broadcasts if broadcast.active))
    return list(found.values())


def started_for(event: SessionGoalAddedV1) -> Iterable[Ref]:
    """What the viewer of a 1-on-1 that begins has, and the audience it is told to."""
    if viewer_id := event.conditions.exclusive_to:
        yield PERMITS.ref(pair_id(event.session_id, viewer_id))
        yield AUDIENCES.ref(event.streamer_id)


def permit_of(event: SessionViewerAuthorizedV1 | SessionViewerRevokedV1) -> Iterable[Ref]:
    """What the viewer had so far."""
    return (PERMITS.ref(pair_id(event.session_id, event.viewer_id)),)


def of_revocation(event: SessionViewerRevokedV1) -> Iterable[Ref]:
    """What the viewer had, and by what else they may watch."""
    yield BROADCASTS.ref(event.streamer_id)
    yield PERMITS.ref(pair_id(event.session_id, event.viewer_id))
    for id_ in pass_ids(event.viewer_id, event.streamer_id):
        yield PASSES.ref(id_)


def of_pass(event: PassActivatedV1) -> Iterable[Ref]:
    """The pass as it was."""
    return (PASSES.ref(pass_id(event.user_id, event.pass_kind)),)


def block_id(event: ViewerBlockedV1 | ViewerUnblockedV1) -> str:
    """The id of the block that an event is about."""
    return pair_id(event.streamer_id, event.viewer_id)


async def prefetch_listening(tx: Tx, channels: Sequence[Channel], user_id: str) -> None:
    """Load at once what decides where a user may listen, of many channels."""
    paid = {channel.owner_id for channel in channels if channel.preset == "sd"}
    owners = {channel.owner_id for channel in channels if channel.kind != "private-user"}
    await tx.prefetch(BLOCKS.ref(pair_id(owner, user_id)) for owner in owners)
    broadcasts = list((await tx.get_many(BROADCASTS, paid)).values())
    await tx.prefetch(PERMITS.ref(pair_id(broadcast.session_id, user_id)) for broadcast in broadcasts)
    await tx.prefetch(PASSES.ref(id_) for broadcast in broadcasts for id_ in pass_ids(user_id, broadcast.id))


async def is_blocked(tx: Tx, streamer_id: str, viewer_id: str) -> bool:
    """Whether the streamer blocks the viewer."""
    return await tx.get(BLOCKS, pair_id(streamer_id, viewer_id)) is not None


async def watcher(tx: Tx, streamer_id: str, user_id: str) -> Watcher | None:
    """All that decides whether a user may watch paid streaming of a streamer; None: nothing was ever on air."""
    return next(iter(await watchers(tx, [(streamer_id, user_id)])), None)


async def watchers(tx: Tx, pairs: Sequence[tuple[str, str]]) -> list[Watcher]:
    """The same of many streamers and users at once, without those of whom nothing was ever on air."""
    broadcasts = await tx.get_many(BROADCASTS, (streamer_id for streamer_id, _ in pairs))
    known = [(broadcasts[streamer_id], user_id) for streamer_id, user_id in pairs if streamer_id in broadcasts]
    permits = await tx.get_many(PERMITS, (pair_id(broadcast.session_id, user_id) for broadcast, user_id in known))
    passes = await tx.get_many(PASSES, (id_ for broadcast, user_id in known for id_ in pass_ids(user_id, broadcast.id)))
    return [
        Watcher(
            user_id,
            broadcast,
            permits.get(pair_id(broadcast.session_id, user_id)),
            tuple(passes[id_] for id_ in pass_ids(user_id, broadcast.id) if id_ in passes),
        )
        for broadcast, user_id in known
    ]


# -- what ends by time -------------------------------------------------------------------------------------------------


def of_minutes_over(timer: MinutesOver | TicketsOver) -> Iterable[Ref]:
    """What is on air there."""
    return (BROADCASTS.ref(timer.streamer_id),)


async def permits_over_at(tx: Tx, session_id: str, over_at: datetime, after: str, limit: int) -> list[Permit]:
    """Whose time in a session ends in this second: the first `limit` permits `after` this one."""
    of_session = {"$gt": after or pair_id(session_id, ""), "$lt": pair_id(session_id, ID_MAX)}
    return await tx.find(PERMITS, {"over_at": over_at, "_id": of_session}, sort={"_id": 1}, limit=limit)


async def passes_over_at(tx: Tx, over_at: datetime, after: str, limit: int) -> list[Pass]:
    """Which passes end in this second: the first `limit` `after` this one."""
    return await tx.find(PASSES, {"over_at": over_at, "_id": {"$gt": after}}, sort={"_id": 1}, limit=limit)


async def opens_show(tx: Tx, streamer_id: str, funding_goal_id: str | None) -> bool:
    """Whether the show for which a ticket of this funding is, is on."""
    return entitlement.opens_show(await tx.get(BROADCASTS, streamer_id), funding_goal_id, tx.now)
