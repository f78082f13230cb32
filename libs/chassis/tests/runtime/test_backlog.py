"""The backlog: measured by everybody, whoever leads; beyond its limit nothing more is taken."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi import APIRouter
from prometheus_client import REGISTRY

from chassis.clock import instant
from chassis.effects.model import EFFECTS
from chassis.kafka.parking import PARKED
from chassis.outbox.model import OUTBOX
from chassis.outbox.relay import OUTBOX_PARKED
from chassis.runtime.backlog import BacklogMeter
from chassis.service import Service
from chassis.storage.mongo import Driver, Mongo
from chassis.timers.model import TIMERS
from chassis_testing.service import ServiceHarness

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

SERVICE = Service(name="goals", router=APIRouter())


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value(name)


async def put(harness: ServiceHarness, name: str, *rows: dict[str, Any]) -> None:
    await harness.runtime.database[name].insert_many(list(rows))


async def test_what_waits_is_measured_without_a_leader(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE)
    meter = BacklogMeter(harness.runtime, 100)
    begun = harness.runtime.clock.micros()
    await put(harness, OUTBOX.name, {"topic": "goals", "key": "a", "_stamp": begun - 7_000_000, "n": 1})
    await put(harness, OUTBOX.name, {"topic": "goals", "key": "a", "_stamp": begun - 1_000_000, "n": 1})
    await put(harness, OUTBOX.name, {"topic": "goals", "key": "refused", "_stamp": begun - 60_000_000, "n": 1})
    await put(harness, OUTBOX_PARKED.name, {"_id": "goals:refused", "topic": "goals", "key": "refused"})
    await put(harness, EFFECTS.name, {"key": "a", "_stamp": begun - 9_000_000, "n": 1})
    await put(harness, EFFECTS.name, {"key": "b", "_stamp": begun - 90_000_000, "n": 1, "parked": True})
    late = instant(begun) - timedelta(seconds=11)
    await put(harness, TIMERS.name, {"parked": False, "due": late}, {"parked": True, "due": late - timedelta(hours=1)})

    await meter.measure()

    assert (gauge("outbox_rows"), gauge("effect_rows")) == (3, 2)
    assert (gauge("outbox_oldest_seconds"), gauge("effects_oldest_seconds")) == (7, 9)
    assert gauge("timers_oldest_seconds") == 11

    await harness.clear()
    await put(harness, TIMERS.name, {"parked": False, "due": instant(begun) + timedelta(hours=1)})
    await meter.measure()

    assert (gauge("outbox_oldest_seconds"), gauge("effects_oldest_seconds"), gauge("timers_oldest_seconds")) == (0,) * 3


async def test_over_the_limit_it_is_full_until_a_tenth_of_it_is_free_again(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE)
    meter, backlog = BacklogMeter(harness.runtime, 100), harness.runtime.backlog
    for name, what in ((OUTBOX.name, "events wait"), (EFFECTS.name, "vendor calls wait"), (PARKED.name, "are parked")):
        rows = harness.runtime.database[name]
        for count, full in ((100, False), (101, True), (95, True), (90, False), (100, False)):
            await rows.delete_many({})
            await rows.insert_many([{"_stamp": 1, "n": n} for n in range(count)])

            await meter.measure()

            assert (backlog.full is not None) is full, (name, count)
            assert gauge("backlog_full") == full
            assert backlog.full is None or what in backlog.full
        await rows.delete_many({})


async def test_it_is_measured_again_after_mongodb_was_away(
    harness_of: HarnessOf, doing: Any, eventually: Any, mongo_driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MEASURE_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(f"chassis.runtime.backlog.{name}", 0.05)
    harness = await harness_of(SERVICE)
    away = Mongo("mongodb://127.0.0.1:1/?directConnection=true", mongo_driver)
    meter = Counting(replace(harness.runtime, mongo=away, database=away.database("any")), 100)

    async with doing(meter):
        await eventually(lambda: meter.times > 2)

    await away.close()


class Counting(BacklogMeter):
    """Knows how often it has tried."""

    times = 0

    async def measure(self) -> None:
        self.times += 1
        await super().measure()
