"""After a restore: a service reads on its own topic what it has said since, and makes its state what it said then.

What it has decided once it must not decide anew: a request for money that was in time then is late now. So before its
workers read again what they had heard, `remember` applies what followed from it. Nothing is published.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, cast

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.cause import Cause
from chassis.context import Runtime
from chassis.errors import NotYet
from chassis.kafka.aiokafka_patches import read_every_record
from chassis.kafka.client import REQUEST_MILLISECONDS, START_SECONDS
from chassis.kafka.decoding import SYSTEM_CAUSE
from chassis.runtime.settings import ChassisSettings
from chassis.service import On, Service
from chassis.storage.batch import BATCH_MAX, BatchRunner, BlockedByEarlier, WorkItem, run_in_savepoints
from chassis.storage.tx import Tx
from contracts import (
    Event,
    EventAttributes,
    Undecodable,
    UnknownType,
    UnknownVersion,
    attributes_of,
    event_of,
)
from contracts.event import Topic
from contracts.topics import TOPICS

POLL_MILLISECONDS = 1_000

_log = structlog.get_logger(__name__)


@dataclass
class Memory:
    """What a service remembers of what it has said, in the order of each key."""

    runtime: Runtime
    waiting: list[WorkItem] = field(default_factory=list)
    """What needs something else first: diamonds that come back in another session, for instance."""
    done: int = 0

    async def take(self, works: Iterable[WorkItem]) -> None:
        """Apply what can be applied of `works` and of what waits.

        Raises:
            Exception: what a handler raised, unless it was `NotYet`.
        """
        todo = [*self.waiting, *works]
        while todo:
            failures = await self._run(todo)
            self.waiting = [work for work, failure in zip(todo, failures, strict=True) if failure is not None]
            self.done += len(todo) - len(self.waiting)
            if len(self.waiting) == len(todo):
                return
            todo = self.waiting

    async def _run(self, works: Sequence[WorkItem]) -> list[Exception | None]:
        runner: BatchRunner[WorkItem] = BatchRunner("remember", lambda: self.runtime.begin(SYSTEM_CAUSE))
        failures: list[Exception | None] = []
        tried: list[Exception | None] = []
        stuck: set[str] = set()

        async def attempt(tx: Tx, part: Sequence[WorkItem]) -> None:
            tried[:] = await run_in_savepoints(tx, part, stuck)

        while len(failures) < len(works):
            first = len(failures)
            await runner.run(works[first:], attempt)
            for work, failure in zip(works[first:], tried, strict=False):
                if failure is not None and not isinstance(failure, NotYet | BlockedByEarlier):
                    raise failure
                if failure is not None and work.ordering_key is not None:
                    stuck.add(work.ordering_key)
            failures += tried
        return failures


def work_of(rows: Iterable[On], event: Event, attributes: EventAttributes) -> WorkItem:
    """What the table does with an event of the service's own; as its cause stands what that followed from."""
    cause = Cause(attributes.time, attributes.correlation_id, attributes.causation_id)
    of = tuple(row for row in rows if row.subject is type(event))
    return WorkItem(attributes.id, event, of, cause, f"{event.TOPIC}:{attributes.partition_key}")


async def remember(service: Service, runtime: Runtime, settings: ChassisSettings, since: datetime) -> Memory:
    """Apply all that `service` has said since; what is in its database already stays as it is.

    Raises:
        KafkaError: the broker is away.
        Exception: what a handler raised.
    """
    memory = Memory(runtime)
    types = {cast("type[Event]", row.subject).TYPE for row in service.remembers}
    async with _reader(settings) as consumer:
        async for records in _records(consumer, service.name, settings, since):
            works = [_work(service.remembers, types, record) for record in records]
            await memory.take(work for work in works if work is not None)
    return memory


def _work(rows: Iterable[On], types: Collection[str], record: Any) -> WorkItem | None:
    """What to do with a record; None when it is of no concern, or somebody else's on our topic: it can move nothing."""
    try:
        attributes = attributes_of(record.headers)
        if attributes.type not in types:
            return None
        return work_of(rows, event_of(attributes, record.value, record.key or b""), attributes)
    except (Undecodable, UnknownType, UnknownVersion) as error:
        _log.warning("not remembered", partition=record.partition, offset=record.offset, reason=str(error))
        return None


@asynccontextmanager
async def _reader(settings: ChassisSettings) -> AsyncIterator[Any]:
    read_every_record()
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        **settings.kafka_security,
        enable_auto_commit=False,
        isolation_level="read_committed",
        request_timeout_ms=REQUEST_MILLISECONDS,
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def _records(
    consumer: Any, topic: str, settings: ChassisSettings, since: datetime
) -> AsyncIterator[Sequence[Any]]:
    """The records from then until now, a poll at a time."""
    places = [TopicPartition(settings.scoped(topic), n) for n in range(TOPICS[cast("Topic", topic)].partitions)]
    consumer.assign(places)
    ends = await consumer.end_offsets(places)
    firsts = await consumer.offsets_for_times(dict.fromkeys(places, int(since.timestamp() * 1_000)))
    for place in places:
        consumer.seek(place, firsts[place].offset if firsts[place] else ends[place])
    while [place for place in places if await consumer.position(place) < ends[place]]:
        polled = await consumer.getmany(timeout_ms=POLL_MILLISECONDS, max_records=BATCH_MAX)
        yield sorted((record for records in polled.values() for record in records), key=attrgetter("timestamp"))
