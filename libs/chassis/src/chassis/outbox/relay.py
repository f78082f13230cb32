"""The relay: publishes the outbox. Only the leader runs it; running twice repeats messages, and never reorders them.

A run starts at the oldest row, in (`_stamp`, `n`) order, and reads a snapshot, so whatever it sees, it sees with
everything that led to it. What the broker acknowledged, whatever else failed, it remembers and passes over, and deletes
some of it together; should it die before that, its successor publishes those again. Rows of partitions that take
nothing now, of topics that are away and of parked keys are left out of what it reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from chassis.clock import instant
from chassis.context import Runtime
from chassis.outbox.model import OUTBOX, OutboxRow
from chassis.outbox.publisher import Outcome, Publisher
from chassis.runtime import metrics
from chassis.runtime.faults import fault_point
from chassis.runtime.logs import reason
from chassis.runtime.loop import Loop
from chassis.runtime.settings import ChassisSettings
from chassis.runtime.throttle import BatchThrottle
from chassis.storage.collection import Collection, UnreadableError
from chassis.storage.mongo import PyMongoError, Raw, ReadConcern

ROWS_MAX = 500  # one run; more gains nothing measurable
ANSWER_SECONDS = 0.25  # for all partitions to answer; those that do not hold up nobody any longer
END_SECONDS = 5.0  # when stopping, for all of them
DELETE_SECONDS = 0.5  # how long a published row may stay, until the next run: a run for each event needs no delete each
INTERVAL_SECONDS = 0.02  # between two runs in a stream: each hop of each event passes here, and a run is cheap
PARKED_SECONDS = 2.0  # how old the list of parked keys may be: an operator may have shortened it
PARKED_MAX = 1_000  # keys that are left out of what is read; any more are refused anew, which is slow but no harm

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key of a topic whose next event the broker refuses for good, or nobody can read; without a topic or a key if
    the row is that broken. Deleting this document lets it be tried again.
    """

    id: str
    topic: str | None
    key: str | None
    row_id: str
    reason: str
    at: datetime


OUTBOX_PARKED = Collection("outbox_parked", ParkedKey)

_IN_ORDER = (("_stamp", 1), ("n", 1))


