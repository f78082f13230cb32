"""Custody: which partitions this process has in hand, as their positions in the database say.

A position names its owner. Whoever claims a partition writes its name there, and whoever finds another name there has
lost it, whatever Kafka still tells him: so a process that was frozen, or is slow to let go, changes nothing any more.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from chassis.backoff import back_off
from chassis.batch import Lane
from chassis.faults import fault_point
from chassis.mongo import PyMongoError, Raw
from chassis.parking import PARKED_KEYS
from chassis.positions import POSITIONS, Position
from chassis.received import NOBODY, Partition
from chassis.runtime import Runtime
from chassis.storage import is_transient
from chassis.tx import Tx

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class LostError(Exception):
    """Some partitions are not this process's any more, or somebody has moved their position."""

    def __init__(self, ids: Collection[str]) -> None:
        """Name the positions."""
        super().__init__(f"not ours any more: {', '.join(sorted(ids))}")
        self.ids = ids


@dataclass(slots=True)
class Held:
    """A partition in this process's hands."""

    partition: Partition
    position: Position
    """What the database has, as far as this process knows."""
    stamp: int
    """Of the transaction that wrote it."""
    next: int
    """The next record to handle; ahead of the position only by records that nobody here listens to."""
    careful_until: int | None = None
    """Records below this offset are handled one by one: processes have died here."""


class Custody:
    """The partitions in one worker's hands, and the one lane in which it writes."""

    def __init__(self, runtime: Runtime, owner: str) -> None:
        """Claim in the name of `owner`, a name that no other process has."""
        self.owner = owner
        self.held: dict[str, Held] = {}
        self.lost: list[Held] = []
        self.alive_at = runtime.clock.monotonic()
        self._runtime = runtime
        self._lane: Lane[Any] = Lane("events", lambda: runtime.begin(NOBODY), tried=self._alive)
        self._known = self.held
        self._trusting = False
        self._assuming = False
        self._storing: dict[str, tuple[Position, Tx]] = {}

    async def claim(self, partitions: Sequence[Partition]) -> list[Held]:
        """Mark `partitions` as ours and say where each one is; they are in our hands once they stand in `held`."""
        claimed: dict[str, Position] = {}
        by: dict[str, Tx] = {}

        async def attempt(tx: Tx, part: Sequence[Partition]) -> None:
            self._storing.clear()
            ids = [partition.id for partition in part]
            positions = await tx.get_many(POSITIONS, ids)
            of_these: list[Raw] = [
                {"$match": {"position": {"$in": ids}}},
                {"$group": {"_id": "$position", "n": {"$sum": 1}}},
            ]
            parked = {row["_id"]: row["n"] for row in await tx.aggregate(PARKED_KEYS, of_these)}
            for id_ in ids:
                claimed[id_] = positions.get(id_, Position(id_)).claimed_by(self.owner, parked.get(id_, 0))
                tx.put(POSITIONS, claimed[id_])
                by[id_] = tx

        await self._all(partitions, attempt)
        fault_point("consumer.after_claim")
        found = [(partition, claimed[partition.id]) for partition in partitions]
        return [Held(partition, at, by[at.id].stamp, at.offset) for partition, at in found]

    def let_go(self) -> list[Held]:
        """Begin nothing new with what is held; what is in hand may still be ended."""
        held, self.held = self.held, {}
        return list(held.values())

    async def release(self, held: Iterable[Held]) -> None:
        """Tell everybody that nothing of `held` is in hand any more. One try: without it the next owner is careful.

        Raises:
            PyMongoError: the database is away.
        """
        nexts = {one.partition.id: one.next for one in held}
        tx = self._runtime.begin(NOBODY)
        try:
            for id_, position in (await tx.get_many(POSITIONS, nexts)).items():
                if position.owner == self.owner:
                    offset = max(position.offset, nexts[id_])
                    tx.put(POSITIONS, replace(position, owner=None, deaths=0, trying=None, offset=offset))
            await tx.commit()
        finally:
            await tx.abort()

    async def tidy(self) -> None:
        """See whether the partitions are still ours and where we left them; store how far we have only skipped."""
        self._known = self.held
        mine = list(self.held.values())

        async def attempt(tx: Tx, part: Sequence[Held]) -> None:
            positions = await self._owned(tx, {one.partition.id for one in part}, look=True)
            for one in part:
                position = positions[one.partition.id]
                if one.next > position.offset:
                    self._store(tx, replace(position, offset=one.next))

        try:
            await self._all(mine, attempt)
        except LostError as lost:
            self._lose(lost.ids)

    # -- for those who write ---------------------------------------------------------------------------------------

    async def _all(self, works: Sequence[T], attempt: Callable[[Tx, Sequence[T]], Awaitable[None]]) -> None:
        done = 0
        while done < len(works):
            done += await self._lane.run(works[done:], attempt)
            self._stored()

    async def _look(self, query: Callable[[Tx], Awaitable[T]]) -> T:
        """Read outside of transactions, for as long as it takes."""
        failures = 0
        while True:
            try:
                return await query(self._runtime.begin(NOBODY, read_only=True))
            except PyMongoError as error:
                if not is_transient(error):
                    raise
                self._alive()
                failures += 1
                await back_off(failures)

    async def _owned(self, tx: Tx, ids: Collection[str], *, look: bool = False) -> dict[str, Position]:
        """The positions `ids`, which are ours. The first thing that an attempt asks for.

        After an attempt that went well they are assumed to be as this process left them, and writing them proves it;
        after any other they are looked at, and always with `look`: reading alone proves nothing.

        Raises:
            LostError: they are not ours, or one was set back.
        """
        self._storing.clear()
        self._assuming = self._trusting and not look and all(map(self._known.__contains__, ids))
        self._trusting = False
        if self._assuming:
            for held in map(self._known.__getitem__, ids):
                tx.assume(POSITIONS, held.position, held.stamp)
            return {id_: self._known[id_].position for id_ in ids}
        positions = await tx.get_many(POSITIONS, ids)
        lost = {id_ for id_ in ids if not self._is_ours(positions.get(id_), self._known.get(id_))}
        if lost:
            raise LostError(lost)
        return positions

    def _store(self, tx: Tx, position: Position) -> None:
        """Save a position that is ours."""
        tx.put(POSITIONS, position)
        self._storing[position.id] = (position, tx)

    def _stored(self) -> None:
        """Remember what the attempt that was just committed has saved."""
        for id_, (position, tx) in self._storing.items():
            if held := self._known.get(id_):
                held.position, held.stamp = position, tx.stamp
        self._trusting = True

    def _is_ours(self, position: Position | None, known: Held | None) -> bool:
        if position is None or known is None:
            return False
        return position.owner == self.owner and position.offset >= known.position.offset

    def _lose(self, ids: Collection[str]) -> None:
        _log.warning("partitions lost", positions=sorted(ids))
        for id_ in ids:
            if held := self._known.pop(id_, None):
                self.lost.append(held)
            self.held.pop(id_, None)

    def _alive(self) -> None:
        """Something was done, or could not be and is not this process's fault. Looking after things is neither."""
        self.alive_at = self._runtime.clock.monotonic()
