"""The broker's side of `migrate`: topics are made here and nowhere else (the broker creates none by itself)."""

import asyncio
from collections.abc import Mapping
from typing import cast

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from chassis.kafka import START_SECONDS
from chassis.service import Service
from chassis.settings import ChassisSettings
from contracts import Event
from contracts.topics import DEAD_LETTERS, TOPICS, TopicSpec

SEEN_SECONDS = 10.0  # until a new topic is in every broker's metadata


def topics_of(service: Service) -> dict[str, TopicSpec]:
    """What a service publishes to and listens to. A topic it listens to is made too: its owner may start later."""
    heard = {cast("type[Event]", row.subject).TOPIC for row in service.handlers}
    wanted: dict[str, TopicSpec] = {
        topic: spec for topic, spec in TOPICS.items() if topic == service.name or topic in heard
    }
    return {**wanted, f"{service.name}.dlq": DEAD_LETTERS}


async def create_topics(service: Service, settings: ChassisSettings) -> list[str]:
    """Make the topics that are missing; returns what stands in the way, e.g. a topic with other partitions.

    Raises:
        KafkaError: the broker is away, or refuses.
    """
    wanted = {settings.scoped(name): spec for name, spec in topics_of(service).items()}
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        async with asyncio.timeout(START_SECONDS):
            await admin.start()
        missing = wanted.keys() - await _partitions(admin, wanted)
        if missing:
            new = [_new_topic(name, wanted[name], settings.kafka_replication_factor) for name in sorted(missing)]
            answer = await admin.create_topics(new)
            for name, code, *_ in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise for_code(code)(name)
        return await _differences(admin, wanted)
    finally:
        await admin.close()


async def check_topics(service: Service, settings: ChassisSettings) -> list[str]:
    """What is missing or differs, in words.

    Raises:
        KafkaError: the broker is away.
    """
    wanted = {settings.scoped(name): spec for name, spec in topics_of(service).items()}
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        async with asyncio.timeout(START_SECONDS):
            await admin.start()
        return _compare(wanted, await _partitions(admin, wanted))
    finally:
        await admin.close()


async def _differences(admin: AIOKafkaAdminClient, wanted: Mapping[str, TopicSpec]) -> list[str]:
    """Compare once every wanted topic is seen: a broker learns of a new one a moment after it was made."""
    async with asyncio.timeout(SEEN_SECONDS):
        while wanted.keys() - (partitions := await _partitions(admin, wanted)):  # noqa: ASYNC110 - a broker rings no bell
            await asyncio.sleep(0.05)
    return _compare(wanted, partitions)


def _compare(wanted: Mapping[str, TopicSpec], partitions: Mapping[str, int]) -> list[str]:
    absent = [f"topic {name} does not exist" for name in wanted.keys() - partitions]
    differing = [
        f"topic {name} has {partitions[name]} partitions instead of {spec.partitions}, which breaks the order of keys"
        for name, spec in wanted.items()
        if name in partitions and partitions[name] != spec.partitions
    ]
    return sorted(absent) + differing


async def _partitions(admin: AIOKafkaAdminClient, wanted: Mapping[str, TopicSpec]) -> dict[str, int]:
    """How many partitions each wanted topic has, as far as they exist."""
    found: dict[str, int] = {}
    for topic in await admin.describe_topics(list(wanted)):
        if not topic["error_code"]:
            found[topic["topic"]] = len(topic["partitions"])
        elif for_code(topic["error_code"]).__name__ != "UnknownTopicOrPartitionError":
            raise KafkaError(f"{topic['topic']}: {for_code(topic['error_code']).__name__}")
    return found


def _new_topic(name: str, spec: TopicSpec, replication_factor: int) -> NewTopic:
    return NewTopic(
        name,
        spec.partitions,
        replication_factor,
        topic_configs={
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",  # ours would be refused when clocks differ by an hour
            "retention.ms": str(spec.retention_ms),
        },
    )
