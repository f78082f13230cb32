"""Ownership: which partitions this process has in hand, as their positions in the database say.

A position names its owner. Whoever claims a partition writes its name there, and whoever finds another name there has
lost it, whatever Kafka still tells him: so a process that was frozen, or is slow to let go, changes nothing any more.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from chassis.context import Runtime
from chassis.kafka.assumptions import Assumptions
from chassis.kafka.decoding import SYSTEM_CAUSE, Partition
from chassis.kafka.parking import PARKED_KEYS
from chassis.kafka.positions import POSITIONS, Position
from chassis.runtime.backoff import back_off
from chassis.runtime.faults import fault_point
from chassis.storage.batch import BatchRunner
from chassis.storage.errors import is_transient
from chassis.storage.mongo import PyMongoError, Raw
from chassis.storage.tx import Tx

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class OwnershipLostError(Exception):
    """Some partitions are not this process's any more, or somebody has moved their position."""

    def __init__(self, ids: Collection[str]) -> None:
        """Name the positions."""
        super().__init__(f"not ours any more: {', '.join(sorted(ids))}")
        self.ids = ids


@dataclass(slots=True)
class OwnedPartition:
    """A partition in this process's hands."""

    partition: Partition
    position: Position
    """What the database has, as far as this process knows."""
    stamp: int
    """Of the transaction that wrote it."""
    next: int
    """The next record to handle; ahead of the position only by records that nobody here listens to."""
    begun: bool = False
    """Whether anything of it was taken in hand since it was claimed."""
    isolated_until: int | None = None
    """Records below this offset are handled in small groups: processes have died here."""

    @property
    def suspect_until(self) -> int:
        """Records below this offset are handled one by one: it was in this group that the last process died."""
        return 0 if self.position.attempt_count is None else self.position.attempt_count.end