class Relay:
    """Publishes the outbox of one service for as long as it is the leader."""

    def __init__(self, runtime: Runtime, settings: ChassisSettings) -> None:
        """Connect to the broker when there is something to publish."""
        self._clock = runtime.clock
        self._wakeups = runtime.wakeups
        away = (PyMongoError, KafkaError, TimeoutError)
        self._loop = Loop("relay", runtime, OUTBOX.name, away=away, wait_seconds_max=2.0, failed=self._count)
        self._outbox = runtime.database[OUTBOX.name]
        self._snapshot = self._outbox.with_options(read_concern=ReadConcern("snapshot"))
        self._parked_keys = runtime.database[OUTBOX_PARKED.name]
        self._publisher = Publisher(settings, runtime.clock, answered=self._look_again)
        self._parked: list[Raw] = []
        self._parked_until = 0.0
        self._published: list[str] = []
        self._delete_at = float("inf")
        self._looked_at = 0.0
        self._throttle = BatchThrottle(runtime.clock, INTERVAL_SECONDS)

    async def run(self) -> None:
        """Publish until `stop`; waits out a broker or a database that is away."""
        try:
            await self._loop.run(self._round)
            await self._finish()
        finally:
            await self._publisher.close()

    def stop(self) -> None:
        """Finish the run in hand."""
        self._loop.stop()

    @property
    def round_at(self) -> float:
        """When it last came round."""
        return self._loop.round_at

    @property
    def trouble(self) -> None:
        """A broker that is away is told of by those who consume."""
        return

    async def _round(self) -> float:
        if await self._publish_some():
            return 0.0
        return min(
            self._wakeups.poll_seconds,
            self._publisher.seconds_left(self._looked_at),
            self._delete_at - self._clock.monotonic(),
        )

    async def _count(self) -> None:
        metrics.OUTBOX_FAILURES.inc()

    def _look_again(self) -> None:
        self._wakeups.notify([OUTBOX.name])

    async def _publish_some(self) -> bool:
        """One run. Returns whether there may be more."""
        await self._throttle.wait()
        self._wakeups.seen(OUTBOX.name)  # before the look, and before what was answered is taken
        await self._settle(self._publisher.take())
        if len(self._published) >= ROWS_MAX or self._clock.monotonic() >= self._delete_at:
            await self._delete_published()
        self._looked_at = self._clock.monotonic()
        rows = await self._oldest()
        self._throttle.begin()
        began = bool(rows) and await self._publisher.send(rows, seconds_max=ANSWER_SECONDS)
        full = began and len(rows) == ROWS_MAX
        outcome = self._publisher.take()
        await self._settle(outcome)
        self._throttle.end(full=full, idle=not began and not self._publisher.partitions_away)
        return full or bool(outcome.refused)

    async def _finish(self) -> None:
        """Give partitions that have not answered yet a last chance. What is not settled then is published again."""
        await self._publisher.wait(END_SECONDS)
        try:
            await self._settle(self._publisher.take())
            await self._delete_published()
        except PyMongoError as error:
            _log.warning("published rows not deleted", error=reason(error))

    async def _oldest(self) -> list[OutboxRow]:
        where = await self._refresh()
        if away := self._publisher.partitions_away:
            where |= {"partition": {"$nin": away}, "_stamp": {"$gt": 0}}  # so that the index alone passes over them
        if self._published:
            where["_id"] = {"$nin": self._published}
        cursor = self._snapshot.find(where, batch_size=ROWS_MAX + 1).sort(list(_IN_ORDER)).limit(ROWS_MAX)
        if self._published:  # or MongoDB might read by `_id`, and sort whatever waits
            cursor = cursor.hint(list(OUTBOX.indexes[0].keys.items()))
        return await self._read(await cursor.to_list(None))

    async def _read(self, raws: Sequence[Raw]) -> list[OutboxRow]:
        """What was found, but for what nobody can read, and what is behind that. Its key is parked once nothing of it
        is ahead: what is ahead may fail to be published now, and must not be parked with it.
        """
        rows: list[OutboxRow] = []
        ahead: set[tuple[Any, Any]] = set()
        stuck: set[tuple[Any, Any]] = set()
        for raw in raws:
            place = raw.get("topic"), raw.get("key")
            if place in stuck:
                continue
            try:
                rows.append(OUTBOX.from_raw(raw))
                ahead.add(place)
            except UnreadableError as error:
                stuck.add(place)
                if place not in ahead:
                    await self._park(*place, raw["_id"], error)
        return rows

    async def _settle(self, outcome: Outcome) -> None:
        if outcome.acknowledged:
            fault_point("relay.after_publish", (row.type for row in outcome.acknowledged))
            if not self._published:
                self._delete_at = self._clock.monotonic() + DELETE_SECONDS
            self._published += [row.id for row in outcome.acknowledged]
        for row, error in outcome.refused:
            await self._park(row.topic, row.key, row.id, error)

    async def _delete_published(self) -> None:
        """Delete what was published. Until a majority knows, a snapshot may still have it, and it is passed over."""
        if self._published:
            await self._outbox.delete_many({"_id": {"$in": self._published}})
            self._published = []
            self._delete_at = float("inf")

    async def _park(self, topic: str | None, key: str | None, row_id: str, error: Exception) -> None:
        why = reason(error)
        _log.error("outbox key parked", topic=topic, key=key, event_id=row_id, reason=why)
        parked = ParkedKey(f"{topic}:{key}", topic, key, row_id, why, instant(self._clock.micros()))
        raw = OUTBOX_PARKED.to_raw(parked, self._clock.micros())
        await self._parked_keys.replace_one({"_id": parked.id}, raw, upsert=True)
        self._parked_until = 0.0

    async def _refresh(self) -> Raw:
        """Look at the parked keys, now and then; returns which rows are neither parked nor of a topic that is away."""
        now = self._clock.monotonic()
        if now >= self._parked_until:
            self._parked_until = now + PARKED_SECONDS
            fields = {"topic": 1, "key": 1, "_id": 0}
            self._parked = await self._parked_keys.find({}, fields).sort("at", 1).limit(PARKED_MAX).to_list(None)
            count = len(self._parked)
            if count == PARKED_MAX:
                count = await self._parked_keys.estimated_document_count()
            metrics.OUTBOX_PARKED_KEYS.set(count)
        where: Raw = {"$nor": self._parked} if self._parked else {}
        if away := self._publisher.topics_away:
            where["topic"] = {"$nin": away}
        return where
