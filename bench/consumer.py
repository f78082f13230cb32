"""Bench (a): our consumer running escrow's real handler on `goal.ended`, with loads, state, outbox, inbox and position.

    python bench/consumer.py [motor|pymongo]

Against a hand-written aiokafka loop with one MongoDB transaction per event, and against one with hand-written batches
of 500 that load nothing. They take turns in one run, each on a topic and a database of its own, and what they leave
must be alike before a ratio is printed.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer
from consumer_anchors import in_batches, one_by_one
from goal_ended import Invitation, final_state, invitations, prepare
from servers import bench_servers

from chassis import ids
from chassis.kafka.decoding import Partition
from chassis.runtime.cli import tune_gc
from chassis.storage.mongo import Driver, Mongo
from chassis_testing.kafka import KafkaHarness, kafka_harness
from escrow.service import SERVICE

EXPECTED = {"one by one": 30.0, "in batches": 0.5}
ROUNDS, EVENTS, FEW = 5, 4_000, 100  # the slow one is given fewer
ALIKE = 50  # so many are done by each, and compared


async def ours(harness: KafkaHarness, events: int) -> float:
    """Seconds from the first poll to the last commit."""
    consumer = harness.consumer()
    processor, done = consumer._processor, asyncio.Event()  # noqa: SLF001 - where the clock is put
    deliver, began = processor.process, 0.0

    async def timed(polled: Mapping[Partition, Sequence[Any]]) -> None:
        nonlocal began
        began = began or time.perf_counter()
        await deliver(polled)
        if sum(owned.next for owned in processor.ownership.owned.values()) == events:
            done.set()

    processor.process = timed  # type: ignore[method-assign]  # as above
    running, waiting = asyncio.create_task(consumer.run()), asyncio.create_task(done.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    seconds = time.perf_counter() - began
    consumer.stop()
    await running
    assert await harness.documents("parked") == []
    return seconds


async def by_hand(harness: KafkaHarness, events: int, handle: Callable[..., Awaitable[None]]) -> float:
    """Seconds from the first poll to the last commit."""
    consumer = AIOKafkaConsumer(
        harness.settings.scoped("goals"),
        bootstrap_servers=harness.settings.kafka_bootstrap,
        group_id=ids.new_id(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    handled, began = 0, 0.0
    while handled < events:
        polled = await consumer.getmany(timeout_ms=200, max_records=500)
        began = began or (time.perf_counter() if polled else 0.0)
        records = [record for of_one in polled.values() for record in of_one]
        await handle(harness.runtime.mongo, harness.database, records)
        await consumer.commit()
        handled += len(records)
    seconds = time.perf_counter() - began
    await consumer.stop()
    return seconds


CONTENDERS: dict[str, tuple[int, Callable[[KafkaHarness, int], Awaitable[float]]]] = {
    "ours": (EVENTS, ours),
    "one by one": (FEW, lambda harness, events: by_hand(harness, events, one_by_one)),
    "in batches": (EVENTS, lambda harness, events: by_hand(harness, events, in_batches)),
}


async def run(name: str, mongo: Mongo, kafka: str, several: Sequence[Invitation]) -> tuple[float, dict[str, Any]]:
    """Events per second of one contender, and the state it left."""
    async with kafka_harness(SERVICE, mongo, kafka, f"bench-{ids.new_id()[-8:]}") as harness:
        await prepare(harness.database, several)
        await harness.publish(*(invitation.refused() for invitation in several))
        seconds = await CONTENDERS[name][1](harness, len(several))
        return len(several) / seconds, await final_state(harness.database)


async def main(driver: Driver) -> bool:
    """Take turns, compare, print."""
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with bench_servers() as servers:
        mongo = Mongo(servers.mongo_url, driver)
        tune_gc()
        alike = invitations(ALIKE)
        states = [(await run(name, mongo, servers.kafka_bootstrap, alike))[1] for name in CONTENDERS]
        if any(state != states[0] for state in states):
            print("(a) the final states differ, so there is no ratio")
            return False
        for _ in range(ROUNDS):
            for name, (events, _) in CONTENDERS.items():
                rate, _ = await run(name, mongo, servers.kafka_bootstrap, invitations(events))
                rates[name].append(rate)
        await mongo.close()
    fine = True
    for name, of_one in rates.items():
        ratio = statistics.median(ours / anchor for ours, anchor in zip(rates["ours"], of_one, strict=True))
        expected = EXPECTED.get(name, 0)
        expectation = f"ours is {ratio:.2f} of it (expected ≥ {expected})" if expected else f"driver {driver}"
        print(f"(a) {name:11} {statistics.median(of_one):7.0f}/s  {expectation}")
        fine &= ratio >= expected
    return fine


if __name__ == "__main__":
    chosen: Any = sys.argv[1] if len(sys.argv) > 1 else "motor"
    raise SystemExit(0 if uvloop.run(main(chosen)) else 1)
