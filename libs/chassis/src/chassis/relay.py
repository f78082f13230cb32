"""The relay: publishes the outbox. Only the leader runs it; running twice repeats messages, and never reorders them.

A run starts at the oldest row, in (`_stamp`, `n`) order, and reads a snapshot, so whatever it sees, it sees with
everything that led to it. It deletes, per key, only what the broker acknowledged without a gap. After any error the
producer is thrown away and the next run starts at the oldest row again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from aiokafka.errors import (
    CorruptRecordException,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedForMessageFormatError,
)

from chassis import metrics
from chassis.backoff import back_off
from chassis.clock import instant
from chassis.collection import Collection
from chassis.faults import fault_point
from chassis.kafka import discard, open_producer
from chassis.logs import reason
from chassis.mongo import Database, PyMongoError, Raw, ReadConcern
from chassis.outbox import OUTBOX, OutboxRow
from chassis.pace import Pace
from chassis.runtime import Runtime
from chassis.settings import ChassisSettings

ROWS_MAX = 500  # one run; more gains nothing measurable
POLL_SECONDS = 1.0  # when nothing rang; the bell is quick, this is to be safe
SEND_SECONDS = 5.0  # for the broker to acknowledge a run
TOPIC_SECONDS = 0.5  # for the broker to say that a topic is there
TOPIC_AWAY_SECONDS = 5.0  # before a topic that is not is looked for again
PARKED_SECONDS = 2.0  # how old the list of parked keys may be: an operator may have shortened it
PARKED_MAX = 1_000  # keys that are left out of what is read; any more are refused anew, which is slow but no harm
GAUGE_SECONDS = 2.0

REFUSED = (
    CorruptRecordException,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)
"""What a broker says to a record that it will never take."""

TOPIC_AWAY = (InvalidTopicError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError)
"""What a broker says of a topic: its rows wait, others do not."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key of a topic whose next event the broker refuses for good. Deleting this document lets it be tried again."""

    id: str
    topic: str
    key: str
    row_id: str
    reason: str
    at: datetime


OUTBOX_PARKED = Collection("outbox_parked", ParkedKey)


