"""The relay: everything committed is published, per key in order; repeated after a crash, never reordered."""

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import GroupLoadInProgressError, KafkaError
from fastapi import APIRouter
from prometheus_client import REGISTRY

from chassis import ids
from chassis.clock import ManualClock, SystemClock
from chassis.context import Runtime
from chassis.kafka.produce import Producer, new_producer
from chassis.kafka.topics import create_topics
from chassis.outbox.model import OUTBOX, OutboxRow
from chassis.outbox.publisher import TOPIC_SECONDS, Publisher
from chassis.outbox.relay import OUTBOX_PARKED, Relay
from chassis.runtime import parked_work, wakeup
from chassis.runtime.faults import FaultError, plan_faults
from chassis.runtime.settings import ChassisSettings
from chassis.runtime.wakeup import (
    FOLLOWED_POLL_SECONDS,
    POLL_SECONDS,
    WAKEUPS,
    WakeupPublisher,
    WakeupSignals,
    WakeupSubscriber,
)
from chassis.service import Service
from chassis.storage.batch import BatchRunner
from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from chassis.timers.model import TIMERS
from chassis_testing.service import DEMO, ServiceHarness
from devstack.stack import Stack

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

TOPIC = "goals"
SMALL = "small"  # takes no message over 2 kB


@dataclass(frozen=True)
class Count:
    """How many events of one key there are."""

    id: str
    n: int = 0


COUNTS = Collection("counts", Count)
SERVICE = Service(name="goals", router=APIRouter(), collections=(COUNTS,))


@dataclass(frozen=True)
class Broker:
    """A broker with the topics of this test."""

    settings: ChassisSettings

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def read(self, topic: str, count: int, *, seconds: float = 60) -> dict[str, list[int]]:
        """All of a topic, once it has `count` messages: the numbers by key, in order of arrival."""
        found: dict[str, list[int]] = defaultdict(list)
        async with self.consumer(topic) as consumer, asyncio.timeout(seconds):
            while sum(map(len, found.values())) < count or await is_behind(consumer):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        found[record.key.decode()].append(int(record.value.split()[0]))
        return found

    @asynccontextmanager
    async def consumer(self, topic: str) -> AsyncIterator[Any]:
        name = self.settings.scoped(topic)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(name, number) for number in range(1 if topic == SMALL else 12)])
            yield consumer
        finally:
            await consumer.stop()


async def is_behind(consumer: Any) -> bool:
    """Whether there is more on its partitions than it has read."""
    ends = await consumer.end_offsets(consumer.assignment())
    return any([await consumer.position(partition) < end for partition, end in ends.items()])


@pytest.fixture
async def broker(servers: Any, namespace: str) -> AsyncIterator[Broker]:
    settings = ChassisSettings(**{**DEMO, "kafka_bootstrap": servers.kafka_bootstrap, "namespace": namespace})
    assert await create_topics(SERVICE, settings) == []
    broker = Broker(settings)
    async with broker.admin() as admin:
        limits = {"max.message.bytes": "2000"}
        await admin.create_topics([NewTopic(settings.scoped(SMALL), 1, 1, topic_configs=limits)])
        yield broker
        await admin.delete_topics([settings.scoped(topic) for topic in (TOPIC, SMALL, "goals.dlq")])


