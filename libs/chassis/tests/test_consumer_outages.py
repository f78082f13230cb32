"""MongoDB or Kafka away for a while: the consumer waits, stays a member, loses nothing and doubles nothing."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi import APIRouter

from chassis import ids, metrics
from chassis.collection import Collection
from chassis.mongo import Driver, Mongo
from chassis.service import Service, on
from chassis.tx import Tx
from chassis.wired import Wired, wired
from contracts import ViewerBlockedV1
from devstack.stack import Stack

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]
AWAY_SECONDS = 4.0  # longer than the group's session


@dataclass(frozen=True, slots=True)
class Tally:
    """What was heard of one streamer, in order."""

    id: str
    heard: tuple[str, ...] = ()


TALLIES = Collection("tallies", Tally)


async def count(event: ViewerBlockedV1, tx: Tx) -> None:
    tally = await tx.get(TALLIES, event.streamer_id) or Tally(event.streamer_id)
    tx.put(TALLIES, replace(tally, heard=(*tally.heard, event.viewer_id)))


SERVICE = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, count),), collections=(TALLIES,))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Servers of our own, which may be stopped."""
    with tempfile.TemporaryDirectory(prefix="footlights-outage-") as data:
        stack = Stack(data=Path(data), only=("mongod", "kafka"), environ={})
        stack.start(tied=True)
        yield stack
        stack.stop()


@pytest.fixture
async def rig(stack: Stack, mongo_driver: Driver, namespace: str) -> AsyncIterator[Wired]:
    mongo = Mongo(stack.mongo_url, mongo_driver)
    async with wired(SERVICE, mongo, stack.kafka_bootstrap, namespace, kafka_session_timeout_seconds=2) as rig:
        yield rig
    await mongo.close()


def blocks(streamers: int, each: int) -> list[ViewerBlockedV1]:
    keys = [ids.new_id() for _ in range(streamers)]
    return [ViewerBlockedV1(streamer_id=key, viewer_id=ids.new_id()) for _ in range(each) for key in keys]


def in_order(events: list[ViewerBlockedV1]) -> dict[str, list[str]]:
    heard: dict[str, list[str]] = {}
    for event in events:
        heard.setdefault(event.streamer_id, []).append(event.viewer_id)
    return heard


async def heard(rig: Wired) -> dict[str, list[str]]:
    return {row["_id"]: row["heard"] for row in await rig.documents("tallies")}


def has(rig: Wired, wanted: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return sum(len(of_one) for of_one in (await heard(rig)).values()) >= wanted

    return holds


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_while_mongodb_is_away_the_consumer_keeps_its_partitions_and_goes_on_afterwards(
    rig: Wired, stack: Stack, doing: Doing, eventually: Eventually, how: str
) -> None:
    events = blocks(streamers=20, each=30)
    consumer = rig.consumer()
    rebalances = metrics.REBALANCES._value.get()  # noqa: SLF001 - prometheus_client has no public reading
    async with doing(consumer):
        await rig.publish(*events[:200])
        await eventually(has(rig, 200), seconds=30)
        await asyncio.to_thread(stack.stop_part if how == "stopped" else stack.pause, "mongod")
        await rig.publish(*events[200:400])
        await asyncio.sleep(AWAY_SECONDS)
        assert consumer.progress().joined
        await asyncio.to_thread(stack.start_part if how == "stopped" else stack.resume, "mongod")
        await eventually(has(rig, 400), seconds=60)
        await rig.publish(*events[400:])
        await eventually(has(rig, 600), seconds=30)

    assert await heard(rig) == in_order(events)
    assert metrics.REBALANCES._value.get() == rebalances + 1  # noqa: SLF001 - as above


async def test_while_kafka_is_frozen_nothing_is_lost_and_the_consumer_comes_back(
    rig: Wired, stack: Stack, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=20, each=30)
    async with doing(rig.consumer()):
        await rig.publish(*events[:300])
        await eventually(has(rig, 150), seconds=30)
        await asyncio.to_thread(stack.pause, "kafka")
        await asyncio.sleep(AWAY_SECONDS)
        await asyncio.to_thread(stack.resume, "kafka")
        await rig.publish(*events[300:])
        await eventually(has(rig, 600), seconds=60)

    assert await heard(rig) == in_order(events)


async def test_workers_wait_for_a_kafka_that_was_killed_also_those_started_meanwhile(
    rig: Wired, stack: Stack, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=20, each=30)
    late = rig.consumer()
    async with doing(rig.consumer()):
        await rig.publish(*events[:300])
        await eventually(has(rig, 150), seconds=30)
        await asyncio.to_thread(stack.kill, "kafka")
        async with doing(late):
            await eventually(lambda: late.progress().trouble == "not a member of the consumer group")
            await asyncio.to_thread(stack.wait_ready, "kafka")
            await rig.publish(*events[300:])
            await eventually(has(rig, 600), seconds=90)
            await eventually(lambda: late.progress().partitions == 6, seconds=60)

    assert await heard(rig) == in_order(events)
