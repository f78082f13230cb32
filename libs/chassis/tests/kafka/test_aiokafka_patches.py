"""What other producers may send, on a real Kafka and MongoDB: any codec, and headers whose names are not UTF-8."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from collections.abc import Collection as Some
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from fastapi import APIRouter

from chassis.kafka.aiokafka_patches import CorruptBatchError, read_every_record
from chassis.outbox.relay import Relay
from chassis.runtime import parked_work
from chassis.service import Service, on
from chassis.storage.mongo import Mongo
from chassis_testing.kafka import KafkaHarness, kafka_harness
from chassis_testing.tallies import TALLIES, blocks, count, handled
from contracts import Message, ViewerBlockedV1

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
REASON = "Undecodable: the name of a header is not UTF-8: \N{REPLACEMENT CHARACTER}agent"


class Latin(str):
    """The name of a header as others may send it, in whatever they take for text."""

    __slots__ = ()

    def encode(self, encoding: str = "latin-1", errors: str = "strict") -> bytes:  # noqa: ARG002 - of whoever calls it
        return super().encode("latin-1")


@pytest.fixture
async def harness(mongo: Mongo, servers: Any, namespace: str) -> AsyncIterator[KafkaHarness]:
    service = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, count),), collections=(TALLIES,))
    async with kafka_harness(service, mongo, servers.kafka_bootstrap, namespace) as harness:
        yield harness


def spoilt(message: Message) -> Message:
    return replace(message, headers=[*message.headers, (Latin("ÿagent"), b"1")])


def builder(codec: int = 0) -> Any:
    """An empty batch, of the kind that asks the names of headers themselves for their bytes."""
    return _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, 0, 1_000_000)


async def send_batch(harness: KafkaHarness, partition: int, messages: Sequence[Message]) -> int:
    """Send `messages` as one batch; returns the offset of the first."""
    batch = harness.producer.create_batch()
    batch._builder = builder()  # noqa: SLF001 - aiokafka has no public way to send such a name
    for message in messages:
        batch.append(timestamp=None, key=message.key, value=message.value, headers=message.headers)
    sent = await harness.producer.send_batch(batch, harness.settings.scoped("sessions"), partition=partition)
    offset: int = (await sent).offset
    return offset


async def is_done(harness: KafkaHarness, count: int) -> bool:
    """Whether the stored positions have come to `count` records."""
    offsets: list[int] = [row["offset"] for row in await harness.documents("positions")]
    return sum(offsets) >= count


def sort_out(
    events: Sequence[ViewerBlockedV1], bad: Some[int] = ()
) -> tuple[dict[str, list[str]], dict[int, str | None]]:
    """What should be handled of `events`, what parked, by its place: with a reason, or behind one of its streamer."""
    handled: dict[str, list[str]] = {}
    parked: dict[int, str | None] = {}
    stuck: set[str] = set()
    for at, event in enumerate(events):
        if at in bad or event.streamer_id in stuck:
            parked[at] = None if event.streamer_id in stuck else REASON
            stuck.add(event.streamer_id)
        else:
            handled.setdefault(event.streamer_id, []).append(event.viewer_id)
    return handled, parked


@pytest.mark.parametrize("codec", CODECS)
async def test_events_take_effect_whatever_they_are_compressed_with(
    harness: KafkaHarness, doing: Doing, eventually: Eventually, codec: str
) -> None:
    events = blocks(streamers=1, each=200)  # one partition, so the batches are large enough to be compressed
    producer = AIOKafkaProducer(bootstrap_servers=harness.settings.kafka_bootstrap, compression_type=codec)
    await producer.start()
    await replace(harness, producer=producer).publish(*events)
    await producer.stop()

    async with doing(harness.consumer()):
        await eventually(lambda: is_done(harness, 200), seconds=30)

    assert await handled(harness) == sort_out(events)[0]


PLACES: dict[str, dict[int, set[int]]] = {
    "one among others": {3: {2}},
    "two in one partition": {3: {1, 4}},
    "two side by side": {3: {1, 2}},
    "two of one streamer": {3: {1, 7}},
    "in two partitions": {3: {2}, 7: {0, 5}},
    "the very last": {3: {11}},
}
"""In which partitions and places of a batch of twelve there is a header that is not UTF-8."""


@pytest.mark.parametrize("places", PLACES)
async def test_a_header_whose_name_is_not_utf8_parks_its_message_alone_and_nothing_else_is_lost(
    harness: KafkaHarness, doing: Doing, eventually: Eventually, places: str
) -> None:
    around, after = blocks(streamers=20, each=20), blocks(streamers=20, each=2)
    expected, _ = sort_out([*around, *after])
    parked: dict[tuple[int, int], str | None] = {}
    await harness.publish(*around[:200])
    for partition, bad in PLACES[places].items():
        events = blocks(streamers=6, each=2)
        messages = [harness.message(event) for event in events]
        begin = await send_batch(
            harness, partition, [spoilt(message) if at in bad else message for at, message in enumerate(messages)]
        )
        handled_of_these, parked_of_these = sort_out(events, bad)
        expected |= handled_of_these
        parked |= {(partition, begin + at): reason for at, reason in parked_of_these.items()}
    await harness.publish(*around[200:])

    async with doing(harness.consumer()):
        await eventually(lambda: is_done(harness, 400 + 12 * len(PLACES[places])), seconds=30)
        await harness.publish(*after)
        await eventually(lambda: is_done(harness, 440 + 12 * len(PLACES[places])), seconds=30)

    assert await handled(harness) == expected
    assert {(row["partition"], row["offset"]): row["reason"] for row in await harness.documents("parked")} == parked
    assert {key["state"] for key in await harness.documents("parked_keys")} == {"parked"}


async def test_its_copy_says_where_it_is_and_why_and_no_replay_frees_its_key_before_it_is_deleted(
    harness: KafkaHarness, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=1, each=3)
    messages = [harness.message(event) for event in events]
    await send_batch(harness, 5, [messages[0], spoilt(messages[1]), messages[2]])

    async def is_parked_after_one_attempt() -> bool:
        return [(key["state"], key["attempts"]) for key in await harness.documents("parked_keys")] == [("parked", 1)]

    async with doing(harness.consumer(), Relay(harness.runtime, harness.settings)):
        copy = await dead_letter(harness)
        await eventually(is_parked_after_one_attempt, seconds=30)
        assert await parked_work.MESSAGES.replay(harness.database, harness.runtime.clock) == 1
        await eventually(is_parked_after_one_attempt, seconds=30)
        rows = await harness.documents("parked")
        assert await handled(harness) == {events[0].streamer_id: [events[0].viewer_id]}

        await harness.database["parked"].delete_one({"_id": "sessions:5:1"})
        assert await parked_work.MESSAGES.replay(harness.database, harness.runtime.clock) == 1
        await eventually(lambda: is_free(harness), seconds=30)

    said = dict(copy.headers)
    assert (copy.key, copy.value) == (messages[1].key, messages[1].value)
    assert (said["dlq_partition"], said["dlq_offset"], said["dlq_reason"]) == (b"5", b"1", REASON.encode())
    assert [(row["_id"], row["reason"]) for row in rows] == [("sessions:5:1", REASON), ("sessions:5:2", None)]
    assert rows[0]["value"] == messages[1].value
    assert await handled(harness) == {events[0].streamer_id: [events[0].viewer_id, events[2].viewer_id]}


async def is_free(harness: KafkaHarness) -> bool:
    return await harness.documents("parked_keys") == []


async def dead_letter(harness: KafkaHarness) -> Any:
    """The first message of the dead letter topic."""
    topic = harness.settings.scoped("tests.dlq")
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=harness.settings.kafka_bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        return await asyncio.wait_for(consumer.getone(), 30)
    finally:
        await consumer.stop()


@pytest.fixture
def reads_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this test: those with a consumer must prove that it sees to it itself."""
    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    read_every_record()


