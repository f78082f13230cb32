"""What Kafka carries, seen from outside: every message of every topic, from now on."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from contracts import Event, EventAttributes, attributes_of, event_of
from contracts.topics import DEAD_LETTERS, TOPICS, TopicSpec
from contracts.versions import parse_type
from demo.waiting import until
from devstack.brief import brief, figures

DEAD_LETTER_TOPICS = tuple(f"{owner}.dlq" for owner in TOPICS)


@dataclass(frozen=True, slots=True)
class Carried:
    """One event, as it was on Kafka."""

    at: float
    """Unix seconds, by the broker."""
    topic: str
    partition: int
    attributes: EventAttributes
    event: Event

    @property
    def data(self) -> dict[str, Any]:
        """The event's data as JSON."""
        return self.event.model_dump(mode="json")

    @property
    def brief(self) -> str:
        """In a few words."""
        return brief(parse_type(self.event.TYPE).name, self.data)

    @property
    def figures(self) -> str:
        """The money and the time in it."""
        return figures(self.data)


class Tap:
    """A consumer without a group: nobody notices it."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        self._partitions: list[TopicPartition] = []
        self._reading: asyncio.Task[None] | None = None
        self._read: dict[TopicPartition, int] = {}
        self.carried: list[Carried] = []
        self.parked: list[str] = []
        """What services parked: one line for each message on a dead letter topic."""

    async def start(self) -> Self:
        """Listen to all topics there are, from their ends."""
        await self._consumer.start()
        there = await self._consumer.topics()
        wanted: dict[str, TopicSpec] = {**TOPICS} | dict.fromkeys(DEAD_LETTER_TOPICS, DEAD_LETTERS)
        self._partitions = [
            TopicPartition(topic, number)
            for topic, spec in wanted.items()
            if topic in there
            for number in range(spec.partitions)
        ]
        self._consumer.assign(self._partitions)
        await self._consumer.seek_to_end(*self._partitions)
        self._read = {partition: await self._consumer.position(partition) for partition in self._partitions}
        self._reading = asyncio.create_task(self._listen())
        return self

    async def stop(self) -> None:
        """Listen no more."""
        if self._reading:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        await self._consumer.stop()

    @property
    def topics(self) -> Mapping[str, int]:
        """The number of partitions of each topic that it listens to."""
        return Counter(partition.topic for partition in self._partitions)

    def of(self, **fields: str) -> Iterator[Carried]:
        """The events whose data have these values, in the order in which they were read."""
        for carried in self.carried:
            if all(getattr(carried.event, name, None) == value for name, value in fields.items()):
                yield carried

    async def catch_up(self) -> None:
        """Return once everything that is on Kafka at this moment has been read."""
        ends: Mapping[TopicPartition, int] = await self._consumer.end_offsets(self._partitions)

        async def behind() -> dict[TopicPartition, int]:
            return {partition: end for partition, end in ends.items() if self._read[partition] < end}

        await until("the tap to have read all that Kafka has", behind, lambda left: not left)

    async def _listen(self) -> None:
        async for record in self._consumer:
            self._take(record)
            self._read[TopicPartition(record.topic, record.partition)] = record.offset + 1

    def _take(self, record: "ConsumerRecord[bytes, bytes]") -> None:
        if record.topic in DEAD_LETTER_TOPICS:
            reason = {name: value.decode(errors="replace") for name, value in record.headers}
            self.parked.append(f"{record.topic}: {reason}")
            return
        attributes = attributes_of(record.headers)
        event = event_of(attributes, record.value, record.key)
        self.carried.append(Carried(record.timestamp / 1_000, record.topic, record.partition, attributes, event))