class Relay:
    """Publishes the outbox of one service for as long as it is the leader."""

    def __init__(self, runtime: Runtime, settings: ChassisSettings) -> None:
        """Connect to the broker when there is something to publish."""
        self._settings = settings
        self._clock = runtime.clock
        self._bells = runtime.bells
        self._outbox = runtime.database[OUTBOX.name]
        self._snapshot = self._outbox.with_options(read_concern=ReadConcern("snapshot"))
        self._parked_keys = runtime.database[OUTBOX_PARKED.name]
        self._parked: list[Raw] = []
        self._parked_until = 0.0
        self._away: dict[str, float] = {}
        self._gauges_until = 0.0
        self._producer: Any = None
        self._pace = Pace(runtime.clock)
        self._stopping = False

    async def run(self) -> None:
        """Publish until `stop`; waits out a broker or a database that is away."""
        failures = 0
        try:
            while not self._stopping:
                try:
                    more = await self._publish_some()
                    failures = 0
                except (PyMongoError, KafkaError, TimeoutError) as error:
                    failures += 1
                    metrics.OUTBOX_FAILURES.inc()
                    _log.warning("outbox not published", error=reason(error), failures=failures)
                    await self._close()
                    await back_off(failures, first_seconds=0.1, seconds_max=2.0)
                else:
                    if not more:
                        await self._bells.wait(OUTBOX.name, POLL_SECONDS)
        finally:
            await self._close()

    def stop(self) -> None:
        """Finish the run in hand."""
        self._stopping = True
        self._bells.ring([OUTBOX.name])

    async def _publish_some(self) -> bool:
        """One run. Returns whether there may be more."""
        await self._pace.keep()
        rows = await self._oldest()
        if not rows:
            return False
        self._pace.begin()
        errors = await self._send(rows)
        fault_point("relay.after_publish")
        await self._forget(_acknowledged(rows, errors))
        self._pace.end(full=len(rows) == ROWS_MAX)
        stuck = self._without_topics_away(_first_stuck(rows, errors))
        refused = [row for row, error in stuck if isinstance(error, REFUSED)]
        if stuck and not refused:
            raise stuck[0][1]
        for row in refused:
            await self._close()
            await self._send_alone(row)
        return len(rows) == ROWS_MAX or bool(refused)

    async def _oldest(self) -> list[OutboxRow]:
        await self._refresh()
        now = self._clock.monotonic()
        where: Raw = {"$nor": self._parked} if self._parked else {}
        if away := [topic for topic, until in self._away.items() if until > now]:
            where["topic"] = {"$nin": away}
        cursor = self._snapshot.find(where, batch_size=ROWS_MAX + 1).sort([("_stamp", 1), ("n", 1)]).limit(ROWS_MAX)
        raws = await cursor.to_list(None)
        age_seconds = (self._clock.micros() - raws[0]["_stamp"]) / 1_000_000 if raws else 0.0
        metrics.OUTBOX_AGE_SECONDS.set(max(0.0, age_seconds))
        return [OUTBOX.from_raw(raw) for raw in raws]

    async def _send(self, rows: Sequence[OutboxRow]) -> list[Exception | None]:
        """Send `rows` in order and wait for the broker's word on each: None, or why not.

        Raises:
            KafkaError, TimeoutError: the broker is away.
        """
        if self._producer is None:
            self._producer = await open_producer(self._settings.kafka_bootstrap)
        sent: list[asyncio.Future[Any]] = []
        async with asyncio.timeout(SEND_SECONDS):
            away = {topic: why for topic in {row.topic for row in rows} if (why := await self._why_away(topic))}
            for row in rows:
                topic, headers = self._settings.scoped(row.topic), list(row.headers.items())
                if why := away.get(row.topic):
                    sent.append(_failed(why))
                    continue
                try:
                    sent.append(await self._producer.send(topic, row.value, key=row.key.encode(), headers=headers))
                except REFUSED as error:
                    sent.append(_failed(error))
                    break  # a later row of its key must not overtake it
        _, late = await asyncio.wait(sent, timeout=SEND_SECONDS)
        for future in late:
            future.add_done_callback(_look_at)
        said = [TimeoutError("not acknowledged in time") if future in late else future.exception() for future in sent]
        not_sent = [KafkaError("not sent")] * (len(rows) - len(sent))
        return [*(_as_exception(error) for error in said), *not_sent]

    async def _why_away(self, topic: str) -> KafkaError | None:
        """Why nothing can be sent to `topic`, if so. Without this, a send would wait for it, and with it all others.

        Raises:
            KafkaConnectionError: no broker answers.
        """
        name, client = self._settings.scoped(topic), self._producer.client
        try:
            async with asyncio.timeout(TOPIC_SECONDS):
                await self._producer.partitions_for(name)
        except TOPIC_AWAY as why:
            return why
        except TimeoutError:
            if not await client.force_metadata_update():
                raise KafkaConnectionError("no broker answers") from None
            unauthorized = name in client.cluster.unauthorized_topics
            return TopicAuthorizationFailedError(name) if unauthorized else UnknownTopicOrPartitionError(name)
        return None

    def _without_topics_away(self, stuck: Sequence[tuple[OutboxRow, Exception]]) -> list[tuple[OutboxRow, Exception]]:
        """Let the rows of topics that are away wait, with an alarm that names them; returns what else is stuck."""
        now = self._clock.monotonic()
        for row, error in stuck:
            if isinstance(error, TOPIC_AWAY):
                if row.topic not in self._away:
                    _log.error("topic away, its events wait", topic=row.topic, error=reason(error))
                metrics.OUTBOX_TOPICS_AWAY.labels(row.topic).set(1)
                self._away[row.topic] = now + TOPIC_AWAY_SECONDS
        for topic in [topic for topic, until in self._away.items() if until <= now]:
            _log.info("topic back", topic=topic)
            metrics.OUTBOX_TOPICS_AWAY.labels(topic).set(0)
            del self._away[topic]
        return [(row, error) for row, error in stuck if row.topic not in self._away]

    async def _send_alone(self, row: OutboxRow) -> None:
        """Send a row of a refused batch again: it is parked only if it is refused by itself."""
        [error] = await self._send([row])
        if error is None:
            await self._forget([row.id])
        elif isinstance(error, REFUSED):
            await self._park(row, error)
            await self._close()
        else:
            raise error

    async def _park(self, row: OutboxRow, error: Exception) -> None:
        why = reason(error)
        _log.error("outbox key parked", topic=row.topic, key=row.key, event_id=row.id, reason=why)
        parked = ParkedKey(f"{row.topic}:{row.key}", row.topic, row.key, row.id, why, instant(self._clock.micros()))
        raw = OUTBOX_PARKED.to_raw(parked, self._clock.micros())
        await self._parked_keys.replace_one({"_id": parked.id}, raw, upsert=True)
        self._parked_until = 0.0

    async def _forget(self, ids: Sequence[str]) -> None:
        if ids:
            await self._outbox.delete_many({"_id": {"$in": list(ids)}})

    async def _refresh(self) -> None:
        """Look at the parked keys and at the backlog, now and then."""
        now = self._clock.monotonic()
        if now >= self._parked_until:
            self._parked_until = now + PARKED_SECONDS
            fields = {"topic": 1, "key": 1, "_id": 0}
            self._parked = await self._parked_keys.find({}, fields).sort("at", 1).limit(PARKED_MAX).to_list(None)
            metrics.OUTBOX_PARKED_KEYS.set(await self._parked_keys.estimated_document_count())
        if now >= self._gauges_until:
            self._gauges_until = now + GAUGE_SECONDS
            metrics.OUTBOX_ROWS.set(await self._outbox.estimated_document_count())

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await discard(producer)


