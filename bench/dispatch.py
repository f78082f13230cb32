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
from chassis.context import Runtime
from chassis.kafka.batch_writer import BatchWriter
from chassis.kafka.consumer import Consumer
from chassis.kafka.decoding import SYSTEM_CAUSE, InboundMessage, Partition
from chassis.kafka.ownership import OwnedPartition, PartitionOwnership
from chassis.kafka.positions import Position
from chassis.kafka.processor import BatchProcessor
from chassis.runtime.cli import tune_gc
from chassis.service import Service, on
from chassis.storage.batch import run_in_savepoints
from chassis.storage.mongo import Driver, Mongo
from chassis.storage.tx import Tx
from chassis_testing.kafka import KafkaHarness, kafka_harness
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


async def bare(harness: KafkaHarness, meter: Meter) -> None:
    """The anchor: poll, validate, count."""
    consumer = AIOKafkaConsumer(
        harness.settings.scoped("sessions"),
        bootstrap_servers=harness.settings.kafka_bootstrap,
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


class NothingOwned(PartitionOwnership):
    """Claims without a word to the database."""

    async def claim(self, partitions: Sequence[Partition]) -> list[OwnedPartition]:
        return [OwnedPartition(partition, Position(partition.id), 0, 0) for partition in partitions]

    async def checkpoint(self) -> None:
        return

    async def release(self, owned: Any) -> None:  # noqa: ARG002 - nothing was claimed
        return


class NothingStored(BatchWriter):
    """Handles like ours, and stores nothing."""

    async def run(self, todo: list[InboundMessage], attempt: Any, until: float = 0.0, *, arrived: bool) -> None:  # noqa: ARG002 - all is done at once
        tx = self._runtime.begin(SYSTEM_CAUSE)
        await run_in_savepoints(tx, [inbound.work for inbound in todo if inbound.work])
        for inbound in todo:
            self._ownership.owned[inbound.partition.id].next = inbound.offset + 1


class WithoutTransaction(BatchProcessor):
    """Reads and handles like ours, and stores nothing."""

    def __init__(self, service: Service, runtime: Runtime, owner: str) -> None:
        super().__init__(service, runtime, owner)
        self.ownership = NothingOwned(runtime, owner)
        self._writer = NothingStored(service, runtime, self.ownership)


def ours(harness: KafkaHarness, meter: Meter, processor: type[BatchProcessor]) -> Consumer:
    async def handle(event: ViewerBlockedV1, _tx: Tx) -> None:
        meter.take(event.viewer_id)

    service = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, handle),))
    return Consumer(service, harness.runtime, harness.settings, processor(service, harness.runtime, ids.new_id()))


async def consume(harness: KafkaHarness, meter: Meter, processor: type[BatchProcessor]) -> None:
    for name in ("positions", "inbox"):
        await harness.database[name].delete_many({})
    consumer = ours(harness, meter, processor)
    running, done = asyncio.create_task(consumer.run()), asyncio.create_task(meter.done.wait())
    await asyncio.wait({running, done}, return_when=asyncio.FIRST_COMPLETED)
    consumer.stop()
    await running
    assert done.done(), "it ended before the events did"
    if processor is BatchProcessor:
        positions = await harness.documents("positions")
        assert sum(row["offset"] for row in positions) == EVENTS
        assert sum(len(row["ids"]) for row in await harness.documents("inbox")) == EVENTS


async def main(driver: Driver) -> bool:
    async def handle(_event: ViewerBlockedV1, _tx: Tx) -> None: ...

    service = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, handle),))
    contenders: dict[str, Callable[[KafkaHarness, Meter], Awaitable[None]]] = {
        "bare getmany": bare,
        "without the transaction": lambda harness, meter: consume(harness, meter, WithoutTransaction),
        "with inbox and position": lambda harness, meter: consume(harness, meter, BatchProcessor),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    with bench_servers() as servers:
        mongo = Mongo(servers.mongo_url, driver)
        async with kafka_harness(service, mongo, servers.kafka_bootstrap, f"bench-{ids.new_id()[-6:]}") as harness:
            events = [ViewerBlockedV1(streamer_id=ids.new_id(), viewer_id=ids.new_id()) for _ in range(EVENTS)]
            await harness.publish(*events)
            tune_gc()
            expected = {event.viewer_id for event in events}
            for _ in range(ROUNDS):
                for name, contender in contenders.items():
                    meter = Meter()
                    await contender(harness, meter)
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
