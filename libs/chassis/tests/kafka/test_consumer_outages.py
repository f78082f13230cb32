"""MongoDB or Kafka away for a while: the consumer waits, stays a member, loses nothing and doubles nothing."""

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from fastapi import APIRouter
from structlog.testing import capture_logs

from chassis.kafka.consumer import Consumer
from chassis.kafka.positions import seek
from chassis.outbox.model import OUTBOX, hash_of
from chassis.outbox.relay import Relay
from chassis.runtime import metrics
from chassis.runtime.leader_election import Leader, Lease
from chassis.service import Service, on
from chassis.storage.mongo import Driver, Mongo
from chassis_testing.kafka import KafkaHarness, kafka_harness
from chassis_testing.tallies import TALLIES, blocks, count, handled, has_handled, in_order
from contracts import ViewerBlockedV1
from devstack.stack import Stack

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]
SESSION_SECONDS = 5  # of the group: a busy machine stands still for a second or two
AWAY_SECONDS = 7.0  # longer


SERVICE = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, count),), collections=(TALLIES,))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Servers of our own, which may be stopped."""
    with tempfile.TemporaryDirectory(prefix="footlights-outage-") as data:
        stack = Stack(data=Path(data), only=("mongod", "kafka"), environ={})
        stack.start(attached=True)
        yield stack
        stack.stop()


@pytest.fixture
async def harness(stack: Stack, mongo_driver: Driver, namespace: str) -> AsyncIterator[KafkaHarness]:
    mongo = Mongo(stack.mongo_url, mongo_driver)
    async with kafka_harness(
        SERVICE, mongo, stack.kafka_bootstrap, namespace, kafka_session_timeout_seconds=SESSION_SECONDS
    ) as harness:
        yield harness
    await mongo.close()


def is_ready(consumer: Consumer) -> bool:
    return consumer.progress().trouble is None


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_while_mongodb_is_away_the_consumer_keeps_its_partitions_and_goes_on_afterwards(
    harness: KafkaHarness, stack: Stack, doing: Doing, eventually: Eventually, how: str
) -> None:
    events = blocks(streamers=20, each=30)
    consumer = harness.consumer()
    rebalances = metrics.REBALANCES._value.get()  # noqa: SLF001 - prometheus_client has no public reading
    async with doing(consumer):
        await harness.publish(*events[:200])
        await eventually(has_handled(harness, 200), seconds=90)
        await asyncio.to_thread(stack.stop_part if how == "stopped" else stack.pause, "mongod")
        await harness.publish(*events[200:400])
        await asyncio.sleep(AWAY_SECONDS)
        assert consumer.progress().joined
        await asyncio.to_thread(stack.start_part if how == "stopped" else stack.resume, "mongod")
        await eventually(has_handled(harness, 400), seconds=60)
        await harness.publish(*events[400:])
        await eventually(has_handled(harness, 600), seconds=90)

    assert await handled(harness) == in_order(events)
    assert metrics.REBALANCES._value.get() == rebalances + 1  # noqa: SLF001 - as above


async def test_while_kafka_is_frozen_workers_are_not_ready_nothing_is_lost_and_they_come_back(
    harness: KafkaHarness, stack: Stack, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=20, each=30)
    consumer, spare = harness.consumer(), harness.consumer()
    async with doing(consumer, spare):
        await harness.publish(*events[:300])
        await eventually(has_handled(harness, 150), seconds=90)
        await eventually(lambda: is_ready(consumer) and is_ready(spare), seconds=90)
        await asyncio.to_thread(stack.pause, "kafka")
        try:
            await eventually(lambda: not is_ready(consumer) and not is_ready(spare), seconds=10)
        finally:
            await asyncio.to_thread(stack.resume, "kafka")
        await eventually(lambda: is_ready(consumer) and is_ready(spare), seconds=10)
        await harness.publish(*events[300:])
        await eventually(has_handled(harness, 600), seconds=60)

    assert await handled(harness) == in_order(events)


async def test_workers_wait_for_a_kafka_that_was_killed_also_those_started_meanwhile(
    harness: KafkaHarness, stack: Stack, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=20, each=30)
    late = harness.consumer()
    async with doing(harness.consumer()):
        await harness.publish(*events[:300])
        await eventually(has_handled(harness, 150), seconds=90)
        await asyncio.to_thread(stack.kill, "kafka")
        async with doing(late):
            await eventually(lambda: late.progress().trouble == "not a member of the consumer group")
            await asyncio.to_thread(stack.wait_ready, "kafka")
            await harness.publish(*events[300:])
            await eventually(has_handled(harness, 600), seconds=90)
            await eventually(lambda: late.progress().partitions == 6, seconds=60)

    assert await handled(harness) == in_order(events)


async def test_a_damaged_batch_halts_its_partition_alone_and_what_is_in_front_of_it_takes_effect(
    harness: KafkaHarness, stack: Stack, doing: Doing, eventually: Eventually
) -> None:
    first, damaged, last = (blocks(streamers=1, each=3) for _ in range(3))
    key = first[0].streamer_id
    damaged, last = ([event.model_copy(update={"streamer_id": key}) for event in events] for events in (damaged, last))
    for events in (first, damaged, last):
        await harness.publish(*events)
    number = hash_of(key) % 12
    folder = stack.data / "kafka" / "data" / f"{harness.settings.scoped('sessions')}-{number}"
    flip_a_bit(folder / "00000000000000000000.log", damaged[0].viewer_id.encode())
    elsewhere = [one for one in blocks(streamers=20, each=1) if hash_of(one.streamer_id) % 12 != number]

    consumer = harness.consumer()
    async with doing(consumer):
        reason = f"sessions:{number} is halted: the batch at 3 is damaged"
        await eventually(lambda: consumer.progress().trouble == reason, seconds=90)
        await harness.publish(*elsewhere)
        await eventually(has_handled(harness, 3 + len(elsewhere)), seconds=90)
        assert await handled(harness) == in_order([*first, *elsewhere])

        await seek(harness.runtime, f"sessions:{number}", 6)
        await eventually(has_handled(harness, 6 + len(elsewhere)), seconds=90)
        await eventually(lambda: is_ready(consumer), seconds=90)

    assert await handled(harness) == in_order([*first, *last, *elsewhere])


def flip_a_bit(file: Path, of: bytes) -> None:
    """As a bad disk does it; the broker sends what it has."""
    with file.open("r+b") as log:
        place = log.read().index(of)
        log.seek(place)
        log.write(bytes([of[0] ^ 1]))


@pytest.mark.parametrize("part", ["kafka", "mongod"])
async def test_a_worker_ends_in_time_and_quietly_while_a_server_is_silent(
    harness: KafkaHarness, stack: Stack, eventually: Eventually, part: str
) -> None:
    consumer = harness.consumer()
    tasks = partial(tuple, [Relay(harness.runtime, harness.settings)])
    leader = Leader(Lease(harness.runtime, 3), tasks, harness.runtime.clock)
    running = [asyncio.create_task(consumer.run()), asyncio.create_task(leader.run())]
    await harness.publish(*blocks(streamers=5, each=20))
    await eventually(has_handled(harness, 100), seconds=90)
    await write_to_outbox(harness)
    await eventually(is_published(harness), seconds=90)
    shouted: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: shouted.append(str(context)))

    await harness.publish(*blocks(streamers=5, each=20))
    await write_to_outbox(harness)
    await asyncio.to_thread(stack.pause, part)
    try:
        await asyncio.sleep(2)  # in the middle of everything
        with capture_logs() as lines:
            began = loop.time()
            consumer.stop()
            leader.stop()
            await asyncio.wait(running, timeout=15)
            took = loop.time() - began
    finally:
        await asyncio.to_thread(stack.resume, part)
    await harness.publish(*blocks(streamers=1, each=1))  # Kafka is back
    ended = await asyncio.gather(*running, return_exceptions=True)
    del consumer, tasks, leader, running
    gc.collect()
    await asyncio.sleep(0.1)
    loop.set_exception_handler(None)

    assert ended == [None, None]
    assert took < 7
    assert [what for what in shouted if "aiokafka/consumer/group_coordinator" not in what] == []  # see `_left_behind`
    assert [line for line in lines if line["log_level"] == "error"] == []
    if part == "kafka":
        assert {row["owner"] for row in await harness.documents("positions")} == {None}
        assert {row["crash_count"] for row in await harness.documents("positions")} == {0}


async def write_to_outbox(harness: KafkaHarness) -> None:
    tx = harness.runtime.begin(harness.runtime.now_cause("test"))
    tx.emit(blocks(streamers=1, each=1)[0])
    await tx.commit()


def is_published(harness: KafkaHarness) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await harness.database[OUTBOX.name].count_documents({}) == 0

    return holds
