"""Bench (b): dispatch of a no-op handler through our consumer, against a bare loop that validates with the same model.

    python bench/dispatch.py [motor|pymongo]

Once with the transaction left out and once with inbox and position. The contenders take turns on one topic in one run,
each reading it from the beginning. Before a ratio is printed, each must have had every event once.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer
from fastapi import APIRouter
from servers import bench_servers

from chassis import ids
from chassis.batch import run_each
from chassis.consumer import Consumer
from chassis.custody import Held
from chassis.delivery import Delivery
from chassis.life import settle_memory
from chassis.mongo import Driver, Mongo
from chassis.positions import Position
from chassis.received import NOBODY, Partition, Received
from chassis.service import Service, on
from chassis.tx import Tx
from chassis.wired import Wired, wired
from contracts import ViewerBlockedV1

EXPECTED = {"without the transaction": 0.6, "with inbox and position": 0.25}
EVENTS, ROUNDS, FIRST = 20_000, 7, 500  # the clock starts with the first batch behind us, whoever runs


class Meter:
    """Counts events and takes the time from the `FIRST` to the last."""

    def __init__(self) -> None:
        self.viewers: set[str] = set()
        self.count = 0
        self.seconds = 0.0
        self.done = asyncio.Event()
        self._began = 0.0

    def take(self, viewer: str) -> None:
        self.viewers.add(viewer)
        self.count += 1
        if self.count == FIRST:
            self._began = time.perf_counter()
        if self.count == EVENTS:
            self.seconds = time.perf_counter() - self._began
            self.done.set()


async def bare(rig: Wired, meter: Meter) -> None:
    """The anchor: poll, validate, count."""
    consumer = AIOKafkaConsumer(
        rig.settings.scoped("sessions"),
        bootstrap_servers=rig.settings.kafka_bootstrap,
        group_id=ids.new_id(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        while not meter.done.is_set():
            for records in (await consumer.getmany(timeout_ms=200, max_records=500)).values():
                for record in records:
                    meter.take(ViewerBlockedV1.model_validate_json(record.value).viewer_id)
    finally:
        await consumer.stop()


class WithoutTransaction(Delivery):
    """Reads and handles like ours, and stores nothing."""

    async def claim(self, partitions: Sequence[Partition]) -> list[Held]:
        return [Held(partition, Position(partition.id), 0, 0) for partition in partitions]

    async def _run(self, todo: list[Received], attempt: Any, until: float = 0.0) -> None:  # noqa: ARG002 - all is done at once
        tx = self._runtime.begin(NOBODY)
        await run_each(tx, [received.work for received in todo if received.work])
        for received in todo:
            self.held[received.partition.id].next = received.offset + 1

    async def tidy(self) -> None:
        return

    async def release(self, held: Any) -> None:  # noqa: ARG002 - nothing was claimed
        return


def ours(rig: Wired, meter: Meter, delivery: type[Delivery]) -> Consumer:
    async def handle(event: ViewerBlockedV1, _tx: Tx) -> None:
        meter.take(event.viewer_id)

    service = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, handle),))
    consumer = Consumer(service, rig.runtime, rig.settings)
    consumer._delivery = delivery(service, rig.runtime, ids.new_id())  # noqa: SLF001 - the part under the knife
    return consumer


async def consume(rig: Wired, meter: Meter, delivery: type[Delivery]) -> None:
    for name in ("positions", "inbox"):
        await rig.database[name].delete_many({})
    consumer = ours(rig, meter, delivery)
    running, done = asyncio.create_task(consumer.run()), asyncio.create_task(meter.done.wait())
    await asyncio.wait({running, done}, return_when=asyncio.FIRST_COMPLETED)
    consumer.stop()
    await running
    assert done.done(), "it ended before the events did"
    if delivery is Delivery:
        positions = await rig.documents("positions")
        assert sum(row["offset"] for row in positions) == EVENTS
        assert sum(len(row["ids"]) for row in await rig.documents("inbox")) == EVENTS


async def main(driver: Driver) -> bool:
    async def handle(_event: ViewerBlockedV1, _tx: Tx) -> None: ...

    service = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, handle),))
    contenders: dict[str, Callable[[Wired, Meter], Awaitable[None]]] = {
        "bare getmany": bare,
        "without the transaction": lambda rig, meter: consume(rig, meter, WithoutTransaction),
        "with inbox and position": lambda rig, meter: consume(rig, meter, Delivery),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    with bench_servers() as servers:
        mongo = Mongo(servers.mongo_url, driver)
        async with wired(service, mongo, servers.kafka_bootstrap, f"bench-{ids.new_id()[-6:]}") as rig:
            events = [ViewerBlockedV1(streamer_id=ids.new_id(), viewer_id=ids.new_id()) for _ in range(EVENTS)]
            await rig.publish(*events)
            settle_memory()
            expected = {event.viewer_id for event in events}
            for _ in range(ROUNDS):
                for name, contender in contenders.items():
                    meter = Meter()
                    await contender(rig, meter)
                    assert (meter.viewers, meter.count) == (expected, EVENTS), f"{name} did not have each event once"
                    rates[name].append((EVENTS - FIRST) / meter.seconds)
        await mongo.close()
    fine = True
    for name, of_one in rates.items():
        ratio = statistics.median(rate / anchor for rate, anchor in zip(of_one, rates["bare getmany"], strict=True))
        expectation = f"(expected ≥ {EXPECTED[name]})" if name in EXPECTED else ""
        print(f"(b) {name:24} {statistics.median(of_one):8.0f}/s  ratio {ratio:.2f} {expectation} driver {driver}")
        fine &= ratio >= EXPECTED.get(name, 0)
    return fine


if __name__ == "__main__":
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    chosen: Any = sys.argv[1] if len(sys.argv) > 1 else "motor"
    raise SystemExit(0 if uvloop.run(main(chosen)) else 1)
