"""Where rtc-control keeps what it wants of the vendor, and who is in which room."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chassis.effects.model import EFFECTS, StoredEffect
from chassis.service import EffectResult
from chassis.storage.collection import Collection, Index, Ref
from chassis.storage.tx import Tx
from contracts import GoalCreatedV1, GoalEndedV1, SessionViewerRevokedV1
from rtc_control.domain.broadcast import Broadcast, EndedGoal, OverdueDue, ReconcileDue, SessionState
from rtc_control.domain.rooms import SLICE, CutDue, Occupant
from rtc_control.domain.snapshot import AgainDue, LookAtSnapshot, MakeSnapshot, Snapshot

KEPT: Final = int(timedelta(days=7).total_seconds())  # whoever tells of a session may be away for a while before
OCCUPANTS_KEPT: Final = int(timedelta(days=1).total_seconds())  # a session lasts half a day at most
DELIVERIES_KEPT: Final = int(timedelta(days=1).total_seconds())  # the vendor tries three times, within minutes


@dataclass(frozen=True, slots=True)
class Delivery:
    """A callback that was taken, by the vendor's id."""

    id: str
    at: datetime


BROADCASTS = Collection(
    "broadcasts",
    Broadcast,
    indexes=(Index({"ended": 1}, expire_after_seconds=KEPT), Index({"sources.room_id": 1, "ended": 1})),
)
ENDED_GOALS = Collection("ended_goals", EndedGoal, indexes=(Index({"at": 1}, expire_after_seconds=KEPT),))
OCCUPANTS = Collection(
    "occupants",
    Occupant,
    indexes=(Index({"room_id": 1, "present": 1, "_id": 1}), Index({"at": 1}, expire_after_seconds=OCCUPANTS_KEPT)),
)
DELIVERIES = Collection("deliveries", Delivery, indexes=(Index({"at": 1}, expire_after_seconds=DELIVERIES_KEPT),))
COLLECTIONS = (BROADCASTS, ENDED_GOALS, OCCUPANTS, DELIVERIES)


def broadcast_of(
    subject: SessionState | SessionViewerRevokedV1 | OverdueDue | ReconcileDue | AgainDue | CutDue,
) -> Iterable[Ref]:
    """The session that an event or a timer is about."""
    return (BROADCASTS.ref(subject.session_id),)


def of_exclusive(event: GoalCreatedV1 | GoalEndedV1) -> Iterable[Ref]:
    """The session, and whether this goal has ended."""
    if event.kind == "ExclusiveGoal":
        yield BROADCASTS.ref(event.session_id)
        yield ENDED_GOALS.ref(event.goal_id)


async def of_answer(tx: Tx, answer: EffectResult[MakeSnapshot] | EffectResult[LookAtSnapshot]) -> Broadcast | None:
    """The session that the vendor has answered for."""
    return await tx.get(BROADCASTS, answer.effect.session_id)


async def broadcast_in(tx: Tx, room_id: str) -> Broadcast | None:
    """The session that this room is of: a room belongs to one that is on at a time."""
    found = await tx.find(BROADCASTS, {"sources.room_id": room_id}, sort={"ended": 1}, limit=1)
    return found[0] if found else None


async def occupants(tx: Tx, broadcast: Broadcast, after: str) -> list[Occupant]:
    """Who is in the rooms of a session, the next ones `after` this one; where another is on by now, nobody is."""
    rooms = {source.room_id for source in broadcast.sources}
    if broadcast.ended is not None:
        others = await tx.find(BROADCASTS, {"sources.room_id": {"$in": list(rooms)}, "ended": None})
        rooms -= {source.room_id for other in others for source in other.sources}
    where = {"room_id": {"$in": list(rooms)}, "present": True, "_id": {"$gt": after}}
    return await tx.find(OCCUPANTS, where, sort={"_id": 1}, limit=SLICE)


async def open_calls(tx: Tx, snapshots: Iterable[Snapshot]) -> dict[str, StoredEffect]:
    """The calls that the vendor has yet to do, by their task."""
    return await tx.get_many(EFFECTS, (snapshot.task_id for snapshot in snapshots))
