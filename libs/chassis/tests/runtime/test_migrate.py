"""Migrate: makes what is missing, drops nothing, runs each numbered migration once, and tells what it cannot mend."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fastapi import APIRouter

from chassis import ids
from chassis.clock import SystemClock
from chassis.context import Outside, Runtime
from chassis.effects.vendor_client import VendorClient
from chassis.kafka.topics import check_topics, create_topics, plan_topics
from chassis.runtime.leader_election import LEASES
from chassis.runtime.migrate import (
    NotMigrated,
    check_collections,
    create_collections,
    plan,
    run_migrations,
    take,
)
from chassis.runtime.migrate_lock import only_one
from chassis.runtime.settings import ChassisSettings
from chassis.service import Migration, Service, on
from chassis.storage.collection import Collection, Index
from chassis.storage.mongo import Database, Mongo
from chassis.storage.tx import Tx
from chassis_testing.service import DEMO
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
    await run_migrations(mongo.database(name), notes(), SystemClock())  # the chassis' own
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


async def test_the_plan_says_what_is_done_then_and_changes_nothing(database: Database) -> None:
    async def run(_database: Database) -> None:
        return

    service = replace(notes(BY_TEXT, OLD), migrations=(Migration(3, "tidy up", run),))
    await create_collections(database, replace(service, collections=()))
    await create_collections(database, notes(replace(OLD, expire_after_seconds=5)))
    before = await contents(database)

    steps = await plan(database, service, SystemClock())
    assert [step.does for step in steps] == [
        "make index text_1 of notes",
        "let index at_1 of notes expire after 60 s",
        "run migration 3 (tidy up)",
    ]
    assert await contents(database) == before

    await take(steps)
    assert await plan(database, service, SystemClock()) == []


async def test_nothing_is_done_while_there_is_something_that_only_a_person_can_mend(database: Database) -> None:
    await create_collections(database, notes(BY_TEXT))
    other = Collection("others", Note)

    with pytest.raises(NotMigrated, match="other options"):
        await create_collections(
            database, replace(notes(Index({"text": 1})), collections=(other, *notes(Index({"text": 1})).collections))
        )

    assert "others" not in await database.list_collection_names()


class Slow:
    """A service whose migration waits to be let through, and counts how often it ran and how many at once."""

    def __init__(self) -> None:
        self.ran = 0
        self.running = 0
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.service = replace(notes(), migrations=(Migration(1, "slow", self._run),))

    async def _run(self, _database: Database) -> None:
        self.running += 1
        assert self.running == 1
        self.begun.set()
        await self.go_on.wait()
        self.ran += 1
        self.running -= 1

    async def migrate(self, runtime: Runtime, *, wait_seconds: float = 30, lease_seconds: float = 30) -> None:
        async with only_one(runtime, wait_seconds=wait_seconds, lease_seconds=lease_seconds):
            await take(await plan(runtime.database, self.service, runtime.clock))


@pytest.fixture
async def runtime(mongo: Mongo, database: Database) -> Runtime:
    clock = SystemClock()
    return Runtime("sessions", mongo, database, clock, Outside({}, VendorClient(), clock))


async def test_started_twice_at_once_it_is_done_once(runtime: Runtime) -> None:
    slow = Slow()
    both = [asyncio.create_task(slow.migrate(runtime)) for _ in range(2)]
    await slow.begun.wait()
    slow.go_on.set()

    await asyncio.gather(*both)

    assert slow.ran == 1


async def test_whoever_has_waited_for_too_long_says_for_whom(runtime: Runtime) -> None:
    slow = Slow()
    first = asyncio.create_task(slow.migrate(runtime))
    await slow.begun.wait()
    lease = await runtime.database[LEASES.name].find_one({"_id": "migrate"})

    with pytest.raises(NotMigrated, match="migrates, for more than 0 s") as refused:
        await slow.migrate(runtime, wait_seconds=0)

    assert lease is not None
    assert lease["owner"] in str(refused.value)
    slow.go_on.set()
    await first
    await slow.migrate(runtime, wait_seconds=0)
    assert slow.ran == 1


async def test_what_is_being_done_is_broken_off_before_another_one_may_begin(
    runtime: Runtime,
) -> None:
    slow = Slow()
    first = asyncio.create_task(slow.migrate(runtime, lease_seconds=0.6))
    await slow.begun.wait()
    await asyncio.wait({first}, timeout=1.5)
    assert not first.done()  # it renews its lease

    thief = {"$set": {"owner": "thief", "expires_at": datetime(2099, 1, 1, tzinfo=UTC)}}
    await runtime.database[LEASES.name].update_one({"_id": "migrate"}, thief)

    with pytest.raises(TimeoutError):
        await first
    assert slow.ran == 0


async def contents(database: Database) -> dict[str, Any]:
    names = sorted(await database.list_collection_names())
    return {name: await database[name].index_information() for name in names}


async def hear(_event: GoalEndedV1, _tx: Tx) -> None:
    return


ADD = "--add-config"
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
    missing = sorted(settings.scoped(name) for name in ("goals", "sessions", "sessions.dlq"))
    assert await plan_topics(LISTENER, settings) == (missing, [])

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

    problem, *others = await create_topics(LISTENER, settings)

    assert await plan_topics(LISTENER, settings) == ([], [problem, *others])
    assert problem.startswith(f"topic {name} has 5 partitions instead of 12")


async def test_a_topic_made_by_hand_is_refused_for_each_setting_that_would_lose_events_with_the_way_to_mend_it(
    kafka: tuple[ChassisSettings, AIOKafkaAdminClient],
) -> None:
    settings, admin = kafka
    goals, sessions = settings.scoped("goals"), settings.scoped("sessions")
    by_hand = {"cleanup.policy": "compact", "message.timestamp.type": "CreateTime", "retention.ms": "604800000"}
    longer = {"retention.ms": str(90 * 24 * 3_600 * 1_000)}
    await admin.create_topics(
        [NewTopic(goals, 12, 1, topic_configs=by_hand), NewTopic(sessions, 12, 1, topic_configs=longer)]
    )

    problems = await create_topics(LISTENER, settings)

    assert await check_topics(LISTENER, settings) == problems
    expected = [
        ("cleanup.policy=compact instead of delete", "cleanup.policy=delete"),
        ("message.timestamp.type=CreateTime instead of LogAppendTime", "message.timestamp.type=LogAppendTime"),
        ("retention.ms=604800000 instead of -1", "retention.ms=-1"),
    ]
    assert len(problems) == len(expected), problems
    for problem, (is_, mend) in zip(problems, expected, strict=True):
        assert problem.startswith(f"topic {goals} has {is_}, ")
        assert problem.endswith(
            f"kafka-configs.sh --alter --entity-type topics --entity-name {goals} --add-config {mend}"
        )


async def _config(admin: AIOKafkaAdminClient, topic: str) -> tuple[str, str]:
    [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    values = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    return values["message.timestamp.type"], values["retention.ms"]
