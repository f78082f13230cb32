"""CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the value is the data as JSON (SPEC §9)."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from contracts.event import REGISTRY, Event
from contracts.versions import parse_type

CONTENT_TYPE: Final = "application/json"
ATTRIBUTE_BYTES_MAX: Final = 512  # ids and a traceparent are far shorter; a longer header is not ours
HEADERS: Final = frozenset(
    {
        "ce_specversion",
        "ce_id",
        "ce_type",
        "ce_source",
        "ce_subject",
        "ce_time",
        "ce_partitionkey",
        "ce_correlationid",
        "ce_causationid",
        "ce_versions",
        "traceparent",
        "content-type",
    }
)
ERRORS_SHOWN_MAX: Final = 3  # enough to mend a message; a reason is stored and logged
RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
"""Date, hours and minutes, seconds (60 in a leap second), fraction, offset: the `date-time` of RFC 3339, all of it."""
OUR_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d\.\d{3}Z", re.ASCII)
"""How our own relays write it: Python's parser alone is enough, at a third of the price."""


class Undecodable(Exception):
    """The bytes are not a message of this envelope, or not the data of its type. Never repeats the data itself."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownType(Exception):
    """No version of this event is known here."""

    def __init__(self, type_: str) -> None:
        super().__init__(f"unknown type {type_!r}")
        self.type = type_


class UnknownVersion(Exception):
    """The event is known, but not in this version."""

    def __init__(self, type_: str) -> None:
        super().__init__(f"unknown version {type_!r}")
        self.type = type_


class EventAttributes(NamedTuple):
    """The CloudEvents attributes of one message.

    `correlation_id` is the request that set it all off, `causation_id` the event that led to this one directly.
    `versions` are all types that were published side by side under this id; a consumer acts on the highest it knows.
    """

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    partition_key: str
    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka record, ready to be sent."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def to_message(event: Event, attributes: EventAttributes) -> Message:
    """Render an event. ValueError if `meta` is that of another event, or its time is not in UTC."""
    if (attributes.type, attributes.subject, attributes.partition_key) != (event.TYPE, event.subject, event.key):
        message = f"the attributes of {attributes.type} {attributes.subject} do not fit {event.TYPE} {event.subject}"
        raise ValueError(message)
    if attributes.time.utcoffset() != timedelta(0):
        message = f"the time of {attributes.type} is not in UTC"
        raise ValueError(message)
    key = attributes.partition_key.encode()
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", attributes.id.encode()),
        ("ce_type", attributes.type.encode()),
        ("ce_source", attributes.source.encode()),
        ("ce_subject", attributes.subject.encode()),
        ("ce_time", f"{attributes.time.isoformat(timespec='milliseconds')[:-6]}Z".encode()),
        ("ce_partitionkey", key),
        ("ce_correlationid", attributes.correlation_id.encode()),
    ]
    if attributes.causation_id:
        headers.append(("ce_causationid", attributes.causation_id.encode()))
    if attributes.versions:
        headers.append(("ce_versions", ",".join(attributes.versions).encode()))
    if attributes.traceparent:
        headers.append(("traceparent", attributes.traceparent.encode()))
    headers.append(("content-type", CONTENT_TYPE.encode()))
    return Message(event.TOPIC, key, event.model_dump_json(exclude_defaults=True).encode(), headers)


def attributes_of(headers: Sequence[tuple[str, bytes | None]]) -> EventAttributes:
    """Read the attributes of a message. Undecodable if one is missing or malformed; foreign headers are ignored."""
    attributes = _attributes(headers)
    try:
        if attributes["ce_specversion"] != "1.0":
            raise Undecodable("ce_specversion is not 1.0")
        content_type = attributes["content-type"]
        if content_type != CONTENT_TYPE and content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
            raise Undecodable(f"content-type is not {CONTENT_TYPE}")
        versions = attributes.get("ce_versions")
        return EventAttributes(  # by place: by name it takes more than twice as long
            attributes["ce_id"],
            attributes["ce_type"],
            attributes["ce_source"],
            attributes["ce_subject"],
            _instant(attributes["ce_time"]),
            attributes["ce_partitionkey"],
            attributes["ce_correlationid"],
            attributes.get("ce_causationid"),
            attributes.get("traceparent"),
            tuple(versions.split(",")) if versions else (),
        )
    except KeyError as missing:
        raise Undecodable(f"{missing.args[0]} is missing") from None


def event_of(attributes: EventAttributes, value: bytes | None, key: bytes | None = None) -> Event:
    """Read the data of a message; with `key`, that it is the record's key too.

    Raises UnknownType, UnknownVersion, and Undecodable for whatever else is wrong with the bytes.
    """
    event_class = REGISTRY.get(attributes.type)
    if event_class is None:
        raise _unknown(attributes.type)
    if value is None:
        raise Undecodable("the message has no value")
    try:
        if b"NaN" in value or b"Infinity" in value:  # pydantic's parser takes them, JSON does not
            from_json(value, allow_inf_nan=False)
        # What model_validate_json calls, at half the price
        event: Event = event_class.__pydantic_validator__.validate_json(value)
    except ValidationError as error:
        raise Undecodable(_reason(error)) from None  # the cause would carry the data into logs
    except ValueError as error:
        raise Undecodable(f"not JSON: {error}") from None
    event_key = event.key
    if attributes.partition_key != event_key or (key is not None and key != event_key.encode()):
        raise Undecodable(f"the key is not the data's {event_class.KEY}")
    return event


def _attributes(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    """Decode the headers that are ours; an empty one is as good as none."""
    ours = [(name, value) for name, value in headers if value and name in HEADERS]
    try:
        attributes = {name: value.decode() for name, value in ours}
    except UnicodeDecodeError:
        raise Undecodable(f"{_first_undecodable(ours)} is not UTF-8") from None
    if len(attributes) < len(ours):
        raise Undecodable(f"{Counter(name for name, _ in ours).most_common(1)[0][0]} is there twice")
    for name, value in ours:
        if len(value) > ATTRIBUTE_BYTES_MAX:
            raise Undecodable(f"{name} is longer than {ATTRIBUTE_BYTES_MAX} bytes")
    return attributes


def _first_undecodable(headers: Sequence[tuple[str, bytes]]) -> str:
    for name, value in headers:
        try:
            value.decode()
        except UnicodeDecodeError:
            return name
    return ""


def _instant(text: str) -> datetime:
    """The instant, in UTC, to the millisecond. Python's parser alone would take weeks, commas and half a time too."""
    try:
        if OUR_TIME.fullmatch(text):
            return datetime.fromisoformat(text)
        written = RFC3339.fullmatch(text)
        if written is None:
            raise Undecodable("ce_time is not RFC 3339")
        date, hour_minute, second, fraction, offset = written.groups(default="")
        leap = timedelta(seconds=1) if second == "60" else timedelta()
        parsed = f"{date}T{hour_minute}:{'59' if leap else second}.{fraction[1:4]:0<3}{offset.upper()}"
        return (datetime.fromisoformat(parsed) + leap).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Undecodable("ce_time is not RFC 3339") from None


def _unknown(type_: str) -> UnknownType | UnknownVersion:
    name, version = parse_type(type_)
    if version and any(parse_type(known).name == name for known in REGISTRY):
        return UnknownVersion(type_)
    return UnknownType(type_)


def _reason(error: ValidationError) -> str:
    """Say what is wrong where, without the input."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{'.'.join(map(str, e['loc'])) or 'data'}: {e['msg']}" for e in errors[:ERRORS_SHOWN_MAX]]
    return "; ".join([*shown, *(["…"] if len(errors) > ERRORS_SHOWN_MAX else [])])
