"""The broker's side of `migrate`: topics are made here and nowhere else (the broker creates none by itself)."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from chassis.kafka.client import open_admin
from chassis.runtime.settings import ChassisSettings
from chassis.service import Service
from contracts import Event
from contracts.topics import DEAD_LETTERS, TOPICS, TopicSpec

SEEN_SECONDS = 10.0  # until a new topic is in every broker's metadata
IN_SYNC = 2  # replicas that have an event before it counts as published, where there are so many

_log = structlog.get_logger(__name__)


def topics_of(service: Service) -> dict[str, TopicSpec]:
    """What a service publishes to and listens to. A topic it listens to is made too: its owner may start later."""
    subscribed = {cast("type[Event]", row.subject).TOPIC for row in service.handlers}
    wanted: dict[str, TopicSpec] = {
        topic: spec for topic, spec in TOPICS.items() if topic == service.name or topic in subscribed
    }
    return {**wanted, f"{service.name}.dlq": DEAD_LETTERS}


async def create_topics(service: Service, settings: ChassisSettings) -> list[str]:
    """Make the topics that are missing; returns what stands in the way, e.g. a topic with other partitions.

    Raises:
        KafkaError: the broker is away, or refuses.
    """
    wanted = {settings.scoped(name): spec for name, spec in topics_of(service).items()}
    async with open_admin(settings) as admin:
        missing = wanted.keys() - await _find(admin, wanted)
        if missing:
            new = [_new_topic(name, wanted[name], settings.kafka_replication_factor) for name in sorted(missing)]
            answer = await admin.create_topics(new)
            for name, code, *_ in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise for_code(code)(name)
        return await _differences(admin, wanted)


async def check_topics(service: Service, settings: ChassisSettings) -> list[str]:
    """What is missing or differs, in words.

    Raises:
        KafkaError: the broker is away.
    """
    return _compare(*await _look(service, settings))


async def plan_topics(service: Service, settings: ChassisSettings) -> tuple[list[str], list[str]]:
    """The topics that `create_topics` would make, and what it would complain of.

    Raises:
        KafkaError: the broker is away.
    """
    wanted, found = await _look(service, settings)
    there = {name: spec for name, spec in wanted.items() if name in found}
    return sorted(wanted.keys() - found), _compare(there, found)


@dataclass(frozen=True, slots=True)
class _Found:
    """A topic as the broker has it."""

    partitions: int
    replicas: int
    """Of the partition that has the fewest."""
    settings: Mapping[str, str]
    """Those that events depend on, as far as the broker tells them."""


async def _look(service: Service, settings: ChassisSettings) -> tuple[Mapping[str, TopicSpec], Mapping[str, _Found]]:
    """What is wanted, and what is there of it."""
    wanted = {settings.scoped(name): spec for name, spec in topics_of(service).items()}
    async with open_admin(settings) as admin:
        return wanted, await _find(admin, wanted)


async def _differences(admin: AIOKafkaAdminClient, wanted: Mapping[str, TopicSpec]) -> list[str]:
    """Compare once every wanted topic is seen: a broker learns of a new one a moment after it was made."""
    async with asyncio.timeout(SEEN_SECONDS):
        while wanted.keys() - (found := await _find(admin, wanted)):  # noqa: ASYNC110 - a broker wakes nobody
            await asyncio.sleep(0.05)
    return _compare(wanted, found)


def _compare(wanted: Mapping[str, TopicSpec], found: Mapping[str, _Found]) -> list[str]:
    problems = [f"topic {name} does not exist" for name in sorted(wanted.keys() - found)]
    for name, spec in wanted.items():
        if topic := found.get(name):
            if topic.partitions != spec.partitions:
                instead = f"{topic.partitions} partitions instead of {spec.partitions}"
                problems.append(f"topic {name} has {instead}, which breaks the order of keys")
            problems += _differing_settings(name, spec, topic)
    return problems


def _differing_settings(name: str, spec: TopicSpec, topic: _Found) -> Iterator[str]:
    """One line for each setting that loses or spoils events: what it is, what it should be, and how to mend it."""
    for setting, should in _settings_of(spec, topic.replicas).items():
        there = topic.settings.get(setting)
        if there is not None and not _will_do(setting, there, should):
            mend = f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {setting}={should}"
            yield f"topic {name} has {setting}={there} instead of {should}, {_WHY[setting]}; to mend it: {mend}"


def _will_do(setting: str, there: str, should: str) -> bool:
    """Whether a setting is as it should be, or safer."""
    if setting == "min.insync.replicas":
        return int(there) >= int(should)
    if setting == "retention.ms":
        return int(there) == -1 or -1 < int(should) <= int(there)
    return there == should


async def _find(admin: AIOKafkaAdminClient, wanted: Mapping[str, TopicSpec]) -> dict[str, _Found]:
    """Those of the wanted topics that exist.

    Raises:
        KafkaError: the broker does not tell.
    """
    topics: dict[str, Sequence[Any]] = {}
    for topic in await admin.describe_topics(list(wanted)):
        if not topic["error_code"]:
            topics[topic["topic"]] = topic["partitions"]
        elif for_code(topic["error_code"]) is not UnknownTopicOrPartitionError:
            raise KafkaError(f"{topic['topic']}: {for_code(topic['error_code']).__name__}")
    settings = await _read_settings(admin, topics)
    return {
        name: _Found(len(partitions), min(len(one["replicas"]) for one in partitions), settings.get(name, {}))
        for name, partitions in topics.items()
    }


async def _read_settings(admin: AIOKafkaAdminClient, topics: Collection[str]) -> dict[str, dict[str, str]]:
    """The settings of topics, as far as we may read them."""
    if not topics:
        return {}
    names = dict.fromkeys(_WHY, "")  # a filter of the answer
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic, names) for topic in topics]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for code, message, _, topic, entries in answer.resources:
            if code:
                _log.warning("topic's settings not compared", topic=topic, error=message or for_code(code).__name__)
            else:
                found[topic] = {name: value for name, value, *_ in entries}
    return found


_WHY: Mapping[str, str] = {
    "cleanup.policy": "which removes events that nobody has read",
    "message.timestamp.type": "by which an event with a wrong clock would be refused, or removed too early",
    "min.insync.replicas": "by which an acknowledged event may be lost with one disk",
    "retention.ms": "after which events are removed",
}
"""What a setting that is not as it should be does."""


def _settings_of(spec: TopicSpec, replicas: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",  # ours would be refused when clocks differ by an hour
        "min.insync.replicas": str(min(IN_SYNC, replicas)),
        "retention.ms": str(spec.retention_ms),
    }


def _new_topic(name: str, spec: TopicSpec, replication_factor: int) -> NewTopic:
    return NewTopic(name, spec.partitions, replication_factor, topic_configs=_settings_of(spec, replication_factor))
