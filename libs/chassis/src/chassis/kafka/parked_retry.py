"""Parked messages are tried again: counted before each try, in order behind the one that failed, and freed with it."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from chassis.clock import instant
from chassis.context import Runtime
from chassis.kafka.batch_writer import BatchWriter, Outcome, until
from chassis.kafka.decoding import InboundMessage, Subscriptions
from chassis.kafka.ownership import OwnershipLostError, PartitionOwnership
from chassis.kafka.parking import CRASHES_MAX, PARKED, PARKED_KEYS, CrashedError, Parked, ParkedKey, fail
from chassis.runtime.faults import fault_point
from chassis.runtime.logs import reason
from chassis.storage.batch import BATCH_MAX, BlockedByEarlier
from chassis.storage.collection import UnreadableError
from chassis.storage.mongo import PyMongoError, Raw
from chassis.storage.tx import Tx

SLICE_SECONDS = 2.0  # of one look, before what has arrived is looked at
RETRY_KEYS_MAX = 100
RETRY_SECONDS = 1.0  # how often to look for parked keys that an operator wants to be tried
COUNTED_WAIT = timedelta(seconds=1)  # before a try is repeated that was counted and never made

_log = structlog.get_logger(__name__)


class ParkedRetry:
    """Tries the parked messages of owned partitions again."""

    def __init__(
        self,
        runtime: Runtime,
        ownership: PartitionOwnership,
        writer: BatchWriter,
        subscriptions: Subscriptions,
        dlq: str,
    ) -> None:
        """Write with `writer`; what waits for an operator is copied to `dlq`."""
        self._runtime = runtime
        self._ownership = ownership
        self._writer = writer
        self._subscriptions = subscriptions
        self._dlq = dlq

    async def retry(self) -> None:
        """Try the parked keys that are due, and decide when to look again."""
        self._ownership.begin_batch()
        now = instant(self._runtime.clock.micros())
        keys = await self._waiting()
        due = [key for key in keys if key.next_try_at <= now]
        together = [key for key in due if not (key.alone or key.unfinished_attempts)]
        until = self._runtime.clock.monotonic() + SLICE_SECONDS
        late = False
        for group in ([together] if together else []) + [[key] for key in due if key.alone or key.unfinished_attempts]:
            late = self._runtime.clock.monotonic() > until
            if self._writer.stopping or late:
                break
            await self._retry_readable(group)
        seconds = RETRY_SECONDS
        if late:
            seconds = 0.0
        elif len(due) < len(keys):
            seconds = min(seconds, (keys[len(due)].next_try_at - now).total_seconds())
        elif len(keys) == RETRY_KEYS_MAX:
            seconds = 0.0
        self._writer.retry_at = self._runtime.clock.monotonic() + seconds

    async def _waiting(self) -> list[ParkedKey]:
        """The parked keys of our partitions that try again by themselves, the first due first."""
        ids = [id_ for id_, owned in self._ownership.owned.items() if owned.position.parked]
        if not ids:
            return []
        where = {"position": {"$in": ids}, "state": "retrying"}
        order = {"next_try_at": 1}
        unreadable: dict[str, UnreadableError] = {}
        keys = await self._ownership.read(
            lambda tx: tx.find(PARKED_KEYS, where, sort=order, limit=RETRY_KEYS_MAX, unreadable=unreadable)
        )
        for id_, error in unreadable.items():
            await self._set_aside(id_, error)
        return keys

    async def _set_aside(self, id_: str, error: UnreadableError) -> None:
        """Call for help: outside of any Tx, for none can read it. Nobody but its owner tries a key."""
        _log.error("message parked", key=id_, state="parked", reason=reason(error))
        change = {"$set": {"state": "parked", "reason": reason(error)}}
        try:
            await self._runtime.database[PARKED_KEYS.name].update_one({"_id": id_}, change)
        except PyMongoError as away:
            _log.warning("parked key not set aside", key=id_, error=reason(away))

    async def _retry_readable(self, keys: Sequence[ParkedKey]) -> None:
        """Try `keys` again; one of which a message that waits cannot be read waits for an operator."""
        try:
            await self._retry(keys)
        except UnreadableError as unreadable:
            if len(keys) > 1:
                for key in keys:
                    await self._retry_readable([key])
            else:
                await self._give_up(keys[0], unreadable)

    async def _give_up(self, key: ParkedKey, error: UnreadableError) -> None:
        async def attempt(tx: Tx, part: Sequence[ParkedKey]) -> None:
            await self._ownership.positions(tx, {one.position for one in part}, look=True)
            for one in part:
                tx.put(PARKED_KEYS, replace(one, state="parked", reason=reason(error), unfinished_attempts=0))

        try:
            await self._ownership.run_all([key], attempt)
        except OwnershipLostError as lost:
            self._ownership.fence(lost.ids)
        else:
            _log.error("message parked", key=key.key, state="parked", reason=reason(error))

    async def _retry(self, keys: Sequence[ParkedKey]) -> None:
        """Try the parked messages of `keys`, in order; those after one that fails wait on."""
        limit = 1 if keys[0].alone or keys[0].unfinished_attempts else BATCH_MAX
        ids = [key.id for key in keys]
        order = {"partition": 1, "offset": 1}
        where = {PARKED.name_in_queries("ordering_key"): {"$in": ids}}
        rows = await self._ownership.read(lambda tx: tx.find(PARKED, where, sort=order, limit=limit))
        present = {row.ordering_key for row in rows}
        empty = set() if len(rows) == limit else set(ids) - present
        try:
            await self._count_tries([key for key in keys if key.id in present | empty], empty)
        except OwnershipLostError as lost:
            self._ownership.fence(lost.ids)
            return
        fault_point("parking.after_count")
        await self._writer.run([self._again(row, keys) for row in rows], self._attempt, arrived=False)

    def _again(self, row: Parked, keys: Sequence[ParkedKey]) -> InboundMessage:
        """What a parked message means now; the service may have learned to read it since."""
        inbound = row.inbound()
        crashes = next(key.unfinished_attempts for key in keys if key.id == row.ordering_key)
        if crashes >= CRASHES_MAX:
            return inbound.failing(CrashedError(crashes))
        return self._subscriptions.interpret(inbound, row.key.encode())

    async def _count_tries(self, keys: Sequence[ParkedKey], empty: Collection[str]) -> None:
        """Count tries before they are made; forget keys of which every message was taken away by hand."""

        async def attempt(tx: Tx, part: Sequence[ParkedKey]) -> None:
            await self._ownership.positions(tx, {key.position for key in part}, look=True)
            for key in (await tx.split(PARKED_KEYS, [key.id for key in part]))[0].values():
                if key.id in empty:
                    tx.delete(PARKED_KEYS, key.id)
                else:
                    alone = key.alone or key.unfinished_attempts > 0
                    next_try_at = tx.now + COUNTED_WAIT
                    counted = replace(
                        key, unfinished_attempts=key.unfinished_attempts + 1, alone=alone, next_try_at=next_try_at
                    )
                    tx.put(PARKED_KEYS, counted)

        await self._ownership.run_all(keys, attempt)

    async def _attempt(self, tx: Tx, part: Sequence[InboundMessage]) -> int:
        """One transaction of parked messages; returns how many it had the time for."""
        outcome = self._writer.outcome = Outcome(failing=self._writer.failing)
        positions = await self._ownership.positions(tx, {message.partition.id for message in part}, look=True)
        keys = await tx.get_many(PARKED_KEYS, {message.ordering_key for message in part})
        rows = await tx.get_many(PARKED, [message.id for message in part])
        there = [message for message in part if message.id in rows and message.ordering_key in keys]
        stuck: set[str] = set()
        failures = await self._writer.take(tx, there, ())
        part, there = until(there[len(failures) :], part), there[: len(failures)]
        for message, failure in zip(there, failures, strict=True):
            if failure is None:
                tx.delete(PARKED, message.id)
                continue
            stuck.add(message.ordering_key)
            if not isinstance(failure, BlockedByEarlier):
                key = fail(tx, message, failure, keys[message.ordering_key], self._dlq)
                outcome.failed += [(message, key)] if key.state == "parked" else []
        freed = await self._free(
            tx, [keys[ordering_key] for ordering_key in {message.ordering_key for message in there} - stuck]
        )
        for id_, position in positions.items():
            self._ownership.save(tx, replace(position, parked=position.parked - freed[id_]))
        return len(part)

    async def _free(self, tx: Tx, keys: Sequence[ParkedKey]) -> Counter[str]:
        """Free those of `keys` that have nothing left; returns how many of each position."""
        freed: Counter[str] = Counter()
        if not keys:
            return freed
        name = PARKED.name_in_queries("ordering_key")
        of_these: list[Raw] = [{"$match": {name: {"$in": [key.id for key in keys]}}}, {"$group": {"_id": f"${name}"}}]
        left = {row["_id"] for row in await tx.aggregate(PARKED, of_these)}
        for key in keys:
            if key.id in left:
                tx.put(PARKED_KEYS, replace(key, unfinished_attempts=0, attempts=0, next_try_at=tx.now))
            else:
                tx.delete(PARKED_KEYS, key.id)
                freed[key.position] += 1
        return freed
