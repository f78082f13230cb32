"""The consumer on a real Kafka and MongoDB: once each, in order, whatever happens to the process."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from fastapi import APIRouter

from chassis import ids
from chassis.clock import SystemClock
from chassis.collection import Collection
from chassis.consumer import Consumer
from chassis.errors import Conflict
from chassis.migrate import create_collections
from chassis.mongo import Database, Mongo, Raw
from chassis.runtime import Outside, Runtime
from chassis.service import Service, on
from chassis.settings import ChassisSettings
from chassis.topics import create_topics
from chassis.tx import Tx
from contracts import Event, Meta, ViewerBlockedV1, ViewerUnblockedV1, to_message

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Tally:
    """What was heard of one streamer, in order."""

    id: str
    heard: tuple[str, ...] = ()


TALLIES = Collection("tallies", Tally)


class Uncountable(Conflict, slug="uncountable"):
    """This viewer cannot be counted."""


@dataclass
class Handlers:
    """Count viewers per streamer; refuse some."""

    refused: set[str] = field(default_factory=set)
    slow_seconds: float = 0.0

    async def count(self, event: ViewerBlockedV1, tx: Tx) -> None:
        tally = await tx.get(TALLIES, event.streamer_id) or Tally(event.streamer_id)
        tx.put(TALLIES, replace(tally, heard=(*tally.heard, event.viewer_id)))
        if self.slow_seconds:
            await asyncio.sleep(self.slow_seconds)
        if event.viewer_id in self.refused or "*" in self.refused:
            raise Uncountable


@dataclass
class Rig:
    """One service under test: its servers, its topics, and what it has counted."""

    service: Service
    runtime: Runtime
    settings: ChassisSettings
    handlers: Handlers
    producer: AIOKafkaProducer

    @property
    def database(self) -> Database:
        return self.runtime.database

    def consumer(self) -> Consumer:
        return Consumer(self.service, self.runtime, self.settings)

    async def publish(self, *events: Event, ids_: Sequence[str] = (), times: int = 1) -> None:
        sent = []
        for event, id_ in zip(events, ids_ or [ids.new_id() for _ in events], strict=True):
            meta = Meta(
                id=id_, type=event.TYPE, source="/tests", subject=event.subject, time=datetime.now(UTC),
                partition_key=event.key, correlation_id="c",
            )  # fmt: skip
            message = to_message(event, meta)
            for _ in range(times):
                sent.append(await self.send(message.value, message.key, message.headers))
        await asyncio.gather(*sent)

    async def send(
        self, value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], topic: str = "sessions"
    ) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = await self.producer.send(
            self.settings.scoped(topic), value, key=key, headers=headers
        )
        return future

    async def heard(self) -> dict[str, list[str]]:
        rows: list[Raw] = await self.database[TALLIES.name].find().to_list(None)
        return {row["_id"]: row["heard"] for row in rows}

    async def count(self) -> int:
        return sum(len(heard) for heard in (await self.heard()).values())

    async def documents(self, name: str) -> list[Raw]:
        rows: list[Raw] = await self.database[name].find().sort("_id", 1).to_list(None)
        return rows


@pytest.fixture
async def rig(mongo: Mongo, servers: Any, namespace: str) -> AsyncIterator[Rig]:
    handlers = Handlers()
    service = Service(
        name="tests",
        router=APIRouter(),
        handlers=(on(ViewerBlockedV1, handlers.count, needs=lambda event: [TALLIES.ref(event.streamer_id)]),),
        collections=(TALLIES,),
    )
    settings = ChassisSettings(
        mongo_url=servers.mongo_url,
        kafka_bootstrap=servers.kafka_bootstrap,
        namespace=namespace,
        devstack=True,
        jwt_keys={"demo": {"alg": "HS256", "key": "k" * 32}},  # type: ignore[dict-item]  # pydantic makes the key
        kafka_session_timeout_seconds=6,
    )
    database = mongo.database(f"{namespace}-tests")
    await create_collections(database, service)
    await create_topics(service, settings)
    http = httpx.AsyncClient()
    clock = SystemClock()
    runtime = Runtime("tests", mongo, database, clock, Outside({ChassisSettings: settings}, http, clock))
    producer = AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap)
    await producer.start()
    yield Rig(service, runtime, settings, handlers, producer)
    await producer.stop()
    await http.aclose()
    await mongo.client.drop_database(database.name)


def blocks(streamers: int, each: int) -> list[ViewerBlockedV1]:
    """Events of several streamers, taking turns."""
    keys = [ids.new_id() for _ in range(streamers)]
    return [ViewerBlockedV1(streamer_id=key, viewer_id=ids.new_id()) for _ in range(each) for key in keys]


def in_order(events: Iterable[ViewerBlockedV1]) -> dict[str, list[str]]:
    """What should have been heard of `events`."""
    heard: dict[str, list[str]] = {}
    for event in events:
        heard.setdefault(event.streamer_id, []).append(event.viewer_id)
    return heard


async def test_every_event_is_heard_once_and_those_of_one_key_in_order(
    rig: Rig, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=20, each=50)
    await rig.publish(*events)

    async with doing(rig.consumer()):
        await eventually(lambda: _has(rig, 1_000), seconds=20)

    assert await rig.heard() == in_order(events)


async def _has(rig: Rig, count: int) -> bool:
    return await rig.count() >= count
