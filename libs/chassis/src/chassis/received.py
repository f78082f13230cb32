"""From the bytes of a Kafka record to something that can be handled: once, for however many attempts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import itemgetter
from typing import NamedTuple, Protocol, cast

from chassis.batch import Work
from chassis.cause import Cause
from chassis.service import On
from chassis.tx import Tx
from contracts import REGISTRY, Event, Undecodable, UnknownType, UnknownVersion, event_of, meta_of
from contracts.envelope import ATTRIBUTE_BYTES_MAX

UNKNOWN = "unknown"  # what metrics call a type that no contract names, so that nobody can make up labels

NOBODY = Cause(at=datetime(1970, 1, 1, tzinfo=UTC), correlation_id="")
"""The cause of what nobody asked for."""

TIME_BYTES = len("2026-11-21T11:35:00.123Z")
_TEXTS = itemgetter("ce_id", "ce_correlationid", "ce_source", "ce_subject")
_CONSTANTS = itemgetter("ce_specversion", "content-type")

Headers = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """What aiokafka brings. Nothing is decoded by the client: a bad record would come again and again for ever."""

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
class Received:
    """One record, and the work it means here; None when nobody listens to its type."""

    partition: Partition
    offset: int
    key: str
    headers: Headers
    value: bytes | None
    type: str = UNKNOWN
    work: Work | None = None

    @property
    def id(self) -> str:
        """Unique among all records: `goals:3:1027`."""
        return f"{self.partition.id}:{self.offset}"

    @property
    def lane(self) -> str:
        """What has to stay in order: the key within its topic."""
        return f"{self.partition.topic}:{self.key}"

    @property
    def fails(self) -> bool:
        """Whether all it does is fail."""
        return self.work is not None and isinstance(self.work.subject, Exception)

    def failing(self, failure: Exception) -> "Received":
        """The same record, doing nothing but fail: so it is parked in its turn like any that does."""
        return replace(self, work=Work(self.id, failure, (On(Event, _fail, None),), NOBODY, self.lane))


async def _fail(failure: Exception, _tx: Tx) -> None:
    raise failure


def unread(partition: Partition, record: Record) -> Received:
    """A record whose meaning nobody has looked at."""
    return Received(partition, record.offset, _text(record.key or b""), record.headers, record.value)


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key.decode(errors="backslashreplace")


class _Listed(NamedTuple):
    type: str
    rows: tuple[On, ...]
    validate: Callable[[bytes], Event]


class Listens:
    """What a service listens to: the rows of its table, by topic and type."""

    def __init__(self, rows: Iterable[On]) -> None:
        """Take the table's rows of events."""
        self._listed: dict[str, dict[bytes, _Listed]] = {}
        for row in rows:
            event = cast("type[Event]", row.subject)
            listed = self._listed.setdefault(event.TOPIC, {})
            before = listed.get(event.TYPE.encode())
            rows_ = (*before.rows, row) if before else (row,)
            listed[event.TYPE.encode()] = _Listed(event.TYPE, rows_, event.__pydantic_validator__.validate_json)

    @property
    def topics(self) -> frozenset[str]:
        """The topics to subscribe to, without namespace."""
        return frozenset(self._listed)

    def read(self, partition: Partition, record: Record) -> Received:
        """Read a record as it comes from Kafka. Never fails: what cannot be read becomes a record that does."""
        return self.understand(unread(partition, record), record.key or b"")

    def understand(self, received: Received, key: bytes) -> Received:
        """Decide what `received` means to this service; `key` is the record's own."""
        listed = self._listed.get(received.partition.topic, {})
        headers = dict(received.headers)
        type_ = headers.get("ce_type") or b""
        try:
            if one := listed.get(type_):
                received.type = one.type
                received.work = _usual(received, headers, key, one) or _work(received, key, one.rows, listed)
            else:
                received.type = _known(type_)
                _refuse_unless_strange(received, type_, listed)
        except (Undecodable, UnknownType, UnknownVersion) as failure:
            return received.failing(failure)
        except Exception as failure:  # noqa: BLE001 - whatever bytes can do to a decoder, the record is parked for it
            return received.failing(Undecodable(repr(failure)))
        return received


def _usual(received: Received, headers: Mapping[str, bytes], key: bytes, one: _Listed) -> Work | None:
    """What `_work` makes of a message as our own relays send it, at half the price; None of any other, bad ones too."""
    value = received.value
    if value is None or len(headers) != len(received.headers) or "ce_versions" in headers:
        return None
    try:
        id_, correlation_id, source, subject = _TEXTS(headers)
        time, traceparent = headers["ce_time"], headers.get("traceparent", b"")
        texts = b"".join((id_, correlation_id, source, subject, traceparent, headers.get("ce_causationid", b"")))
        event = one.validate(value)
        at = datetime.fromisoformat(time.decode())
        usual = (
            _CONSTANTS(headers) == (b"1.0", b"application/json")
            and headers["ce_partitionkey"] == key == event.key.encode()
            and len(time) == TIME_BYTES
            and at.tzinfo is UTC
            and len(texts) <= ATTRIBUTE_BYTES_MAX
            and texts.isascii()
            and not (b"NaN" in value or b"Infinity" in value)
        )
    except (KeyError, TypeError, ValueError):
        return None
    if not (usual and id_ and correlation_id and source and subject):
        return None
    name = id_.decode()
    cause = Cause(at, correlation_id.decode(), name, traceparent.decode() or None)
    return Work(name, event, one.rows, cause, received.lane)


def _work(received: Received, key: bytes, rows: tuple[On, ...], listed: Mapping[bytes, _Listed]) -> Work | None:
    meta = meta_of(received.headers)
    if meta.versions and meta.type != _highest(meta.versions, listed):
        return None
    event = event_of(meta, received.value, key)
    cause = Cause(meta.time, meta.correlation_id, meta.id, meta.traceparent)
    return Work(meta.id, event, rows, cause, received.lane)


def _refuse_unless_strange(received: Received, type_: bytes, listed: Mapping[bytes, _Listed]) -> None:
    """Let pass what nobody here listens to, but not a new version of what somebody does, nor what says nothing."""
    if not type_:
        raise Undecodable("ce_type is missing")
    stem = type_.rpartition(b".v")[0]
    if not any(known.rpartition(b".v")[0] == stem for known in listed):
        return
    versions = meta_of(received.headers).versions
    if _highest(versions, listed) is None:
        raise UnknownVersion(type_.decode(errors="replace"))


def _highest(versions: tuple[str, ...], listed: Mapping[bytes, _Listed]) -> str | None:
    """The highest of the versions published side by side that is listened to."""
    known = [version for version in versions if version.encode() in listed]
    return max(known, key=lambda version: int(version.rpartition(".v")[2]), default=None)


def _known(type_: bytes) -> str:
    name = type_.decode(errors="replace")
    return name if name in REGISTRY else UNKNOWN