def read(data: bytes, begin: int) -> list[Any]:
    """What a consumer reads of what was fetched, when it is at `begin`."""
    fetched = fetcher.MemoryRecords(data)
    return list(
        fetcher.PartitionRecords(
            TopicPartition("sessions", 0),
            fetched,
            aborted_transactions=[],
            fetch_offset=begin,
            key_deserializer=None,
            value_deserializer=None,
            check_crcs=True,
            isolation_level=fetcher.READ_UNCOMMITTED,
        )
    )


def three_batches(codec: int, begin: int = 0) -> bytes:
    """Twelve messages, of which 5 and 7 are spoilt, in batches of four, beginning with the one that has `begin`."""
    message, data = Message("sessions", b"key", b"value", [("ce_id", b"1")] * 5), b""
    for base in range(begin // 4 * 4, 12, 4):
        batch = builder(codec)
        for at in range(4):
            one = spoilt(message) if base + at in (5, 7) else message
            batch.append(at, 1, one.key, one.value, one.headers)
        built = batch.build()
        struct.pack_into(">q", built, 0, base)
        data += bytes(built)
    return data


@pytest.mark.usefixtures("reads_every_record")
@pytest.mark.parametrize("codec", [0, *CODECS.values()])
def test_every_record_is_read_once_from_wherever_in_a_batch_one_begins(codec: int) -> None:
    for begin in range(12):
        records = read(three_batches(codec, begin), begin)
        assert [record.offset for record in records] == list(range(begin, 12))
        assert {(record.key, record.value) for record in records} == {(b"key", b"value")}
        assert [record.offset for record in records if len(record.headers) == 6] == [at for at in (5, 7) if at >= begin]


@pytest.mark.usefixtures("reads_every_record")
def test_what_was_spoilt_on_the_way_is_still_refused_and_what_is_in_front_of_it_is_read() -> None:
    data, last = bytearray(three_batches(0)), bytearray(three_batches(0, 8))
    data[-1] ^= 1
    last[-1] ^= 1

    assert [record.offset for record in read(bytes(data), 0)] == list(range(8))
    with pytest.raises(CorruptBatchError, match="the batch at 8 is damaged"):
        read(bytes(last), 8)
