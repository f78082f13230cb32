"""What was heard before comes again: every event five times, then every topic from its beginning, with nothing in the
inboxes. Nobody's state changes, nothing new is said, and no client is told anything twice.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pymongo import AsyncMongoClient

from chassis.service import Service
from contracts import Event
from contracts.topics import TOPICS
from demo.scene import Scene
from demo.stories.exclusives import performed
from demo.stories.invitations import refused
from demo.waiting import until
from demo.world import World
from devstack.stack import Stack
from escrow.service import SERVICE as ESCROW
from goals.service import SERVICE as GOALS
from notifier.service import SERVICE as NOTIFIER
from rtc_control.service import SERVICE as RTC_CONTROL
from sessions.service import SERVICE as SESSIONS
from shop.service import SERVICE as SHOP

Mongo = AsyncMongoClient[dict[str, Any]]
OnAir = Callable[..., Awaitable[Scene]]
State = Mapping[str, Mapping[str, Any]]

SERVICES: Final = (GOALS, SESSIONS, ESCROW, NOTIFIER, SHOP, RTC_CONTROL)
TOPIC_NAMES: Final = tuple(topic for topic in TOPICS if topic in {service.name for service in SERVICES})
REST_SECONDS: Final = 120.0  # to read everything again, on a busy machine
TIMES: Final = 5
AT_REST: Final = (
    "fold-due",
    "count-due",
    "proof-due",
    "heads-due",
    "minutes-over",
    "tickets-over",
    "passes-over",
    "payment-check-due",
    "reconcile-due",
)
"""Timers that ring every few seconds, whatever happens, or when time has passed though nothing has happened."""


def heard_by(service: Service) -> frozenset[str]:
    return frozenset(cast("type[Event]", row.subject).TOPIC for row in service.handlers)


@pytest.fixture
async def kafka(stack: Stack) -> AsyncIterator[Any]:
    """Reads without a group, so that nobody notices."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    yield consumer
    await consumer.stop()


class System:
    """All services together, behind their backs."""

    def __init__(self, mongo: Mongo, kafka: Any) -> None:
        self._mongo = mongo
        self._kafka = kafka
        self._partitions = [TopicPartition(topic, n) for topic in TOPIC_NAMES for n in range(TOPICS[topic].partitions)]

    async def state(self) -> State:
        """Every document of every service's own collections, and its timers, by place.

        Without what goes on while nothing happens (`AT_REST`), without stamps, and without `revision`, which only says
        that something was written.
        """
        found: dict[str, Mapping[str, Any]] = {}
        for service in SERVICES:
            names = [collection.name for collection in service.collections]
            for name in (*names, "timers"):
                async for document in self._mongo[service.package][name].find({"name": {"$nin": AT_REST}}):
                    for field in ("_stamp", "revision", *(("due",) if name == "head_counts" else ())):
                        document.pop(field, None)
                    found[f"{service.name}.{name} {document['_id']}"] = document
        return found

    async def comes_to_rest(self) -> None:
        """Wait until everything was published, heard and pushed."""
        before: Mapping[TopicPartition, int] = {}

        async def look() -> list[str]:
            nonlocal before
            todo = [line async for line in self._pending()]
            ends: Mapping[TopicPartition, int] = await self._kafka.end_offsets(self._partitions)
            todo += [line async for line in self._unheard(ends)]
            if ends != before:
                todo.append("something was published just now")
            before = ends
            return todo

        await until("all services to come to rest", look, lambda todo: not todo, REST_SECONDS)

    async def records(self) -> Sequence[Any]:
        """Everything on the topics, partition by partition in order."""
        self._kafka.assign(self._partitions)
        await self._kafka.seek_to_beginning(*self._partitions)
        ends = await self._kafka.end_offsets(self._partitions)
        records: list[Any] = []
        while any([await self._kafka.position(partition) < end for partition, end in ends.items()]):
            for some in (await self._kafka.getmany(timeout_ms=200)).values():
                records += some
        return records

    async def forget_what_was_heard(self) -> None:
        """Every partition is read from its beginning again, and no inbox knows any event."""
        for service in SERVICES:
            await self._mongo[service.package]["positions"].delete_many({})
            await self._mongo[service.package]["inbox"].delete_many({})

    async def _pending(self) -> AsyncIterator[str]:
        waiting = {"outbox": "events to publish", "effects": "vendor calls to make"}
        for service in SERVICES:
            for name, what in waiting.items():
                if number := await self._mongo[service.package][name].count_documents({}):
                    yield f"{service.name} has {number} {what}"
        if number := await self._mongo["escrow"]["movements"].count_documents({}):
            yield f"escrow has {number} movements to fold"

    async def _unheard(self, ends: Mapping[TopicPartition, int]) -> AsyncIterator[str]:
        for service in SERVICES:
            positions = {row["_id"]: row["offset"] async for row in self._mongo[service.package]["positions"].find()}
            for partition, end in ends.items():
                at = positions.get(f"{partition.topic}:{partition.partition}", 0)
                if partition.topic in heard_by(service) and at < end:
                    yield f"{service.name} is at {at} of {end} in {partition.topic}:{partition.partition}"


