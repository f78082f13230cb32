"""From the bytes of a Kafka record to something that can be handled: once, for however many attempts."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, cast

from chassis.cause import Cause
from chassis.service import On
from chassis.storage.batch import WorkItem
from chassis.storage.tx import Tx
from contracts import REGISTRY, Event, Undecodable, UnknownType, UnknownVersion, attributes_of, event_of
from contracts.versions import parse_type

UNKNOWN = "unknown"  # what metrics call a type that no contract names, so that nobody can make up labels

SYSTEM_CAUSE = Cause(at=datetime(1970, 1, 1, tzinfo=UTC), correlation_id="")
"""The cause of what nobody asked for."""

NO_TEXT = "\N{REPLACEMENT CHARACTER}"
"""What stands in the name of a header for bytes that are not UTF-8."""

KEY_BYTES_MAX = 100  # keys of ours are ids; of a longer one, which nobody of us can have sent, its hash is enough

ID_CHARACTERS_MAX = 64  # of an id of somebody else's

Headers = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """What aiokafka brings. Only header names are decoded (`aiokafka_patches.py`): a bad one would come for ever."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a topic, by the topic's name without namespace."""

    topic: str
    number: int
    id: str = field(init=False)
    """As positions name it: `goals:3`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", f"{self.topic}:{self.number}")


@dataclass(slots=True)
class InboundMessage:
    """One record, and the work it means here; None when nobody listens to its type."""

    partition: Partition
    offset: int
    key: str
    headers: Headers
    value: bytes | None
    type: str = UNKNOWN
    subscribed: bool = False
    """Whether the service listens to its type, in this version or another."""
    work: WorkItem | None = None

    @property
    def id(self) -> str:
        """Unique among all records: `goals:3:1027`."""
        return f"{self.partition.id}:{self.offset}"

    @property
    def ordering_key(self) -> str:
        """What has to stay in order: the key within its topic."""
        return f"{self.partition.topic}:{self.key}"

    @property
    def fails(self) -> bool:
        """Whether all it does is fail."""
        return self.work is not None and isinstance(self.work.subject, Exception)

    def failing(self, failure: Exception) -> "InboundMessage":
        """The same record, doing nothing but fail: so it is parked in its turn like any that does."""
        return replace(
            self, work=WorkItem(self.id, failure, (On(Event, _fail, None),), SYSTEM_CAUSE, self.ordering_key)
        )


async def _fail(failure: Exception, _tx: Tx) -> None:
    raise failure


def text_of(headers: Headers, name: str) -> str | None:
    """What a header says, for the log, although the record cannot be read."""
    value = dict(headers).get(name)
    return value.decode(errors="backslashreplace")[:ID_CHARACTERS_MAX] if value else None


def undecoded(partition: Partition, record: Record) -> InboundMessage:
    """A record whose meaning nobody has looked at."""
    return InboundMessage(partition, record.offset, _text(record.key or b""), record.headers, record.value)


def _text(key: bytes) -> str:
    """A key as parked messages are found by: short, as many of them stand in one query."""
    if len(key) > KEY_BYTES_MAX:
        return f"sha256:{hashlib.sha256(key).hexdigest()}"
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key.decode(errors="backslashreplace")


class _Subscription(NamedTuple):
    type: str
    rows: tuple[On, ...]


class Subscriptions:
    """What a service listens to: the rows of its table, by topic and type."""

    def __init__(self, rows: Iterable[On]) -> None:
        """Take the table's rows of events."""
        self._subscribed: dict[str, dict[bytes, _Subscription]] = {}
        for row in rows:
            event = cast("type[Event]", row.subject)
            subscribed = self._subscribed.setdefault(event.TOPIC, {})
            before = subscribed.get(event.TYPE.encode())
            rows_ = (*before.rows, row) if before else (row,)
            subscribed[event.TYPE.encode()] = _Subscription(event.TYPE, rows_)

    @property
    def topics(self) -> frozenset[str]:
        """The topics to subscribe to, without namespace."""
        return frozenset(self._subscribed)

    def decode(self, partition: Partition, record: Record) -> InboundMessage:
        """Read a record as it comes from Kafka. Never fails: what cannot be read becomes a record that does."""
        return self.interpret(undecoded(partition, record), record.key or b"")

    def interpret(self, inbound: InboundMessage, key: bytes) -> InboundMessage:
        """Decide what `inbound` means to this service; `key` is the record's own."""
        try:
            subscribed = self._subscribed.get(inbound.partition.topic, {})
            type_ = dict(inbound.headers).get("ce_type") or b""
            if one := subscribed.get(type_):
                inbound.type = one.type
                inbound.subscribed = True
                _refuse_unless_text(inbound.headers)
                inbound.work = _work(inbound, key, one.rows, subscribed)
            else:
                inbound.type = _known(type_)
                inbound.subscribed = _is_version(type_, subscribed)
                _refuse_unless_strange(inbound, type_, subscribed)
        except (Undecodable, UnknownType, UnknownVersion) as failure:
            return inbound.failing(failure)
        except Exception as failure:  # noqa: BLE001 - whatever bytes can do to a decoder, the record is parked for it
            return inbound.failing(Undecodable(repr(failure)))
        return inbound


def _work(
    inbound: InboundMessage, key: bytes, rows: tuple[On, ...], subscribed: Mapping[bytes, _Subscription]
) -> WorkItem | None:
    attributes = attributes_of(inbound.headers)
    if attributes.versions and attributes.type != _highest(attributes.versions, subscribed):
        return None
    event = event_of(attributes, inbound.value, key)
    id_ = _identity(attributes.source, attributes.id)
    cause = Cause(attributes.time, attributes.correlation_id, attributes.id, attributes.traceparent, origin=id_)
    return WorkItem(id_, event, rows, cause, inbound.ordering_key)


def _identity(source: str, id_: str) -> str:
    """What no two events share (CloudEvents): an id is unique within its source, which as a URI has no blank."""
    return f"{source} {id_}"


def _refuse_unless_strange(inbound: InboundMessage, type_: bytes, subscribed: Mapping[bytes, _Subscription]) -> None:
    """Let pass what nobody here listens to, but not a new version of what somebody does, nor what says nothing."""
    if not type_:
        _refuse_unless_text(inbound.headers)
        raise Undecodable("ce_type is missing")
    if not inbound.subscribed:
        return
    versions = attributes_of(inbound.headers).versions
    if _highest(versions, subscribed) is None:
        raise UnknownVersion(type_.decode(errors="replace"))


def _is_version(type_: bytes, subscribed: Mapping[bytes, _Subscription]) -> bool:
    """Whether it is another version of what somebody here listens to."""
    name = parse_type(type_.decode(errors="replace")).name
    return any(parse_type(known.decode()).name == name for known in subscribed)


def _refuse_unless_text(headers: Headers) -> None:
    for name, _ in headers:
        if NO_TEXT in name:
            raise Undecodable(f"the name of a header is not UTF-8: {name}")


def _highest(versions: tuple[str, ...], subscribed: Mapping[bytes, _Subscription]) -> str | None:
    """The highest of the versions published side by side that is listened to."""
    known = [version for version in versions if version.encode() in subscribed]
    return max(known, key=lambda version: parse_type(version).version, default=None)


def _known(type_: bytes) -> str:
    name = type_.decode(errors="replace")
    return name if name in REGISTRY else UNKNOWN
