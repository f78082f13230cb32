"""The relay: everything committed is published, per key in order; repeated after a crash, never reordered."""

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fastapi import APIRouter
from prometheus_client import REGISTRY

from chassis import ids
from chassis.batch import Lane
from chassis.bell import KNOCKS, Bells, Knocker, Listener
from chassis.clock import ManualClock, SystemClock
from chassis.collection import Collection
from chassis.faults import FaultError, plan_faults
from chassis.outbox import OUTBOX, OutboxRow
from chassis.pending import TIMERS
from chassis.relay import OUTBOX_PARKED, POLL_SECONDS, Relay, list_parked, replay
from chassis.runtime import Runtime
from chassis.service import Service
from chassis.settings import ChassisSettings
from chassis.testing import DEMO, Solo
from chassis.topics import create_topics
from chassis.tx import Tx
from devstack.stack import Stack

SoloOf = Callable[..., Awaitable[Solo]]

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

    async def read(self, topic: str, count: int, *, seconds: float = 20) -> dict[str, list[int]]:
        """The first `count` messages or more of a topic: the numbers by key, in order of arrival."""
        found: dict[str, list[int]] = defaultdict(list)
        async with self.consumer(topic) as consumer, asyncio.timeout(seconds):
            while sum(map(len, found.values())) < count:
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


