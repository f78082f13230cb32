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
from chassis.life import settle_memory
from chassis.mongo import Driver, Mongo
from chassis.received import Partition
from chassis.wired import Wired, wired
from escrow.service import SERVICE

EXPECTED = {"one by one": 30.0, "in batches": 0.5}
ROUNDS, EVENTS, FEW = 5, 4_000, 100  # the slow one is given fewer
ALIKE = 50  # so many are done by each, and compared


async def ours(rig: Wired, events: int) -> float:
    """Seconds from the first poll to the last commit."""
    consumer = rig.consumer()
    delivery, done = consumer._delivery, asyncio.Event()  # noqa: SLF001 - where the clock is put
    deliver, began = delivery.deliver, 0.0

    async def timed(brought: Mapping[Partition, Sequence[Any]]) -> None:
        nonlocal began
        began = began or time.perf_counter()
        await deliver(brought)
        if sum(held.next for held in delivery.held.values()) == events:
            done.set()

    delivery.deliver = timed  # type: ignore[method-assign]  # as above
    running, waiting = asyncio.create_task(consumer.run()), asyncio.create_task(done.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    seconds = time.perf_counter() - began
    consumer.stop()
    await running
    assert await rig.documents("parked") == []
    return seconds


async def by_hand(rig: Wired, events: int, handle: Callable[..., Awaitable[None]]) -> float:
    """Seconds from the first poll to the last commit."""
    consumer = AIOKafkaConsumer(
        rig.settings.scoped("goals"),
        bootstrap_servers=rig.settings.kafka_bootstrap,
        group_id=ids.new_id(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    handled, began = 0, 0.0
    while handled < events:
        brought = await consumer.getmany(timeout_ms=200, max_records=500)
        began = began or (time.perf_counter() if brought else 0.0)
        records = [record for of_one in brought.values() for record in of_one]
        await handle(rig.runtime.mongo, rig.database, records)
        await consumer.commit()
        handled += len(records)
    seconds = time.perf_counter() - began
    await consumer.stop()
    return seconds


CONTENDERS: dict[str, tuple[int, Callable[[Wired, int], Awaitable[float]]]] = {
    "ours": (EVENTS, ours),
    "one by one": (FEW, lambda rig, events: by_hand(rig, events, one_by_one)),
    "in batches": (EVENTS, lambda rig, events: by_hand(rig, events, in_batches)),
}


async def run(name: str, mongo: Mongo, kafka: str, several: Sequence[Invitation]) -> tuple[float, dict[str, Any]]:
    """Events per second of one contender, and the state it left."""
    async with wired(SERVICE, mongo, kafka, f"bench-{ids.new_id()[-8:]}") as rig:
        await prepare(rig.database, several)
        await rig.publish(*(invitation.refused() for invitation in several))
        seconds = await CONTENDERS[name][1](rig, len(several))
        return len(several) / seconds, await final_state(rig.database)


async def main(driver: Driver) -> bool:
    """Take turns, compare, print."""
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with bench_servers() as servers:
        mongo = Mongo(servers.mongo_url, driver)
        settle_memory()
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
