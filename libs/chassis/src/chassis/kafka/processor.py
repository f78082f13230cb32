"""The processor: what a poll has brought becomes transactions. There is no Kafka in here.

One transaction holds the next offset of each partition, the ids for the inbox, what the handlers do, what is parked.
A partition belongs to the process that its position names: whoever has lost it changes nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

import structlog

from chassis.context import Runtime
from chassis.kafka.batch_writer import BatchWriter, HaltError, Outcome, until
from chassis.kafka.decoding import InboundMessage, Partition, Record, Subscriptions, undecoded
from chassis.kafka.ownership import OwnedPartition, OwnershipLostError, PartitionOwnership
from chassis.kafka.parked_retry import ParkedRetry
from chassis.kafka.parking import CRASHES_MAX, PARKED_KEYS, CrashedError, fail, measure_parked, park
from chassis.kafka.positions import AttemptCount
from chassis.runtime import metrics
from chassis.runtime.faults import fault_point
from chassis.service import Service
from chassis.storage.batch import BATCH_MAX, BlockedByEarlier
from chassis.storage.mongo import PyMongoError
from chassis.storage.tx import Tx

SLICE_SECONDS = 2.0  # of one poll, before the next one is looked at: others may have little to do
ISOLATION_CRASHES = 2  # one process may die of anything; after a second one at the very same place records are isolated
ISOLATION_RECORDS = BATCH_MAX  # what may have been in hand when it died
ISOLATION_GROUP = 25  # tried together, two transactions each: one more crash, and it is known which of twenty groups
MEASURE_SECONDS = 1.0  # whoever measures has other things to watch

_log = structlog.get_logger(__name__)


class BatchProcessor:
    """Handles what has arrived, and what is parked, in the partitions that one worker owns."""

    def __init__(self, service: Service, runtime: Runtime, owner: str) -> None:
        """Hand it to the handlers of `service` in the name of `owner`, a name that no other process has."""
        self.ownership = PartitionOwnership(runtime, owner)
        self.subscriptions = Subscriptions(service.handlers)
        self._runtime = runtime
        self._dlq = f"{service.name}.dlq"
        self._writer = BatchWriter(service, runtime, self.ownership)
        self._parked = ParkedRetry(runtime, self.ownership, self._writer, self.subscriptions, self._dlq)

    @property
    def retry_at(self) -> float:
        """When parked keys may be due."""
        return self._writer.retry_at

    @property
    def in_failure_burst(self) -> bool:
        """Whether messages of some type keep failing."""
        return self._writer.in_failure_burst

    def stop(self) -> None:
        """Finish the transaction in hand."""
        self._writer.stopping = True

    async def process(self, polled: Mapping[Partition, Sequence[Record]]) -> None:
        """Handle what a poll has brought, as far as it is of owned partitions, or as much as two seconds allow.

        What is left is what lies from each partition's `next` on. The partitions take turns: whoever has slow messages
        holds up the others for one slice at most.

        Raises:
            HaltError: too many in a row have failed.
        """
        self.ownership.begin_batch()
        until = self._runtime.clock.monotonic() + SLICE_SECONDS
        todo: list[list[InboundMessage]] = []
        for partition, records in polled.items():
            owned = self.ownership.owned.get(partition.id)
            if owned is not None:
                owned.begun = True
                if records[0].offset < owned.next:
                    raise HaltError(
                        f"{partition.id} ends before {owned.next}, where it was left: was the topic made anew?"
                    )
                rest = await self._run_isolated(owned, records)
                todo.append(self._skip([self.subscriptions.decode(partition, record) for record in rest], owned))
        in_turn = [message for turn in zip_longest(*todo) for message in turn if message is not None]
        await self._writer.run(in_turn, self._attempt, until, arrived=True)

    async def retry(self) -> None:
        """Try the parked keys that are due, and decide when to look again."""
        await self._parked.retry()

    async def measure(self) -> None:
        """Set the gauge of messages that wait for an operator; while MongoDB is away it stays as it is."""
        try:
            async with asyncio.timeout(MEASURE_SECONDS):
                await measure_parked(self._runtime.database)
        except (PyMongoError, TimeoutError) as error:
            _log.debug("parked messages not counted", error=repr(error))

    def _skip(self, messages: list[InboundMessage], owned: OwnedPartition) -> list[InboundMessage]:
        """Pass over a whole partition's part when nobody listens to any of it; its position is stored later."""
        if not messages or any(message.work is not None for message in messages):
            return messages
        owned.next = messages[-1].offset + 1
        self.ownership.alive()
        for type_, times in Counter(message.type for message in messages).items():
            metrics.EVENTS.labels(type_, "skipped").inc(times)
        return []

    # -- inside: one by one ----------------------------------------------------------------------------------------

    async def _run_isolated(self, owned: OwnedPartition, records: Sequence[Record]) -> Sequence[Record]:
        """Handle apart what processes may have died of, counting before each try; returns the rest.

        A crash should cost the suspect and not those that wait beside it: groups at first, and only the records of the
        group in which a process died again, one by one.
        """
        if owned.isolated_until is None:
            return records
        isolated = [record for record in records if record.offset < owned.isolated_until]
        suspect_until = owned.suspect_until
        done = 0
        while done < len(isolated):
            if self._writer.stopping or owned.partition.id not in self.ownership.owned:
                return []
            group = isolated[done : done + (1 if isolated[done].offset < suspect_until else ISOLATION_GROUP)]
            times = await self._count_try(owned, group[0].offset, group[-1].offset + 1)
            if times > CRASHES_MAX and len(group) == 1:
                inbound = [undecoded(owned.partition, group[0]).failing(CrashedError(times - 1))]
            else:
                inbound = [self.subscriptions.decode(owned.partition, record) for record in group]
            await self._writer.run(inbound, self._attempt, arrived=True)
            done += len(group)
        if len(isolated) < len(records) or records[-1].offset + 1 >= owned.isolated_until:
            owned.isolated_until = None
        return records[len(isolated) :]

    async def _count_try(self, owned: OwnedPartition, offset: int, end: int) -> int:
        """Count that the records from `offset` to `end` are about to be tried; returns how often they were, with this
        time.
        """
        count = 0

        async def attempt(tx: Tx, part: Sequence[OwnedPartition]) -> None:
            nonlocal count
            positions = await self.ownership.positions(tx, {one.partition.id for one in part})
            position = positions[owned.partition.id]
            before = position.attempt_count
            again = before is not None and (before.offset, before.end) == (offset, end)
            count = 1 + (before.count if before is not None and again else 0)
            until = None if end == offset + 1 else end
            self.ownership.save(tx, replace(position, attempt_count=AttemptCount(offset, count, until)))

        try:
            await self.ownership.run_all([owned], attempt)
        except OwnershipLostError as lost:
            self.ownership.fence(lost.ids)
        return count

    # -- inside: batches -------------------------------------------------------------------------------------------

    async def _attempt(self, tx: Tx, part: Sequence[InboundMessage]) -> int:
        """One transaction of what a poll has brought; returns how many messages it had the time for."""
        outcome = self._writer.outcome = Outcome(failing=self._writer.failing.copy())
        positions = await self.ownership.positions(tx, {message.partition.id for message in part})
        fresh = [message for message in part if message.offset >= positions[message.partition.id].offset]
        blocked: Collection[str] = ()
        if any(position.parked for position in positions.values()):
            readable, unreadable = await tx.split(PARKED_KEYS, {message.ordering_key for message in fresh})
            blocked = {*readable, *unreadable}
        failures = await self._writer.take(tx, fresh, blocked)
        part, fresh = until(fresh[len(failures) :], part), fresh[: len(failures)]
        parked: Counter[str] = Counter()
        for message, failure in zip(fresh, failures, strict=True):
            if isinstance(failure, BlockedByEarlier):
                park(tx, message)
            elif failure is not None:
                outcome.failed.append((message, fail(tx, message, failure, None, self._dlq)))
                parked[message.partition.id] += 1
        ends = {message.partition.id: message.offset + 1 for message in part}
        for id_, end in ends.items():
            position = positions[id_]
            offset = max(position.offset, end)
            self.ownership.save(
                tx, replace(position, offset=offset, parked=position.parked + parked[id_], attempt_count=None)
            )
        await self._writer.prove(tx)
        self._writer.judge(outcome, fresh, failures)
        fault_point("consumer.in_transaction", (message.type for message in fresh))
        return len(part)