def _acknowledged(rows: Sequence[OutboxRow], errors: Sequence[Exception | None]) -> list[str]:
    """The ids of the rows that were acknowledged, per key without a gap."""
    stuck: set[tuple[str, str]] = set()
    ids = []
    for row, error in zip(rows, errors, strict=True):
        if error is not None:
            stuck.add((row.topic, row.key))
        elif (row.topic, row.key) not in stuck:
            ids.append(row.id)
            metrics.OUTBOX_PUBLISHED.labels(row.topic).inc()
    return ids


def _first_stuck(rows: Sequence[OutboxRow], errors: Sequence[Exception | None]) -> list[tuple[OutboxRow, Exception]]:
    """The first row of each key that was not acknowledged, and why."""
    stuck: dict[tuple[str, str], tuple[OutboxRow, Exception]] = {}
    for row, error in zip(rows, errors, strict=True):
        if error is not None:
            stuck.setdefault((row.topic, row.key), (row, error))
    return list(stuck.values())


def _failed(error: Exception) -> "asyncio.Future[Any]":
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def _as_exception(error: BaseException | None) -> Exception | None:
    return error if error is None or isinstance(error, Exception) else KafkaError(repr(error))


def _look_at(future: "asyncio.Future[Any]") -> None:
    """Nobody waits for this send any more; its failure is no news."""
    if not future.cancelled():
        future.exception()


async def list_parked(database: Database) -> list[Mapping[str, Any]]:
    """The keys whose next event the broker refuses, the oldest first, with its reasons."""
    parked = database[OUTBOX_PARKED.name].find({}, {"_stamp": 0}).sort("at", 1).limit(1_000)
    return list(await parked.to_list(None))


async def replay(database: Database, key: str | None = None) -> int:
    """Let the relay try parked keys again, all or those called `key`; returns how many it will."""
    done = await database[OUTBOX_PARKED.name].delete_many({} if key is None else {"key": key})
    return done.deleted_count
