"""A restored service reads on its own topic what it has said since then, on the real broker."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import APIRouter

from chassis import ids
from chassis.errors import NotYet
from chassis.kafka import own_topic
from chassis.service import Service, on
from chassis.storage.collection import Collection
from chassis.storage.mongo import Mongo
from chassis.storage.tx import Tx
from chassis_testing.kafka import KafkaHarness, kafka_harness
from contracts import Event, ViewerBlockedV1, ViewerUnblockedV1
from contracts.envelope import Message

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Blocked:
    """A viewer who is blocked, and how often that was said."""

    id: str
    said: int = 1


BLOCKED = Collection("blocked", Blocked)


async def block(event: ViewerBlockedV1, tx: Tx) -> None:
    known = await tx.get(BLOCKED, event.viewer_id)
    tx.put(BLOCKED, Blocked(event.viewer_id, known.said + 1 if known else 1))


async def unblock(event: ViewerUnblockedV1, tx: Tx) -> None:
    if await tx.get(BLOCKED, event.viewer_id) is None:
        raise NotYet("block")
    tx.delete(BLOCKED, event.viewer_id)


SERVICE = Service(
    name="sessions",
    router=APIRouter(),
    collections=(BLOCKED,),
    remembers=(on(ViewerBlockedV1, block), on(ViewerUnblockedV1, unblock)),
)


@pytest.fixture
async def harness(mongo: Mongo, servers: Any, namespace: str) -> AsyncIterator[KafkaHarness]:
    async with kafka_harness(SERVICE, mongo, servers.kafka_bootstrap, namespace) as started:
        yield started


async def remember(harness: KafkaHarness, since: datetime = EPOCH) -> own_topic.Memory:
    return await own_topic.remember(SERVICE, harness.runtime, harness.settings, since)


def said(kind: type[ViewerBlockedV1] | type[ViewerUnblockedV1], viewer: str, streamer: str | None = None) -> Event:
    return kind(streamer_id=streamer or ids.new_id(), viewer_id=viewer)


async def test_all_partitions_are_read_to_their_end_and_nothing_is_published(harness: KafkaHarness) -> None:
    viewers = [ids.new_id() for _ in range(40)]  # each of another streamer, so on any partition
    await harness.publish(*(said(ViewerBlockedV1, viewer) for viewer in viewers))

    memory = await remember(harness)

    assert (memory.done, memory.waiting) == (40, [])
    assert {row["_id"] for row in await harness.documents("blocked")} == set(viewers)
    assert await harness.documents("outbox") == []


async def test_what_was_said_before_is_left_out(harness: KafkaHarness) -> None:
    await harness.publish(said(ViewerBlockedV1, ids.new_id()))

    memory = await remember(harness, since=datetime(2100, 1, 1, tzinfo=UTC))

    assert (memory.done, memory.waiting) == (0, [])


async def test_what_needs_another_key_waits_for_it_and_what_is_behind_it_keeps_its_place(harness: KafkaHarness) -> None:
    viewer, streamer = ids.new_id(), ids.new_id()
    await harness.publish(
        said(ViewerUnblockedV1, viewer, streamer),
        said(ViewerBlockedV1, viewer, streamer),
        said(ViewerBlockedV1, viewer),
    )

    memory = await remember(harness)

    assert (memory.done, memory.waiting) == (3, [])
    assert [row["said"] for row in await harness.documents("blocked")] == [1]


async def test_what_needs_something_that_was_said_before_waits_and_is_named(harness: KafkaHarness) -> None:
    viewer, streamer = ids.new_id(), ids.new_id()
    await harness.publish(said(ViewerUnblockedV1, viewer, streamer), said(ViewerBlockedV1, viewer, streamer))

    memory = await remember(harness)

    assert [type(work.subject) for work in memory.waiting] == [ViewerUnblockedV1, ViewerBlockedV1]


async def test_a_record_that_is_none_of_ours_is_passed_over(harness: KafkaHarness) -> None:
    streamer = ids.new_id()
    await harness.send([Message("sessions", streamer.encode(), b"{", [("ce_type", b"\xff")])])
    await harness.publish(said(ViewerBlockedV1, ids.new_id(), streamer))

    memory = await remember(harness)

    assert (memory.done, memory.waiting) == (1, [])
