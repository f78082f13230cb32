"""CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the value is the data as JSON (SPEC §9)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from contracts.event import REGISTRY, Event

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
VERSIONED: Final = re.compile(r"(?P<name>[a-z_.]+)\.v[1-9][0-9]{0,4}")


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


class Meta(NamedTuple):
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


def to_message(event: Event, meta: Meta) -> Message:
    """Render an event. ValueError if `meta` is that of another event, or its time is not in UTC."""
    if (meta.type, meta.subject, meta.partition_key) != (event.TYPE, event.subject, event.key):
        message = f"the attributes of {meta.type} {meta.subject} do not fit {event.TYPE} {event.subject}"
        raise ValueError(message)
    if meta.time.utcoffset() != timedelta(0):
        message = f"the time of {meta.type} is not in UTC"
        raise ValueError(message)
    key = meta.partition_key.encode()
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", meta.id.encode()),
        ("ce_type", meta.type.encode()),
        ("ce_source", meta.source.encode()),
        ("ce_subject", meta.subject.encode()),
        ("ce_time", f"{meta.time.isoformat(timespec='milliseconds')[:-6]}Z".encode()),
        ("ce_partitionkey", key),
        ("ce_correlationid", meta.correlation_id.encode()),
    ]
    if meta.causation_id:
        headers.append(("ce_causationid", meta.causation_id.encode()))
    if meta.versions:
        headers.append(("ce_versions", ",".join(meta.versions).encode()))
    if meta.traceparent:
        headers.append(("traceparent", meta.traceparent.encode()))
    headers.append(("content-type", CONTENT_TYPE.encode()))
    return Message(event.TOPIC, key, event.model_dump_json(exclude_defaults=True).encode(), headers)


def meta_of(headers: Sequence[tuple[str, bytes | None]]) -> Meta:
    """Read the attributes of a message. Undecodable if one is missing or malformed; foreign headers are ignored."""
    attributes = _attributes(headers)
    try:
        if attributes["ce_specversion"] != "1.0":
            raise Undecodable("ce_specversion is not 1.0")
        content_type = attributes["content-type"]
        if content_type != CONTENT_TYPE and content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
            raise Undecodable(f"content-type is not {CONTENT_TYPE}")
        versions = attributes.get("ce_versions")
        return Meta(
            id=attributes["ce_id"],
            type=attributes["ce_type"],
            source=attributes["ce_source"],
            subject=attributes["ce_subject"],
            time=_instant(attributes["ce_time"]),
            partition_key=attributes["ce_partitionkey"],
            correlation_id=attributes["ce_correlationid"],
            causation_id=attributes.get("ce_causationid"),
            traceparent=attributes.get("traceparent"),
            versions=tuple(versions.split(",")) if versions else (),
        )
    except KeyError as missing:
        raise Undecodable(f"{missing.args[0]} is missing") from None


def event_of(meta: Meta, value: bytes | None, key: bytes | None = None) -> Event:
    """Read the data of a message; with `key`, that it is the record's key too.

    Raises UnknownType, UnknownVersion, and Undecodable for whatever else is wrong with the bytes.
    """
    event_class = REGISTRY.get(meta.type)
    if event_class is None:
        raise _unknown(meta.type)
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
    if meta.partition_key != event_key or (key is not None and key != event_key.encode()):
        raise Undecodable(f"the key is not the data's {event_class.KEY}")
    return event


def _attributes(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    """Decode the headers that are ours; an empty one is as good as none."""
    attributes: dict[str, str] = {}
    for name, value in headers:
        if name not in HEADERS or not value:
            continue
        if len(value) > ATTRIBUTE_BYTES_MAX:
            raise Undecodable(f"{name} is longer than {ATTRIBUTE_BYTES_MAX} bytes")
        if name in attributes:
            raise Undecodable(f"{name} is there twice")
        try:
            attributes[name] = value.decode()
        except UnicodeDecodeError:
            raise Undecodable(f"{name} is not UTF-8") from None
    return attributes


def _instant(text: str) -> datetime:
    """The instant, in UTC, to the millisecond. Python's parser alone would take weeks, commas and half a time too."""
    written = RFC3339.fullmatch(text)
    if written is None:
        raise Undecodable("ce_time is not RFC 3339")
    try:
        date, hour_minute, second, fraction, offset = written.groups(default="")
        leap = timedelta(seconds=1) if second == "60" else timedelta()
        parsed = f"{date}T{hour_minute}:{'59' if leap else second}.{fraction[1:4]:0<3}{offset.upper()}"
        return (datetime.fromisoformat(parsed) + leap).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Undecodable("ce_time is not RFC 3339") from None


def _unknown(type_: str) -> UnknownType | UnknownVersion:
    versioned = VERSIONED.fullmatch(type_)
    if versioned and any(known.startswith(f"{versioned['name']}.v") for known in REGISTRY):
        return UnknownVersion(type_)
    return UnknownType(type_)


def _reason(error: ValidationError) -> str:
    """Say what is wrong where, without the input."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{'.'.join(map(str, e['loc'])) or 'data'}: {e['msg']}" for e in errors[:ERRORS_SHOWN_MAX]]
    return "; ".join([*shown, *(["…"] if len(errors) > ERRORS_SHOWN_MAX else [])])