async def publish(harness: ServiceHarness, *numbers: tuple[str, int], topic: str = TOPIC, size: int = 0) -> None:
    async with harness.tx() as tx:
        for key, number in numbers:
            tx.publish_raw(topic, key, f"{number} ".encode() + os.urandom(size // 2).hex().encode(), {"h": b"1"})


async def is_empty(harness: ServiceHarness) -> bool:
    return await harness.runtime.database[OUTBOX.name].count_documents({}) == 0


async def _has(harness: ServiceHarness, name: str, count: int) -> bool:
    return await harness.runtime.database[name].count_documents({}) == count


def first_seen(numbers: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


async def test_events_of_a_key_are_published_in_causal_order_even_from_machines_whose_clocks_differ(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    slow_clock = ManualClock(harness.now - timedelta(hours=1))
    machines = [harness.runtime, replace(harness.runtime, clock=slow_clock)]

    async def count_on(runtime: Runtime, key: str) -> None:
        async def attempt(tx: Tx, _works: Sequence[None]) -> None:
            count = await tx.get(COUNTS, key) or Count(key)
            tx.put(COUNTS, Count(key, count.n + 1))
            tx.publish_raw(TOPIC, key, str(count.n + 1).encode(), {})

        for _ in range(25):
            runner: BatchRunner[None] = BatchRunner("test", lambda: runtime.begin(runtime.now_cause("test")))
            await runner.run([None], attempt)

    keys = ["a", "b", "c"]
    async with doing(Relay(harness.runtime, broker.settings)):
        await asyncio.gather(*(count_on(runtime, key) for runtime in machines for key in keys))
        await eventually(lambda: is_empty(harness))

    assert await broker.read(TOPIC, 150) == {key: list(range(1, 51)) for key in keys}


async def test_a_death_between_publishing_and_deleting_repeats_and_loses_nothing(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    await publish(harness, *(("a", n) for n in range(3)))
    plan_faults(json.dumps({"relay.after_publish": {"action": "raise"}}))
    try:
        with pytest.raises(FaultError):
            await Relay(harness.runtime, broker.settings).run()
    finally:
        plan_faults(None)
    await publish(harness, ("a", 3))

    async with doing(Relay(harness.runtime, broker.settings)):
        await eventually(lambda: is_empty(harness))

    assert await broker.read(TOPIC, 7) == {"a": [0, 1, 2, 0, 1, 2, 3]}


async def test_what_is_published_and_not_deleted_yet_is_not_published_again_but_by_a_successor_of_a_dead_relay(
    harness_of: HarnessOf, broker: Broker, doing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    monkeypatch.setattr("chassis.outbox.relay.DELETE_SECONDS", 3_600.0)
    dying = asyncio.create_task(Relay(harness.runtime, broker.settings).run())
    for n in range(5):
        await publish(harness, ("a", n), (f"b{n}", n))
        assert (await broker.read(TOPIC, 2 * n + 2))["a"] == [*range(n + 1)]
    dying.cancel()
    assert await _has(harness, OUTBOX.name, 10)
    await publish(harness, ("a", 5))

    async with doing(Relay(harness.runtime, broker.settings)):
        assert (await broker.read(TOPIC, 21))["a"] == [*range(5), *range(6)]

    assert await is_empty(harness), "who stops in order deletes first"


async def test_an_old_relay_beside_the_new_one_repeats_but_never_reorders(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())

    async with doing(*(Relay(harness.runtime, broker.settings) for _ in range(3))):
        for n in range(40):
            await publish(harness, ("a", n), ("b", n))
        await eventually(lambda: is_empty(harness))

    found = await broker.read(TOPIC, 80)
    assert {key: first_seen(numbers) for key, numbers in found.items()} == {"a": [*range(40)], "b": [*range(40)]}


async def test_a_row_that_the_broker_refuses_parks_its_key_alone_until_it_is_mended(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    await publish(harness, ("bad", 0), ("good", 0), topic=SMALL)
    await publish(harness, ("bad", 1), topic=SMALL, size=5_000)
    await publish(harness, ("good", 1), ("bad", 2), ("good", 2), topic=SMALL)
    await publish(harness, ("bad", 7))  # another topic's key of the same name

    async with doing(Relay(harness.runtime, broker.settings)):
        assert await broker.read(SMALL, 4) == {"bad": [0], "good": [0, 1, 2]}
        assert await broker.read(TOPIC, 1) == {"bad": [7]}
        await eventually(lambda: harness.runtime.database[OUTBOX_PARKED.name].count_documents({}))
        [parked] = [one async for one in parked_work.OUTBOX.list(harness.runtime)]
        assert (parked["topic"], parked["key"]) == (SMALL, "bad")
        assert "MessageSizeTooLarge" in parked["reason"]

        await _set_limit(broker, 1_000_000)
        assert await parked_work.OUTBOX.replay(harness.runtime.database, harness.runtime.clock, "bad") == 1
        await eventually(lambda: is_empty(harness))

    assert await broker.read(SMALL, 6) == {"bad": [0, 1, 2], "good": [0, 1, 2]}


async def test_nothing_overtakes_a_row_that_a_broker_refuses_before_it_has_taken_any_other(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    """A broker takes any first number of a producer that it does not know: numbers alone keep no order then."""
    harness = await harness_of(SERVICE, clock=SystemClock())
    parked = harness.runtime.database[OUTBOX_PARKED.name]
    await publish(harness, ("bad", 0), topic=SMALL, size=16_300)  # a batch of its own
    await publish(harness, ("bad", 1), ("bad", 2), topic=SMALL)

    async with doing(Relay(harness.runtime, broker.settings)):
        await eventually(lambda: parked.count_documents({}))
        await _set_limit(broker, 1_000_000)
        await parked_work.OUTBOX.replay(harness.runtime.database, harness.runtime.clock, "bad")
        await eventually(lambda: is_empty(harness))

    assert await broker.read(SMALL, 3) == {"bad": [0, 1, 2]}


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_row_that_nobody_can_read_parks_its_key_alone_until_it_is_mended(
    harness_of: HarnessOf,
    broker: Broker,
    doing: Any,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
) -> None:
    fail_at_first(monkeypatch, failures)
    harness = await harness_of(SERVICE, clock=SystemClock())
    await publish(harness, ("bad", 0), ("lost", 0), ("good", 0), ("bad", 1), ("bad", 2), ("good", 1))
    outbox = harness.runtime.database[OUTBOX.name]
    await outbox.update_one({"n": 4}, {"$set": {"value": 1}})
    await outbox.update_one({"n": 2}, {"$unset": {"key": 1, "topic": 1}})

    async with doing(Relay(harness.runtime, broker.settings)):
        assert await broker.read(TOPIC, 3) == {"bad": [0], "good": [0, 1]}
        await eventually(lambda: _has(harness, OUTBOX_PARKED.name, 2))
        reasons = {row["key"]: row["reason"] async for row in parked_work.OUTBOX.list(harness.runtime)}
        assert reasons.keys() == {"bad", None}
        assert "of outbox cannot be read: value: Input should be a valid bytes" in reasons["bad"]

        await outbox.update_one({"n": 4}, {"$set": {"value": b"1 "}})
        await outbox.delete_one({"n": 2})
        assert await parked_work.OUTBOX.replay(harness.runtime.database, harness.runtime.clock) == 2
        await eventually(lambda: is_empty(harness))

    assert await broker.read(TOPIC, 5) == {"bad": [0, 1, 2], "good": [0, 1]}


def fail_at_first(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    """Let a broker that has just come up have no producer to give so many times."""
    left = [GroupLoadInProgressError()] * failures

    async def given(client: AIOKafkaClient) -> Producer:
        if left:
            raise left.pop()
        return await new_producer(client)

    monkeypatch.setattr("chassis.outbox.publisher.new_producer", given)


async def test_a_topic_that_is_missing_stops_its_own_rows_alone_and_is_named(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    name = broker.settings.scoped("goals.dlq")
    async with doing(Relay(harness.runtime, broker.settings)):
        await publish(harness, ("a", 0), topic="goals.dlq")
        await eventually(lambda: is_empty(harness))  # so that the relay has known the topic
        async with broker.admin() as admin:
            await admin.delete_topics([name])

            async def is_deleted() -> bool:
                return name not in await admin.list_topics()

            await eventually(is_deleted)  # the broker takes messages for a while, and deletes them with the topic
        await publish(harness, ("a", 1), topic="goals.dlq")
        for number in range(5):
            await publish(harness, ("b", number))
            assert (await broker.read(TOPIC, number + 1, seconds=15))["b"] == [*range(number + 1)]
        await eventually(lambda: REGISTRY.get_sample_value("outbox_topics_away", {"topic": "goals.dlq"}) == 1)
        began = time.monotonic()
        await publish(harness, ("b", 5))
        await broker.read(TOPIC, 6)
        assert time.monotonic() - began < 3
        async with broker.admin() as admin:
            await admin.create_topics([NewTopic(name, 12, 1)])
        await eventually(lambda: is_empty(harness), seconds=30)
        await eventually(lambda: REGISTRY.get_sample_value("outbox_topics_away", {"topic": "goals.dlq"}) == 0)

    assert "topic away, its events wait" in capsys.readouterr().out
    assert await broker.read("goals.dlq", 1) == {"a": [1]}


async def test_a_backlog_is_published_in_runs(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    keys = [f"key-{n}" for n in range(100)]
    for part in range(4):
        await publish(harness, *((key, part * 10 + n) for n in range(10) for key in keys))

    async with doing(Relay(harness.runtime, broker.settings)):
        await eventually(lambda: is_empty(harness), seconds=20)

    assert await broker.read(TOPIC, 4_000) == {key: list(range(40)) for key in keys}


async def test_a_lonely_event_does_not_wait_for_the_next_poll(
    harness_of: HarnessOf, broker: Broker, doing: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    waits = []

    async with doing(Relay(harness.runtime, broker.settings)), broker.consumer(TOPIC) as consumer:
        for n in range(20):
            await publish(harness, ("a", n))
            start = asyncio.get_running_loop().time()
            await consumer.getone()
            waits.append(asyncio.get_running_loop().time() - start)

    assert sorted(waits)[10] < POLL_SECONDS / 2


async def test_no_row_needs_the_poll_whenever_it_is_committed(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those that are committed while the relay looks, sends, rests or begins to wait; nor does the end."""
    monkeypatch.setattr(wakeup, "POLL_SECONDS", 10_000.0)
    harness = await harness_of(SERVICE, clock=SystemClock())
    chance = Random(7)

    for _ in range(5):
        async with doing(Relay(harness.runtime, broker.settings)):
            for number in range(30):
                before = _published()
                rows = chance.randint(1, 3)
                for row in range(rows):
                    await publish(harness, (f"key-{row}", number))
                    await asyncio.sleep(chance.choice((0, 0.001, 0.005, 0.02, 0.03)))
                await eventually(lambda least=before + rows: _published() >= least, seconds=60)
    assert await is_empty(harness)


async def test_what_is_published_is_deleted_without_the_poll(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeup, "POLL_SECONDS", 10_000.0)
    harness = await harness_of(SERVICE, clock=SystemClock())
    async with doing(Relay(harness.runtime, broker.settings)):
        await publish(harness, ("a", 0))
        await eventually(lambda: is_empty(harness), seconds=60)


async def test_a_broker_that_is_slow_to_tell_of_topics_is_not_taken_for_one_that_is_away(
    harness_of: HarnessOf, broker: Broker, doing: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For one whose every answer takes longer than a topic is first waited for, that is: each time, for ever."""
    send = AIOKafkaConnection.send

    async def sends_slowly(*arguments: Any, **options: Any) -> Any:
        answer = await send(*arguments, **options)
        await asyncio.sleep(TOPIC_SECONDS + 0.1)
        return answer

    harness = await harness_of(SERVICE, clock=SystemClock())
    await publish(harness, ("a", 0))
    await publish(harness, ("a", 1), topic=SMALL)
    before = _published()
    monkeypatch.setattr(AIOKafkaConnection, "send", sends_slowly)

    async with doing(Relay(harness.runtime, broker.settings)):
        await eventually(lambda: _published() == before + 2, seconds=60)
    monkeypatch.setattr(AIOKafkaConnection, "send", send)


async def test_who_has_waited_for_the_answers_is_not_told_of_them_and_so_looks_once_for_each_event(
    broker: Broker, eventually: Any
) -> None:
    told: list[float] = []
    clock = SystemClock()
    publisher = Publisher(broker.settings, clock, answered=lambda: told.append(clock.monotonic()))

    async def takes() -> bool:
        """Whether the broker does, which it need not at once when it has just begun."""
        with suppress(KafkaError, TimeoutError):
            await publisher.send([_row("a")], seconds_max=60.0)
        return bool(publisher.take().acknowledged)

    try:
        await eventually(takes, seconds=60)
        assert not told

        assert await publisher.send([_row("a")], seconds_max=0.0)
        await eventually(lambda: told)
        assert len(publisher.take().acknowledged) == 1
    finally:
        await publisher.close()


async def test_the_doorbell_rings_for_what_other_processes_commit(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    """Each wake-up reaches the leader, and the leader publishes none to itself."""
    harness = await harness_of(SERVICE, clock=SystemClock())
    names = [OUTBOX.name, TIMERS.name]
    before = [raw["names"] for raw in await harness.runtime.database[WAKEUPS.name].find().to_list(None)]
    leader, other = WakeupSignals(), WakeupSignals()
    publishers = [WakeupPublisher(harness.runtime.database, wakeups, names) for wakeups in (leader, other)]

    async def published() -> list[list[str]]:
        return [raw["names"] for raw in await harness.runtime.database[WAKEUPS.name].find().to_list(None)]

    async with doing(*publishers, WakeupSubscriber(harness.runtime.database, leader, names)):
        await asyncio.wait_for(leader.wait(OUTBOX.name), 10)  # it listens
        assert leader.poll_seconds == FOLLOWED_POLL_SECONDS
        for _ in range(3):
            other.notify(["anything", OUTBOX.name])
            await asyncio.wait_for(leader.wait(OUTBOX.name), 10)
        leader.notify([TIMERS.name])
        await published()  # time enough for a wake-up
        other.notify([OUTBOX.name])
        told = [*before, names, *[[OUTBOX.name]] * 4]  # to begin with, the listener's own
        await eventually(lambda: _are(published, told))

    assert leader.poll_seconds == POLL_SECONDS
    leader.notify([TIMERS.name])
    assert leader.take_notified(names) == [TIMERS.name], "it leads no more, so it would publish"


async def _are(ask: Callable[[], Awaitable[Any]], expected: Any) -> bool:
    return bool(await ask() == expected)


async def _is_gone(admin: AIOKafkaAdminClient, name: str) -> bool:
    [topic] = await admin.describe_topics([name])
    return bool(topic["error_code"])


async def _set_limit(broker: Broker, byte_count: int) -> None:
    resource = ConfigResource(
        ConfigResourceType.TOPIC, broker.settings.scoped(SMALL), {"max.message.bytes": str(byte_count)}
    )
    async with broker.admin() as admin:
        await admin.alter_configs([resource])


def _published() -> float:
    """How many rows were, in this process."""
    found = (REGISTRY.get_sample_value("outbox_published_total", {"topic": topic}) for topic in (TOPIC, SMALL))
    return sum(count or 0.0 for count in found)


def _row(key: str) -> OutboxRow:
    return OutboxRow(ids.new_id(), 1, TOPIC, key, b"0", {})


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, only=("kafka",)) as stack:
        yield stack


async def test_a_broker_that_is_away_for_ten_seconds_costs_time_and_nothing_else(
    harness_of: HarnessOf, own_broker: Stack, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    settings = ChassisSettings(**{**DEMO, "kafka_bootstrap": own_broker.kafka_bootstrap})
    assert await create_topics(SERVICE, settings) == []

    async with doing(Relay(harness.runtime, settings)):
        await publish(harness, ("a", 0), ("b", 0))
        await eventually(lambda: is_empty(harness))
        own_broker.pause("kafka")
        await publish(harness, ("a", 1), ("b", 1))
        await asyncio.sleep(10)
        await publish(harness, ("a", 2), ("b", 2))
        own_broker.resume("kafka")
        await eventually(lambda: is_empty(harness), seconds=30)

    found = await Broker(settings).read(TOPIC, 6)
    assert {key: first_seen(numbers) for key, numbers in found.items()} == {"a": [0, 1, 2], "b": [0, 1, 2]}


async def test_a_relay_whose_broker_is_away_stops_in_time(harness_of: HarnessOf, doing: Any) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    nowhere = ChassisSettings(**{**DEMO, "kafka_bootstrap": "127.0.0.1:1"})
    await publish(harness, ("a", 0))

    async with doing(Relay(harness.runtime, nowhere)):
        await asyncio.sleep(0.5)

    assert not await is_empty(harness)