class PartitionOwnership:
    """The partitions that one worker owns, and the one writer of its transactions."""

    def __init__(self, runtime: Runtime, owner: str) -> None:
        """Claim in the name of `owner`, a name that no other process has."""
        self.owner = owner
        self.owned: dict[str, OwnedPartition] = {}
        self.claimed: dict[str, OwnedPartition] = {}
        """Marked as ours, and not in hand yet."""
        self.lost: list[OwnedPartition] = []
        self.alive_at = runtime.clock.monotonic()
        self._runtime = runtime
        self._runner: BatchRunner[Any] = BatchRunner("events", lambda: runtime.begin(SYSTEM_CAUSE), tried=self.alive)
        self.known = self.owned
        """What was owned when the batch in hand began."""
        self.assumptions = Assumptions()
        self._saving: dict[str, tuple[Position, Tx]] = {}

    async def claim(self, partitions: Sequence[Partition]) -> list[OwnedPartition]:
        """Mark `partitions` as ours and say where each one is; they are ours once they stand in `owned`.

        One whose position cannot be read is left out.
        """
        claimed: dict[str, Position] = {}
        by: dict[str, Tx] = {}

        async def attempt(tx: Tx, part: Sequence[Partition]) -> None:
            self._saving.clear()
            ids = [partition.id for partition in part]
            positions, unreadable = await tx.split(POSITIONS, ids)
            of_these: list[Raw] = [
                {"$match": {"position": {"$in": ids}}},
                {"$group": {"_id": "$position", "n": {"$sum": 1}}},
            ]
            parked = {row["_id"]: row["n"] for row in await tx.aggregate(PARKED_KEYS, of_these)}
            for id_, error in unreadable.items():
                _log.error("partition not claimed", position=id_, reason=str(error))
            for id_ in (id_ for id_ in ids if id_ not in unreadable):
                claimed[id_] = positions.get(id_, Position(id_)).claimed_by(self.owner, parked.get(id_, 0))
                tx.put(POSITIONS, claimed[id_])
                by[id_] = tx

        await self.run_all(partitions, attempt)
        fault_point("consumer.after_claim")
        found = [(partition, claimed[partition.id]) for partition in partitions if partition.id in claimed]
        owned = [OwnedPartition(partition, at, by[at.id].stamp, at.offset) for partition, at in found]
        self.claimed |= {one.partition.id: one for one in owned}
        return owned

    def take_in_hand(self, owned: OwnedPartition) -> None:
        """Begin with what was claimed."""
        self.claimed.pop(owned.partition.id, None)
        self.owned[owned.partition.id] = owned

    def drop_all(self) -> list[OwnedPartition]:
        """Begin nothing new with what is held or claimed; what is in hand may still be ended."""
        gone = [*self.owned.values(), *self.claimed.values()]
        self.owned, self.claimed = {}, {}
        return gone

    async def release(self, owned: Iterable[OwnedPartition]) -> None:
        """Tell everybody that nothing of `owned` is in hand any more. One try: without it the next one counts a crash.

        Raises:
            PyMongoError: the database is away.
        """
        by_id = {one.partition.id: one for one in owned}
        tx = self._runtime.begin(SYSTEM_CAUSE)
        try:
            for id_, position in (await tx.split(POSITIONS, by_id))[0].items():
                if position.owner == self.owner:
                    one = by_id[id_]
                    after = replace(position, crash_count=0, attempt_count=None) if one.begun else position
                    tx.put(POSITIONS, replace(after, owner=None, offset=max(position.offset, one.next)))
            await tx.commit()
        finally:
            await tx.abort()

    async def checkpoint(self) -> None:
        """See whether the partitions are still ours and where we left them; store how far we have only skipped."""
        self.begin_batch()
        mine = list(self.owned.values())

        async def skipped(tx: Tx) -> bool:
            positions = await self.positions(tx, {one.partition.id for one in mine}, look=True)
            return any(one.next > positions[one.partition.id].offset for one in mine)

        async def attempt(tx: Tx, part: Sequence[OwnedPartition]) -> None:
            positions = await self.positions(tx, {one.partition.id for one in part}, look=True)
            for one in part:
                position = positions[one.partition.id]
                if one.next > position.offset:
                    self.save(tx, replace(position, offset=one.next))

        try:
            if not mine:
                return
            if await self.read(skipped):
                await self.run_all(mine, attempt)
            else:
                self.committed()  # all is as it was left
        except OwnershipLostError as lost:
            self.fence(lost.ids)

    # -- for those who write ---------------------------------------------------------------------------------------

    def begin_batch(self) -> None:
        """What is owned now is known to the end of the batch, even if it is dropped meanwhile."""
        self.known = self.owned

    @property
    def dropped(self) -> bool:
        """Whether it was dropped meanwhile."""
        return self.known is not self.owned

    async def run(self, works: Sequence[T], attempt: Callable[[Tx, Sequence[T]], Awaitable[int | None]]) -> int:
        """Run `attempt` over the first of `works`, as many as go through in one transaction; returns how many."""
        return await self._runner.run(works, attempt)

    async def run_all(self, works: Sequence[T], attempt: Callable[[Tx, Sequence[T]], Awaitable[None]]) -> None:
        """Make `attempt`s until all of `works` is done."""
        done = 0
        while done < len(works):
            done += await self.run(works[done:], attempt)
            self.committed()

    async def read(self, query: Callable[[Tx], Awaitable[T]]) -> T:
        """Read outside of transactions, for as long as it takes."""
        failures = 0
        while True:
            try:
                return await query(self._runtime.begin(SYSTEM_CAUSE, read_only=True))
            except PyMongoError as error:
                if not is_transient(error):
                    raise
                self.alive()
                failures += 1
                await back_off(failures)

    async def positions(self, tx: Tx, ids: Collection[str], *, look: bool = False) -> dict[str, Position]:
        """The positions `ids`, which are ours. The first thing that an attempt asks for.

        After an attempt that went well they are assumed to be as this process left them, and writing them proves it;
        after any other they are looked at, and always with `look`: reading alone proves nothing.

        Raises:
            OwnershipLostError: they are not ours, or one was set back.
        """
        self._saving.clear()
        if self.assumptions.begin(known=not look and all(map(self.known.__contains__, ids))):
            for owned in map(self.known.__getitem__, ids):
                tx.assume_unchanged(POSITIONS, owned.position, owned.stamp)
            return {id_: self.known[id_].position for id_ in ids}
        positions, _ = await tx.split(POSITIONS, ids)
        lost = {id_ for id_ in ids if not self._is_ours(positions.get(id_), self.known.get(id_))}
        if lost:
            raise OwnershipLostError(lost)
        return positions

    def save(self, tx: Tx, position: Position) -> None:
        """Save a position that is ours."""
        tx.put(POSITIONS, position)
        self._saving[position.id] = (position, tx)

    def committed(self) -> None:
        """Remember what the attempt that was just committed has saved."""
        for id_, (position, tx) in self._saving.items():
            if owned := self.known.get(id_):
                owned.position, owned.stamp = position, tx.stamp
        self.assumptions.committed()

    def _is_ours(self, position: Position | None, known: OwnedPartition | None) -> bool:
        if position is None or known is None:
            return False
        return position.owner == self.owner and position.offset >= known.position.offset

    def fence(self, ids: Collection[str]) -> None:
        """Change nothing more of the positions `ids`: they are somebody else's."""
        _log.warning("partitions lost", positions=sorted(ids))
        for id_ in ids:
            if owned := self.known.pop(id_, None):
                self.lost.append(owned)
            self.owned.pop(id_, None)

    def alive(self) -> None:
        """Something was done, or could not be and is not this process's fault. Looking after things is neither."""
        self.alive_at = self._runtime.clock.monotonic()
