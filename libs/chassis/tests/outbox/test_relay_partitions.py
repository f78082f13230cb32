"""The relay beside partitions that are away: they alone wait, and nothing is published twice."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fastapi import APIRouter
from prometheus_client import REGISTRY

from chassis.clock import SystemClock
from chassis.kafka.client import open_admin
from chassis.kafka.topics import check_topics, create_topics
from chassis.outbox.model import OUTBOX, hash_of
from chassis.outbox.relay import ROWS_MAX, Relay
from chassis.runtime.settings import ChassisSettings
from chassis.service import Service
from chassis_testing.service import DEMO, ServiceHarness
from devstack.brokers import Brokers

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

PARTITIONS = {"goals": 12, "goals.dlq": 3}
LONELY, LEADERLESS = ("goals", 6), ("goals.dlq", 2)  # what broker 3 leaves with too few replicas, and with none
SERVICE = Service(name="goals", router=APIRouter())

Key = tuple[str, str]
"""Of a topic."""


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    with Brokers(tmp_path_factory.mktemp("brokers")) as brokers:
        yield brokers


async def make_topics(brokers: Brokers, settings: ChassisSettings) -> None:
    """Goals is on two brokers each, its dead letters on one each."""
    goals = {number: [1, 2] for number in range(12)} | {LONELY[1]: [1, 3]}
    dead_letters = {0: [1], 1: [2], 2: [3]}
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap)
    await admin.start()
    try:
        two = {"min.insync.replicas": "2"}
        answer = await admin.create_topics(
            [
                NewTopic(settings.scoped("goals"), -1, -1, replica_assignments=goals, topic_configs=two),
                NewTopic(settings.scoped("goals.dlq"), -1, -1, replica_assignments=dead_letters, topic_configs={}),
            ]
        )
        assert not [code for _, code, *_ in answer.topic_errors if code], answer
    finally:
        await admin.close()


def keys_of(topic: str, partition: int, count: int = 3) -> list[Key]:
    """Keys that Kafka's clients put on this partition."""
    every = (f"key-{n}" for n in range(10_000))
    found = (key for key in every if hash_of(key) % PARTITIONS[topic] == partition)
    return [(topic, next(found)) for _ in range(count)]


async def publish(harness: ServiceHarness, keys: list[Key], numbers: range) -> None:
    async with harness.tx() as tx:
        for number in numbers:
            for topic, key in keys:
                tx.publish_raw(topic, key, str(number).encode(), {})


async def left(harness: ServiceHarness) -> int:
    return int(await harness.runtime.database[OUTBOX.name].count_documents({}))


async def read_all(settings: ChassisSettings) -> dict[Key, list[int]]:
    """Everything that was published: the numbers by key, in order of arrival."""
    found: dict[Key, list[int]] = defaultdict(list)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        topics = {settings.scoped(topic): topic for topic in PARTITIONS}
        partitions = [TopicPartition(name, n) for name, topic in topics.items() for n in range(PARTITIONS[topic])]
        consumer.assign(partitions)
        missing = sum((await consumer.end_offsets(partitions)).values())
        async with asyncio.timeout(20):
            while missing > 0:
                for at, records in (await consumer.getmany(timeout_ms=100)).items():
                    missing -= len(records)
                    for record in records:
                        found[topics[at.topic], record.key.decode()].append(int(record.value))
    finally:
        await consumer.stop()
    return found


async def test_partitions_that_take_nothing_hold_up_no_other_and_nothing_is_published_twice(
    harness_of: HarnessOf, brokers: Brokers, namespace: str, doing: Any, eventually: Any, record_property: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    settings = ChassisSettings(**{**DEMO, "kafka_bootstrap": brokers.bootstrap, "namespace": namespace})
    await make_topics(brokers, settings)
    sick = keys_of(*LONELY) + keys_of(*LEADERLESS)
    every = [(topic, number) for topic, count in PARTITIONS.items() for number in range(count)]
    well = [key for at in every if at not in (LONELY, LEADERLESS) for key in keys_of(*at)]

    async def seconds_for(numbers: range) -> float:
        """How long it takes to publish what stands in the outbox of the partitions that are well."""
        await publish(harness, well, numbers)
        began = time.monotonic()
        in_question = {"$nor": [{"topic": topic, "key": key} for topic, key in sick]}
        await eventually(lambda: _none(harness, in_question), seconds=30)
        return time.monotonic() - began

    async with doing(Relay(harness.runtime, settings)):
        await publish(harness, sick + well, range(10))
        await eventually(lambda: _none(harness, {}), seconds=20)
        usual = await seconds_for(range(10, 60))

        streaming = asyncio.create_task(stream(harness, sick, range(10, 60)))
        brokers.kill(3)
        await streaming
        await publish(harness, sick, range(60, 260))
        assert await left(harness) > 2 * ROWS_MAX
        await eventually(lambda: away() == 2, seconds=15)
        meanwhile = await seconds_for(range(60, 110))
        waiting = await left(harness)

        await asyncio.to_thread(brokers.start, 3)
        await eventually(lambda: _none(harness, {}), seconds=30)
        await eventually(lambda: away() == 0)

    found = await read_all(settings)
    expected = {key: [*range(260)] for key in sick} | {key: [*range(110)] for key in well}
    differing = {key: found[key] for key in expected if found[key] != expected[key]}
    assert not differing, "something is missing, or published twice"
    assert meanwhile < 2 * usual + 1
    record_property(
        "figures",
        f"partitions away: {len(well) * 50} events beside {waiting} that wait, {meanwhile:.2f} s; before {usual:.2f} s",
    )


async def stream(harness: ServiceHarness, keys: list[Key], numbers: range) -> None:
    """Publish one by one, so that something is under way at any moment."""
    for number in numbers:
        await publish(harness, keys, range(number, number + 1))


def away() -> float:
    """How many partitions."""
    return sum(REGISTRY.get_sample_value("outbox_partitions_away", {"topic": topic}) or 0 for topic in PARTITIONS)


async def _none(harness: ServiceHarness, where: Mapping[str, Any]) -> bool:
    return await harness.runtime.database[OUTBOX.name].count_documents(where) == 0


async def test_what_is_on_three_brokers_counts_as_published_once_two_have_it(
    brokers: Brokers, namespace: str, eventually: Any
) -> None:
    env = {"kafka_bootstrap": brokers.bootstrap, "namespace": namespace, "kafka_replication_factor": 3}
    settings = ChassisSettings(**{**DEMO, **env})
    assert await create_topics(SERVICE, settings) == []
    async with open_admin(settings) as admin:
        unsafe = {"min.insync.replicas": "1", "retention.ms": "-1", "message.timestamp.type": "LogAppendTime"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.scoped("goals"), unsafe)])

    async def is_told() -> bool:
        problems = await check_topics(SERVICE, settings)
        return any("min.insync.replicas=1 instead of 2" in problem for problem in problems)

    await eventually(is_told)  # each broker hears of it in its own time
