"""The events of all topics as they come, without a group: nobody notices that somebody reads along."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.topics import TOPICS
from contracts_cli.broker import Broker, NoBroker

CONNECT_SECONDS: Final = 10.0
POLL_MILLISECONDS: Final = 200


@dataclass(frozen=True, slots=True)
class Told:
    """One record, as far as it can be read."""

    topic: str
    """Without the namespace."""
    partition: int
    offset: int
    at_ms: int
    """When the broker got it, in Unix milliseconds."""
    key: str
    headers: dict[str, str]
    data: Any
    """The value as JSON; the text itself if it is none."""

    @property
    def type(self) -> str:
        """Its `ce_type`, `?` if it has none."""
        return self.headers.get("ce_type", "?")

    def as_json(self) -> str:
        """On one line, for programs."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields, ensure_ascii=False)


@asynccontextmanager
async def reading(broker: Broker, since_ms: int | None, *, to_now: bool) -> AsyncIterator[AsyncIterator[Told]]:
    """The records of all topics since a moment, else from now on; `to_now` ends with what there is at the beginning.

    In order per key. Raises NoBroker where no broker answers, or none of the topics is there.
    """
    consumer = AIOKafkaConsumer(enable_auto_commit=False, **broker.client)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            partitions = await _partitions(broker)
            await consumer.start()
            ends = await consumer.end_offsets(partitions)
            consumer.assign(partitions)
            await _seek(consumer, ends, since_ms)
        yield _records(consumer, broker, ends if to_now else None)
    except TimeoutError:
        raise NoBroker(f"Kafka does not answer on {broker.bootstrap} within {CONNECT_SECONDS:.0f} s") from None
    finally:
        await consumer.stop()


async def _partitions(broker: Broker) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(**broker.client)
    try:
        await admin.start()
        there = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    finally:
        await admin.close()
    names = [name for name in map(broker.scoped, TOPICS) if name in there]
    if not names:
        raise NoBroker(f"{broker.bootstrap} has none of our topics; is --namespace right?")
    return [TopicPartition(name, partition["partition"]) for name in names for partition in there[name]]


async def _seek(consumer: Any, ends: dict[TopicPartition, int], since_ms: int | None) -> None:
    since = {} if since_ms is None else await consumer.offsets_for_times(dict.fromkeys(ends, since_ms))
    for partition, end in ends.items():
        found = since.get(partition)
        consumer.seek(partition, found.offset if found else end)


async def _records(consumer: Any, broker: Broker, ends: dict[TopicPartition, int] | None) -> AsyncIterator[Told]:
    prefix = broker.scoped("")
    while ends is None or await _is_behind(consumer, ends):
        found = await consumer.getmany(timeout_ms=POLL_MILLISECONDS)
        for record in _by_time(found.values()):
            yield _told(record, prefix)


def _by_time(found: Iterable[Sequence[Any]]) -> list[Any]:
    """By the broker's time, without changing the order within a partition."""
    timed = (zip(accumulate((one.timestamp for one in records), max), records, strict=True) for records in found)
    return [record for _, record in sorted(chain.from_iterable(timed), key=itemgetter(0))]


async def _is_behind(consumer: Any, ends: dict[TopicPartition, int]) -> bool:
    return any([await consumer.position(partition) < end for partition, end in ends.items()])


def _told(record: "ConsumerRecord[bytes, bytes]", prefix: str) -> Told:
    text = (record.value or b"").decode(errors="backslashreplace")
    try:
        data = json.loads(text)
    except ValueError:
        data = text
    return Told(
        record.topic.removeprefix(prefix),
        record.partition,
        record.offset,
        record.timestamp,
        (record.key or b"").decode(errors="backslashreplace"),
        {name: value.decode(errors="backslashreplace") for name, value in record.headers},
        data,
    )
