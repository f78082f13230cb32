"""Migrate: makes what is missing, drops nothing, runs each numbered migration once, and tells what it cannot mend."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fastapi import APIRouter

from chassis import ids
from chassis.clock import SystemClock
from chassis.collection import Collection, Index
from chassis.migrate import NotMigrated, check_collections, create_collections, run_migrations
from chassis.mongo import Database, Mongo
from chassis.service import Migration, Service, on
from chassis.settings import ChassisSettings
from chassis.testing import DEMO
from chassis.topics import check_topics, create_topics
from chassis.tx import Tx
from contracts import GoalEndedV1


@dataclass(frozen=True)
class Note:
    id: str
    text: str = ""


def notes(*indexes: Index) -> Service:
    return Service(name="sessions", router=APIRouter(), collections=(Collection("notes", Note, indexes=indexes),))


BY_TEXT = Index({"text": 1}, unique=True, where={"text": "a"})
OLD = Index({"at": 1}, expire_after_seconds=60)


@pytest.fixture
async def database(mongo: Mongo) -> AsyncIterator[Database]:
    name = f"t-migrate-{ids.new_id()}"
    yield mongo.database(name)
    await mongo.client.drop_database(name)


async def test_what_is_missing_is_told_then_made_and_making_it_again_changes_nothing(database: Database) -> None:
    service = notes(BY_TEXT, OLD)
    assert "collection notes does not exist" in await check_collections(database, service)

    await create_collections(database, service)
    await create_collections(database, service)

    assert await check_collections(database, service) == []
    found = await database["notes"].index_information()
    assert found["text_1"]["unique"] is True
    assert found["text_1"]["partialFilterExpression"] == {"text": "a"}
    assert found["at_1"]["expireAfterSeconds"] == 60


async def test_a_new_index_is_made_a_new_expiry_set_and_an_unknown_index_left_alone(database: Database) -> None:
    await create_collections(database, notes(BY_TEXT, OLD))

    service = notes(replace(OLD, expire_after_seconds=90), Index({"other": 1}))
    assert await check_collections(database, service) == ["collection notes has no index other_1"]
    await create_collections(database, service)

    found = await database["notes"].index_information()
    assert found.keys() == {"_id_", "text_1", "at_1", "other_1"}
    assert found["at_1"]["expireAfterSeconds"] == 90


async def test_an_index_with_other_options_is_refused_and_named(database: Database) -> None:
    await create_collections(database, notes(BY_TEXT))

    with pytest.raises(NotMigrated, match="index text_1 of notes has other options"):
        await create_collections(database, notes(Index({"text": 1})))

    assert await check_collections(database, notes(Index({"text": 1}))) == [
        "index text_1 of notes has other options: drop it by hand, then migrate again"
    ]


async def test_documents_that_a_unique_index_does_not_allow_are_told(database: Database) -> None:
    await database["notes"].insert_many([{"_id": "1", "text": "a"}, {"_id": "2", "text": "a"}])

    with pytest.raises(NotMigrated, match="documents of notes are equal in text, which shall be unique"):
        await create_collections(database, notes(BY_TEXT))


async def test_numbered_migrations_run_once_in_order_and_again_when_interrupted(database: Database) -> None:
    ran: list[int] = []
    broken = [True]

    def migration(number: int) -> Migration:
        async def run(_database: Database) -> None:
            ran.append(number)
            if number == 2 and broken:
                broken.pop()
                raise ValueError("interrupted")

        return Migration(number, f"step {number}", run)

    service = replace(notes(), migrations=(migration(10), migration(2), migration(1)))
    await create_collections(database, service)
    assert await check_collections(database, service) == [
        f"migration {number} (step {number}) was not made" for number in (1, 2, 10)
    ]

    with pytest.raises(ValueError, match="interrupted"):
        await run_migrations(database, service, SystemClock())
    await run_migrations(database, service, SystemClock())
    await run_migrations(database, service, SystemClock())

    assert ran == [1, 2, 2, 10]
    assert await check_collections(database, service) == []


async def hear(_event: GoalEndedV1, _tx: Tx) -> None:
    return


LISTENER = Service(name="sessions", router=APIRouter(), handlers=(on(GoalEndedV1, hear),))


@pytest.fixture
async def kafka(servers: Any, namespace: str) -> AsyncIterator[tuple[ChassisSettings, AIOKafkaAdminClient]]:
    settings = ChassisSettings(**{**DEMO, "kafka_bootstrap": servers.kafka_bootstrap, "namespace": namespace})
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka_bootstrap)
    await admin.start()
    yield settings, admin
    await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(namespace)])
    await admin.close()


async def test_a_services_topics_and_those_it_listens_to_are_made_with_broker_time_and_retention(
    kafka: tuple[ChassisSettings, AIOKafkaAdminClient],
) -> None:
    settings, admin = kafka
    assert len(await check_topics(LISTENER, settings)) == 3

    assert await create_topics(LISTENER, settings) == []
    assert await create_topics(LISTENER, settings) == []

    assert await check_topics(LISTENER, settings) == []
    names = [settings.scoped(name) for name in ("goals", "sessions", "sessions.dlq")]
    partitions = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(names)}
    assert partitions == dict(zip(names, (12, 12, 3), strict=True))
    assert await _config(admin, names[0]) == ("LogAppendTime", "-1")
    assert await _config(admin, names[1]) == ("LogAppendTime", str(30 * 24 * 3_600 * 1_000))


async def test_a_topic_with_other_partitions_is_refused_and_named(
    kafka: tuple[ChassisSettings, AIOKafkaAdminClient],
) -> None:
    settings, admin = kafka
    name = settings.scoped("goals")
    await admin.create_topics([NewTopic(name, 5, 1)])

    [problem] = await create_topics(LISTENER, settings)

    assert problem.startswith(f"topic {name} has 5 partitions instead of 12")


async def _config(admin: AIOKafkaAdminClient, topic: str) -> tuple[str, str]:
    [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    values = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    return values["message.timestamp.type"], values["retention.ms"]
