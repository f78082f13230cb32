"""The backlog: how much waits in the database to be published, made or mended, and for how long.

Every process measures it, leader or not: a leader that is gone, or hangs, cannot say so itself. And there is a limit:
while more waits, commands are refused and events stay in Kafka, where there is room for them.
"""

import asyncio
from datetime import datetime

import structlog

from chassis.clock import instant
from chassis.context import Runtime
from chassis.effects.model import EFFECTS
from chassis.kafka.parking import PARKED
from chassis.outbox.model import OUTBOX
from chassis.outbox.relay import OUTBOX_PARKED
from chassis.runtime import metrics
from chassis.runtime.logs import reason
from chassis.storage.mongo import Database, PyMongoError, Raw
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

_log = structlog.get_logger(__name__)


class BacklogMeter:
    """Measures the backlog of a service, for its gauges and for `Runtime.backlog`."""

    def __init__(self, runtime: Runtime, rows_max: int) -> None:
        """Say that it is full when over `rows_max` documents wait in one of the collections."""
        self._database = runtime.database
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
        async with asyncio.timeout(ANSWER_SECONDS):
            rows = {name: await self._database[name].estimated_document_count() for name in WHAT_WAITS}
        metrics.OUTBOX_ROWS.set(rows[OUTBOX.name])
        metrics.EFFECT_ROWS.set(rows[EFFECTS.name])
        self._judge(rows)
        now = instant(self._clock.micros())
        async with asyncio.timeout(ANSWER_SECONDS):
            metrics.OUTBOX_AGE_SECONDS.set(await self._stamp_age(OUTBOX.name, await _not_parked(self._database)))
            metrics.EFFECTS_OLDEST_SECONDS.set(await self._stamp_age(EFFECTS.name, {"parked": {"$ne": True}}))
            metrics.TIMERS_OLDEST_SECONDS.set(await self._first_due(now))

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

    async def _stamp_age(self, name: str, where: Raw) -> float:
        """How long the first of these documents has waited, by its stamp."""
        first = (
            await self._database[name].find(where, {"_stamp": 1}).sort([("_stamp", 1), ("n", 1)]).limit(1).to_list(1)
        )
        return max(0.0, (self._clock.micros() - first[0]["_stamp"]) / 1_000_000) if first else 0.0

    async def _first_due(self, now: datetime) -> float:
        """How late the first timer is that has not run."""
        where = {"parked": False, "due": {"$lte": now}}
        first = await self._database[TIMERS.name].find(where, {"due": 1}).sort("due", 1).limit(1).to_list(1)
        return float((now - first[0]["due"]).total_seconds()) if first else 0.0


async def _not_parked(database: Database) -> Raw:
    """What finds the rows of the outbox that do not wait for an operator."""
    keys = database[OUTBOX_PARKED.name].find({}, {"topic": 1, "key": 1, "_id": 0}).limit(KEYS_MAX)
    parked = await keys.to_list(None)
    return {"$nor": parked} if parked else {}