async def publish(solo: Solo, *numbers: tuple[str, int], topic: str = TOPIC, size: int = 0) -> None:
    async with solo.tx() as tx:
        for key, number in numbers:
            tx.forward(topic, key, f"{number} ".encode() + os.urandom(size // 2).hex().encode(), {"h": b"1"})


async def is_empty(solo: Solo) -> bool:
    return await solo.runtime.database[OUTBOX.name].count_documents({}) == 0


def first_seen(numbers: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


async def test_events_of_a_key_are_published_in_causal_order_even_from_machines_whose_clocks_differ(
    solo_of: SoloOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    slow_clock = ManualClock(solo.now - timedelta(hours=1))
    machines = [solo.runtime, replace(solo.runtime, clock=slow_clock)]

    async def count_on(runtime: Runtime, key: str) -> None:
        async def attempt(tx: Tx, _works: Sequence[None]) -> None:
            count = await tx.get(COUNTS, key) or Count(key)
            tx.put(COUNTS, Count(key, count.n + 1))
            tx.forward(TOPIC, key, str(count.n + 1).encode(), {})

        for _ in range(25):
            lane: Lane[None] = Lane("test", lambda: runtime.begin(runtime.now_cause("test")))
            await lane.run([None], attempt)

    keys = ["a", "b", "c"]
    async with doing(Relay(solo.runtime, broker.settings)):
        await asyncio.gather(*(count_on(runtime, key) for runtime in machines for key in keys))
        await eventually(lambda: is_empty(solo))

    assert await broker.read(TOPIC, 150) == {key: list(range(1, 51)) for key in keys}


async def test_a_death_between_publishing_and_deleting_repeats_and_loses_nothing(
    solo_of: SoloOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    await publish(solo, *(("a", n) for n in range(3)))
    plan_faults(json.dumps({"relay.after_publish": {"action": "raise"}}))
    try:
        with pytest.raises(FaultError):
            await Relay(solo.runtime, broker.settings).run()
    finally:
        plan_faults(None)
    await publish(solo, ("a", 3))

    async with doing(Relay(solo.runtime, broker.settings)):
        await eventually(lambda: is_empty(solo))

    assert await broker.read(TOPIC, 7) == {"a": [0, 1, 2, 0, 1, 2, 3]}


async def test_an_old_relay_beside_the_new_one_repeats_but_never_reorders(
    solo_of: SoloOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())

    async with doing(*(Relay(solo.runtime, broker.settings) for _ in range(3))):
        for n in range(40):
            await publish(solo, ("a", n), ("b", n))
        await eventually(lambda: is_empty(solo))

    found = await broker.read(TOPIC, 80)
    assert {key: first_seen(numbers) for key, numbers in found.items()} == {"a": [*range(40)], "b": [*range(40)]}


async def test_a_row_that_the_broker_refuses_parks_its_key_alone_until_it_is_mended(
    solo_of: SoloOf, broker: Broker, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    await publish(solo, ("bad", 0), ("good", 0), topic=SMALL)
    await publish(solo, ("bad", 1), topic=SMALL, size=5_000)
    await publish(solo, ("good", 1), ("bad", 2), ("good", 2), topic=SMALL)
    await publish(solo, ("bad", 7))  # another topic's key of the same name

    async with doing(Relay(solo.runtime, broker.settings)):
        assert await broker.read(SMALL, 4) == {"bad": [0], "good": [0, 1, 2]}
        assert await broker.read(TOPIC, 1) == {"bad": [7]}
        await eventually(lambda: solo.runtime.database[OUTBOX_PARKED.name].count_documents({}))
        [parked] = await list_parked(solo.runtime.database)
        assert (parked["topic"], parked["key"]) == (SMALL, "bad")
        assert "MessageSizeTooLarge" in parked["reason"]

        await _set_limit(broker, 1_000_000)
        assert await replay(solo.runtime.database, "bad") == 1
        await eventually(lambda: is_empty(solo))

    assert await broker.read(SMALL, 6) == {"bad": [0, 1, 2], "good": [0, 1, 2]}


async def test_a_topic_that_is_missing_stops_its_own_rows_alone_and_is_named(
    solo_of: SoloOf, broker: Broker, doing: Any, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    name = broker.settings.scoped("goals.dlq")
    async with doing(Relay(solo.runtime, broker.settings)):
        await publish(solo, ("a", 0), topic="goals.dlq")
        await eventually(lambda: is_empty(solo))  # so that the relay has known the topic
        async with broker.admin() as admin:
            await admin.delete_topics([name])
        await publish(solo, ("a", 1), topic="goals.dlq")
        for number in range(5):
            await publish(solo, ("b", number))
            assert (await broker.read(TOPIC, number + 1, seconds=15))["b"] == [*range(number + 1)]
        await eventually(lambda: REGISTRY.get_sample_value("outbox_topics_away", {"topic": "goals.dlq"}) == 1)
        began = time.monotonic()
        await publish(solo, ("b", 5))
        await broker.read(TOPIC, 6)
        assert time.monotonic() - began < 3
        async with broker.admin() as admin:
            await admin.create_topics([NewTopic(name, 12, 1)])
        await eventually(lambda: is_empty(solo), seconds=30)
        await eventually(lambda: REGISTRY.get_sample_value("outbox_topics_away", {"topic": "goals.dlq"}) == 0)

    assert "topic away, its events wait" in capsys.readouterr().out
    assert await broker.read("goals.dlq", 1) == {"a": [1]}


async def test_a_backlog_is_published_in_runs(solo_of: SoloOf, broker: Broker, doing: Any, eventually: Any) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    keys = [f"key-{n}" for n in range(100)]
    for part in range(4):
        await publish(solo, *((key, part * 10 + n) for n in range(10) for key in keys))

    async with doing(Relay(solo.runtime, broker.settings)):
        await eventually(lambda: is_empty(solo), seconds=20)

    assert await broker.read(TOPIC, 4_000) == {key: list(range(40)) for key in keys}


async def test_a_lonely_event_does_not_wait_for_the_next_poll(solo_of: SoloOf, broker: Broker, doing: Any) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    waits = []

    async with doing(Relay(solo.runtime, broker.settings)), broker.consumer(TOPIC) as consumer:
        for n in range(20):
            await publish(solo, ("a", n))
            start = asyncio.get_running_loop().time()
            await consumer.getone()
            waits.append(asyncio.get_running_loop().time() - start)

    assert sorted(waits)[10] < POLL_SECONDS / 2


async def test_the_doorbell_rings_for_what_other_processes_commit(solo_of: SoloOf, doing: Any, eventually: Any) -> None:
    """Each knock wakes the leader, and he does not knock at his own door."""
    solo = await solo_of(SERVICE, clock=SystemClock())
    names = [OUTBOX.name, TIMERS.name]
    leader, other = Bells(), Bells()
    knockers = [Knocker(solo.runtime.database, bells, names) for bells in (leader, other)]

    async def knocks() -> list[list[str]]:
        return [raw["names"] for raw in await solo.runtime.database[KNOCKS.name].find().to_list(None)]

    async with doing(*knockers, Listener(solo.runtime.database, leader, names)):
        await asyncio.wait_for(leader.wait(OUTBOX.name), 10)  # it listens
        for _ in range(3):
            other.ring(["anything", OUTBOX.name])
            await asyncio.wait_for(leader.wait(OUTBOX.name), 10)
        leader.ring([TIMERS.name])
        await knocks()  # time enough for a knock
        other.ring([OUTBOX.name])
        await eventually(lambda: _are(knocks, [names, *[[OUTBOX.name]] * 4]))  # to begin with, the listener's own

    leader.ring([TIMERS.name])
    assert leader.take_rung(names) == [TIMERS.name], "he leads no more, so he would knock"


async def _are(ask: Callable[[], Awaitable[Any]], expected: Any) -> bool:
    return bool(await ask() == expected)


async def _set_limit(broker: Broker, byte_count: int) -> None:
    resource = ConfigResource(
        ConfigResourceType.TOPIC, broker.settings.scoped(SMALL), {"max.message.bytes": str(byte_count)}
    )
    async with broker.admin() as admin:
        await admin.alter_configs([resource])


def _row(key: str) -> OutboxRow:
    return OutboxRow(ids.new_id(), 1, TOPIC, key, b"0", {})


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, only=("kafka",)) as stack:
        yield stack


async def test_a_broker_that_is_away_for_ten_seconds_costs_time_and_nothing_else(
    solo_of: SoloOf, own_broker: Stack, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    settings = ChassisSettings(**{**DEMO, "kafka_bootstrap": own_broker.kafka_bootstrap})
    assert await create_topics(SERVICE, settings) == []

    async with doing(Relay(solo.runtime, settings)):
        await publish(solo, ("a", 0), ("b", 0))
        await eventually(lambda: is_empty(solo))
        own_broker.pause("kafka")
        await publish(solo, ("a", 1), ("b", 1))
        await asyncio.sleep(10)
        await publish(solo, ("a", 2), ("b", 2))
        own_broker.resume("kafka")
        await eventually(lambda: is_empty(solo), seconds=30)

    found = await Broker(settings).read(TOPIC, 6)
    assert {key: first_seen(numbers) for key, numbers in found.items()} == {"a": [0, 1, 2], "b": [0, 1, 2]}


async def test_a_relay_whose_broker_is_away_stops_in_time(solo_of: SoloOf, doing: Any) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    nowhere = ChassisSettings(**{**DEMO, "kafka_bootstrap": "127.0.0.1:1"})
    await publish(solo, ("a", 0))

    async with doing(Relay(solo.runtime, nowhere)):
        await asyncio.sleep(0.5)

    assert not await is_empty(solo)
