"""The outbox: events are stored with the state they follow from. Publishing them is `relay.py`'s work."""

from dataclasses import dataclass
from datetime import datetime

from chassis.cause import Cause
from chassis.collection import Collection, Index
from contracts import Event, Meta, to_message

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


OUTBOX = Collection("outbox", OutboxRow, indexes=(Index({"_stamp": 1, "n": 1}),))


def row_of(event: Event, *, id_: str, n: int, source: str, now: datetime, cause: Cause) -> OutboxRow:
    """The outbox row of `event`, published by `source` because of `cause`.

    Raises:
        EventTooLarge: the event is over 64 KiB, which is a bug of the service.
    """
    meta = Meta(
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
    message = to_message(event, meta)
    if len(message.value) > EVENT_BYTES_MAX:
        raise EventTooLarge(
            f"{event.TYPE} of {event.subject} has {len(message.value)} bytes, the limit is {EVENT_BYTES_MAX}"
        )
    return OutboxRow(id_, n, message.topic, event.key, message.value, dict(message.headers))
