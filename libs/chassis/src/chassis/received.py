"""From the bytes of a Kafka record to something that can be handled: once, for however many attempts."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import attrgetter
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

NO_TEXT = "\N{REPLACEMENT CHARACTER}"
"""What stands in the name of a header for bytes that are not UTF-8."""

_USUAL_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

KEY_BYTES_MAX = 100  # keys of ours are ids; of a longer one, which nobody of us can have sent, its hash is enough

_ALWAYS = ("specversion", "id", "type", "source", "subject", "time", "partitionkey", "correlationid")
_USUAL = {
    (*(f"ce_{name}" for name in _ALWAYS), *sometimes, "content-type"): "traceparent" in sometimes
    for sometimes in ((), ("ce_causationid",), ("traceparent",), ("ce_causationid", "traceparent"))
}
"""The headers of a message as our own relays send it, in their order, and whether it is traced."""

Headers = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """What aiokafka brings. Only the names of headers are decoded (`records.py`): a bad record would come for ever."""

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
    listed: bool = False
    """Whether the service listens to its type, in this version or another."""
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
    """A key as parked messages are found by: short, as many of them stand in one query."""
    if len(key) > KEY_BYTES_MAX:
        return f"sha256:{hashlib.sha256(key).hexdigest()}"
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key.decode(errors="backslashreplace")


class _Listed(NamedTuple):
    type: str
    rows: tuple[On, ...]
    validate: Callable[[bytes], Event]
    key: Callable[[Event], str]


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
            validate = event.__pydantic_validator__.validate_json  # at half the price of model_validate_json
            listed[event.TYPE.encode()] = _Listed(event.TYPE, rows_, validate, attrgetter(event.KEY))

    @property
    def topics(self) -> frozenset[str]:
        """The topics to subscribe to, without namespace."""
        return frozenset(self._listed)

    def read(self, partition: Partition, record: Record) -> Received:
        """Read a record as it comes from Kafka. Never fails: what cannot be read becomes a record that does."""
        with suppress(Exception):  # whatever a strange record does here, it is read with all care below
            if usual := self._usual(partition, record):
                return usual
        return self.understand(unread(partition, record), record.key or b"")

    def _usual(self, partition: Partition, record: Record) -> Received | None:
        """What `understand` makes of a message as our own relays send it, at half the price; of any other None, or
        an exception of some kind.
        """
        names, values = zip(*record.headers, strict=True)
        traced = _USUAL[names]
        specversion, name, type_, source, _, time, partition_key, correlation_id = values[:8]
        one = self._listed[partition.topic][type_]
        value = record.value
        event = one.validate(value)  # type: ignore[arg-type]  # a TypeError for None
        at = datetime.fromisoformat(time.decode())
        key, id_ = partition_key.decode(), name.decode()
        texts = b"".join(values)
        usual = (
            specversion == b"1.0"
            and values[-1] == b"application/json"
            and partition_key == record.key
            and key == one.key(event)
            and _USUAL_TIME.fullmatch(time)
            and len(partition_key) <= KEY_BYTES_MAX
            and len(texts) <= ATTRIBUTE_BYTES_MAX
            and texts.isascii()
            and all(values)
            and not (b"NaN" in value or b"Infinity" in value)  # type: ignore[operator]  # as above
        )
        if not usual:
            return None
        cause = Cause(at, correlation_id.decode(), id_, values[-2].decode() if traced else None)
        work = Work(_identity(source.decode(), id_), event, one.rows, cause, f"{partition.topic}:{key}")
        return Received(partition, record.offset, key, record.headers, value, one.type, listed=True, work=work)

    def understand(self, received: Received, key: bytes) -> Received:
        """Decide what `received` means to this service; `key` is the record's own."""
        try:
            listed = self._listed.get(received.partition.topic, {})
            type_ = dict(received.headers).get("ce_type") or b""
            if one := listed.get(type_):
                received.type = one.type
                received.listed = True
                _refuse_unless_text(received.headers)
                received.work = _work(received, key, one.rows, listed)
            else:
                received.type = _known(type_)
                received.listed = _is_version(type_, listed)
                _refuse_unless_strange(received, type_, listed)
        except (Undecodable, UnknownType, UnknownVersion) as failure:
            return received.failing(failure)
        except Exception as failure:  # noqa: BLE001 - whatever bytes can do to a decoder, the record is parked for it
            return received.failing(Undecodable(repr(failure)))
        return received


def _work(received: Received, key: bytes, rows: tuple[On, ...], listed: Mapping[bytes, _Listed]) -> Work | None:
    meta = meta_of(received.headers)
    if meta.versions and meta.type != _highest(meta.versions, listed):
        return None
    event = event_of(meta, received.value, key)
    cause = Cause(meta.time, meta.correlation_id, meta.id, meta.traceparent)
    return Work(_identity(meta.source, meta.id), event, rows, cause, received.lane)


def _identity(source: str, id_: str) -> str:
    """What no two events share (CloudEvents): an id is unique within its source, which as a URI has no blank."""
    return f"{source} {id_}"


def _refuse_unless_strange(received: Received, type_: bytes, listed: Mapping[bytes, _Listed]) -> None:
    """Let pass what nobody here listens to, but not a new version of what somebody does, nor what says nothing."""
    if not type_:
        _refuse_unless_text(received.headers)
        raise Undecodable("ce_type is missing")
    if not received.listed:
        return
    versions = meta_of(received.headers).versions
    if _highest(versions, listed) is None:
        raise UnknownVersion(type_.decode(errors="replace"))


def _is_version(type_: bytes, listed: Mapping[bytes, _Listed]) -> bool:
    """Whether it is another version of what somebody here listens to."""
    stem = type_.rpartition(b".v")[0]
    return any(known.rpartition(b".v")[0] == stem for known in listed)


def _refuse_unless_text(headers: Headers) -> None:
    for name, _ in headers:
        if NO_TEXT in name:
            raise Undecodable(f"the name of a header is not UTF-8: {name}")


def _highest(versions: tuple[str, ...], listed: Mapping[bytes, _Listed]) -> str | None:
    """The highest of the versions published side by side that is listened to."""
    known = [version for version in versions if version.encode() in listed]
    return max(known, key=lambda version: int(version.rpartition(".v")[2]), default=None)


def _known(type_: bytes) -> str:
    name = type_.decode(errors="replace")
    return name if name in REGISTRY else UNKNOWN
