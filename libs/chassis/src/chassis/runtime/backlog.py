"""The backlog: how much waits in the database to be published, made or mended, and for how long.

Every process measures it, leader or not: a leader that is gone, or hangs, cannot say so itself. And there is a limit:
while more waits, commands are refused and events stay in Kafka, where there is room for them.
"""

import asyncio
from datetime import datetime
from typing import Any

import structlog

from chassis.clock import instant
from chassis.context import Runtime
from chassis.effects.model import EFFECTS
from chassis.kafka.parking import PARKED
from chassis.outbox.model import OUTBOX
from chassis.outbox.relay import OUTBOX_PARKED
from chassis.runtime import metrics
from chassis.runtime.logs import reason
from chassis.storage.mongo import PyMongoError, Raw, ReadConcern
from chassis.timers.model import TIMERS

MEASURE_SECONDS = 5.0  # how often; a burst of a thousand a second is some thousands beyond the limit by then
ANSWER_SECONDS = 1.0  # for MongoDB, to each question
AGAIN_SHARE = 0.9  # of the limit: below it, things are taken again
KEYS_MAX = 1_000  # parked keys whose rows are left out

WHAT_WAITS = {
    OUTBOX.name: "events wait to be published",
    EFFECTS.name: "vendor calls wait to be made",
    PARKED.name: "messages are parked",
}

_IN_ORDER: Raw = {"_stamp": 1, "n": 1}

_log = structlog.get_logger(__name__)


class BacklogMeter:
    """Measures the backlog of a service, for its gauges and for `Runtime.backlog`."""

    def __init__(self, runtime: Runtime, rows_max: int) -> None:
        """Say that it is full when over `rows_max` documents wait in one of the collections."""
        self._mongo = runtime.mongo
        self._outbox = runtime.database[OUTBOX.name].with_options(read_concern=ReadConcern("local"))  # as sizes need
        self._backlog = runtime.backlog
        self._clock = runtime.clock
        self._rows_max = rows_max
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Measure until `stop`; what MongoDB does not say stays as it was."""
        while not self._stopping.is_set():
            try:
                await self.measure()
            except (PyMongoError, TimeoutError) as error:
                _log.debug("backlog not measured", error=reason(error))
            try:
                async with asyncio.timeout(MEASURE_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Measure no more."""
        self._stopping.set()

    async def measure(self) -> None:
        """Once.

        Raises:
            PyMongoError, TimeoutError: MongoDB is away.
        """
        now = instant(self._clock.micros())
        found = await self._ask(_questions(now))
        rows = {name: int(_said(found, name, "count", 0)) for name in WHAT_WAITS}
        metrics.OUTBOX_ROWS.set(rows[OUTBOX.name])
        metrics.EFFECT_ROWS.set(rows[EFFECTS.name])
        self._judge(rows)
        metrics.EFFECTS_OLDEST_SECONDS.set(self._age(_said(found, EFFECTS.name, "_stamp", None)))
        metrics.TIMERS_OLDEST_SECONDS.set((now - _said(found, TIMERS.name, "due", now)).total_seconds())
        parked = [
            {"topic": row.get("topic"), "key": row.get("key")} for row in found if row["of"] == OUTBOX_PARKED.name
        ]
        if parked:  # seldom; what waits for an operator has no age
            found = await self._ask(_first(OUTBOX.name, {"$nor": parked}, _IN_ORDER, "_stamp"))
        metrics.OUTBOX_AGE_SECONDS.set(self._age(_said(found, OUTBOX.name, "_stamp", None)))

    async def _ask(self, pipeline: list[Raw]) -> list[Raw]:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._mongo.aggregate(self._outbox, pipeline)

    def _age(self, stamp: int | None) -> float:
        """How long something has waited, by its stamp."""
        return 0.0 if stamp is None else max(0.0, (self._clock.micros() - stamp) / 1_000_000)

    def _judge(self, rows: dict[str, int]) -> None:
        """Full from the limit on, and again empty enough a good deal below it."""
        limit = self._rows_max if self._backlog.full is None else int(self._rows_max * AGAIN_SHARE)
        full = [f"{count} {WHAT_WAITS[name]}" for name, count in rows.items() if count > limit]
        if full and self._backlog.full is None:
            _log.error("backlog full, nothing more is taken", waits=full)
        elif not full and self._backlog.full is not None:
            _log.info("backlog has room again")
        self._backlog.full = ", ".join(full) or None
        metrics.BACKLOG_FULL.set(bool(full))


def _questions(now: datetime) -> list[Raw]:
    """How many documents there are of what waits, which is the first of each, and what is parked: one question."""
    more = [
        (EFFECTS.name, _count(EFFECTS.name)),
        (PARKED.name, _count(PARKED.name)),
        (OUTBOX.name, _first(OUTBOX.name, {}, _IN_ORDER, "_stamp")),
        (EFFECTS.name, _first(EFFECTS.name, {"parked": {"$ne": True}}, _IN_ORDER, "_stamp")),
        (TIMERS.name, _first(TIMERS.name, {"parked": False, "due": {"$lte": now}}, {"due": 1}, "due")),
        (OUTBOX_PARKED.name, [{"$limit": KEYS_MAX}, _fields(OUTBOX_PARKED.name, "topic", "key")]),
    ]
    return _count(OUTBOX.name) + [{"$unionWith": {"coll": name, "pipeline": pipeline}} for name, pipeline in more]


def _count(name: str) -> list[Raw]:
    return [{"$collStats": {"count": {}}}, _fields(name, "count")]


def _first(name: str, where: Raw, order: Raw, field: str) -> list[Raw]:
    return [{"$match": where}, {"$sort": order}, {"$limit": 1}, _fields(name, field)]


def _fields(name: str, *fields: str) -> Raw:
    return {"$project": {"_id": 0, "of": {"$literal": name}, **dict.fromkeys(fields, 1)}}


def _said(found: list[Raw], name: str, field: str, default: Any) -> Any:
    """What was found of a collection under this field."""
    return next((row[field] for row in found if row["of"] == name and field in row), default)
