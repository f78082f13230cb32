"""The outbox: events are stored with the state they follow from. Publishing them is `relay.py`'s work."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from aiokafka.partitioner import murmur2

from chassis.cause import Cause
from chassis.storage.collection import Collection, Index
from contracts import Event, EventAttributes, to_message
from contracts.topics import spec_of

EVENT_BYTES_MAX = 64 * 1024  # SPEC §1: no event grows with the number of viewers


class EventTooLarge(Exception):
    """A handler tried to publish more than 64 KiB."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message that waits to be published; rows in (`_stamp`, `n`) order are in causal order."""

    id: str
    n: int
    topic: str
    key: str
    value: bytes
    headers: dict[str, bytes]
    partition: str | None = None
    """Where it will be, `goals:3`, for the relay to leave out what can go nowhere; None where only the broker knows."""

    @property
    def type(self) -> str:
        """The type of its event, as the envelope says; empty if it says none."""
        return self.headers.get("ce_type", b"").decode()


OUTBOX = Collection("outbox", OutboxRow, indexes=(Index({"_stamp": 1, "n": 1, "partition": 1}),))


@lru_cache(maxsize=65_536)  # 4 µs each, and an event has seldom a key of its own
def hash_of(key: str) -> int:
    """What decides a key's partition: as Kafka's own clients do it, modulo their number."""
    return int(murmur2(key.encode())) & 0x7FFF_FFFF


def partition_of(topic: str, key: str) -> str | None:
    """The partition of a key, `goals:3`, if the contracts know how many its topic has."""
    spec = spec_of(topic)
    return f"{topic}:{hash_of(key) % spec.partitions}" if spec else None


def row(id_: str, n: int, topic: str, key: str, value: bytes, headers: Mapping[str, bytes]) -> OutboxRow:
    """A row that knows its partition."""
    return OutboxRow(id_, n, topic, key, value, dict(headers), partition_of(topic, key))


def row_of(event: Event, *, id_: str, n: int, source: str, now: datetime, cause: Cause) -> OutboxRow:
    """The outbox row of `event`, published by `source` because of `cause`.

    Raises:
        EventTooLarge: the event is over 64 KiB, which is a bug of the service.
    """
    attributes = EventAttributes(
        id=id_,
        type=event.TYPE,
        source=f"/footlights/{source}",
        subject=event.subject,
        time=now,
        partition_key=event.key,
        correlation_id=cause.correlation_id,
        causation_id=cause.event_id,
        traceparent=cause.traceparent,
    )
    message = to_message(event, attributes)
    if len(message.value) > EVENT_BYTES_MAX:
        raise EventTooLarge(
            f"{event.TYPE} of {event.subject} has {len(message.value)} bytes, the limit is {EVENT_BYTES_MAX}"
        )
    return row(id_, n, message.topic, event.key, message.value, dict(message.headers))