@pytest.fixture
def system(mongo: Mongo, kafka: Any) -> System:
    return System(mongo, kafka)


@pytest.fixture(scope="module")
async def scenes(world: World, on_air: OnAir) -> Sequence[Scene]:
    """A release and a refund, whatever else has happened before on this stack."""
    scenes = [await on_air("Mona", "Xaver"), await on_air("Nora", "Yann")]
    await asyncio.gather(performed(scenes[0]), refused(scenes[1]))
    await world.tap.catch_up()
    return scenes


def changes(before: State, after: State) -> list[str]:
    """A line for each document that is gone, new or different."""
    lines = [f"lost: {place}" for place in before.keys() - after.keys()]
    lines += [f"new: {place}" for place in after.keys() - before.keys()]
    for place in before.keys() & after.keys():
        if before[place] != after[place]:
            fields = [name for name in after[place] if before[place].get(name) != after[place][name]]
            what = {name: (before[place].get(name), after[place][name]) for name in fields}
            lines.append(f"different: {place}: {what}")
    return sorted(lines)


@asynccontextmanager
async def nothing_changes(system: System, world: World, scenes: Sequence[Scene]) -> AsyncIterator[None]:
    """Whatever is done in the block changes no state, makes no event that was not there, and pushes nothing."""

    async def said() -> frozenset[str]:
        await world.tap.catch_up()
        return frozenset(event.attributes.id for event in world.tap.carried)

    def pushed() -> list[int]:
        return [len(client.pushes) for scene in scenes for client in scene.clients.values()]

    await system.comes_to_rest()
    before, events, pushes = await system.state(), await said(), pushed()
    yield
    await system.comes_to_rest()
    assert changes(before, await system.state()) == []
    new = await said() - events
    assert [event.brief for event in world.tap.carried if event.attributes.id in new] == []
    assert pushed() == pushes
    proof = await world.proof()
    assert (proof.holds, proof.sum_diamonds, world.tap.parked) == (True, 0, [])


async def test_every_event_delivered_five_times_changes_nothing(
    system: System, stack: Stack, world: World, scenes: Sequence[Scene]
) -> None:
    async with nothing_changes(system, world, scenes):
        records = await system.records()
        assert len(records) >= len(world.tap.carried) > 0
        producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap)
        await producer.start()
        for _ in range(TIMES - 1):
            for record in records:
                await producer.send(
                    record.topic, record.value, key=record.key, partition=record.partition, headers=list(record.headers)
                )
        await producer.stop()  # once everything is acknowledged


async def test_all_topics_read_from_the_beginning_with_empty_inboxes_change_nothing(
    system: System, stack: Stack, world: World, scenes: Sequence[Scene]
) -> None:
    workers = [f"{service.name}-worker" for service in SERVICES]
    async with nothing_changes(system, world, scenes):
        for worker in workers:
            await asyncio.to_thread(stack.stop_part, worker)
        await system.forget_what_was_heard()
        for worker in workers:
            await asyncio.to_thread(stack.start_part, worker)
