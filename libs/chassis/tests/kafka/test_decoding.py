"""From bytes to work: what is handled, what is passed over, what is parked."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis import ids
from chassis.cause import Cause
from chassis.kafka.decoding import KEY_BYTES_MAX, Partition, Subscriptions
from chassis.service import on
from chassis.storage.tx import Tx
from chassis_testing.service import KafkaRecord
from contracts import REGISTRY, Event, EventAttributes, Undecodable, UnknownVersion, ViewerBlockedV1, to_message

PARTITION = Partition("sessions", 3)


async def handle(_event: Event, _tx: Tx) -> None: ...


SUBSCRIPTIONS = Subscriptions((on(ViewerBlockedV1, handle),))


@pytest.fixture
def blocked_v2() -> Iterator[type[ViewerBlockedV1]]:
    """The next version of an event, as it will come one day."""

    class ViewerBlockedV2(
        ViewerBlockedV1, type="viewer.blocked.v2", topic="sessions", key="streamer_id", subject="viewer_id"
    ):
        since: int = 0

    yield ViewerBlockedV2
    del REGISTRY[ViewerBlockedV2.TYPE]


def record(event: Event | None = None, *versions: str) -> KafkaRecord:
    event = event or ViewerBlockedV1(streamer_id=ids.new_id(), viewer_id=ids.new_id())
    attributes = EventAttributes(
        id=ids.new_id(), type=event.TYPE, source="/footlights/tests", subject=event.subject,
        time=datetime(2026, 1, 31, 20, 0, 0, 123_000, UTC), partition_key=event.key, correlation_id=ids.new_id(),
        causation_id=ids.new_id(), traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01", versions=versions,
    )  # fmt: skip
    message = to_message(event, attributes)
    return KafkaRecord.of(7, message)


def changed(given: KafkaRecord, **headers: bytes) -> KafkaRecord:
    names = {name.replace("_", "-") if name == "content_type" else name: value for name, value in headers.items()}
    return replace(given, headers=[(name, names.get(name, value)) for name, value in given.headers])


def failure(given: KafkaRecord) -> Exception:
    read = SUBSCRIPTIONS.decode(PARTITION, given)
    assert read.fails
    assert read.work is not None
    reason: Exception = read.work.subject
    return reason


def test_a_message_of_a_relay_is_read_with_its_cause_and_its_ordering_key() -> None:
    given = record()
    read = SUBSCRIPTIONS.decode(PARTITION, given)

    headers = dict(given.headers)
    assert read.work is not None
    assert not read.fails
    assert read.work.id == f"/footlights/tests {headers['ce_id'].decode()}"
    assert read.work.cause == Cause(
        datetime(2026, 1, 31, 20, 0, 0, 123_000, UTC),
        headers["ce_correlationid"].decode(),
        headers["ce_id"].decode(),
        headers["traceparent"].decode(),
        origin=f"{headers['ce_source'].decode()} {headers['ce_id'].decode()}",
    )
    assert (read.id, read.ordering_key) == ("sessions:3:7", f"sessions:{read.key}")


@pytest.mark.parametrize(
    ("headers", "time"),
    [
        ({"ce_time": b"2026-01-31T20:00:00Z"}, datetime(2026, 1, 31, 20, tzinfo=UTC)),
        ({"ce_time": b"2026-01-31T20:00:00.123456Z"}, datetime(2026, 1, 31, 20, 0, 0, 123_000, UTC)),
        ({"content_type": b"application/json; charset=utf-8"}, datetime(2026, 1, 31, 20, 0, 0, 123_000, UTC)),
        ({"content_type": b"Application/JSON"}, datetime(2026, 1, 31, 20, 0, 0, 123_000, UTC)),
        ({"content_type": b" APPLICATION/json ;x=1"}, datetime(2026, 1, 31, 20, 0, 0, 123_000, UTC)),
        ({"ce_time": b"2026-01-31t20:00:00.1z"}, datetime(2026, 1, 31, 20, 0, 0, 100_000, UTC)),
        ({"ce_time": b"2026-01-31T20:00:00.123456789123Z"}, datetime(2026, 1, 31, 20, 0, 0, 123_000, UTC)),
        ({"ce_time": b"2026-02-01T04:00:00.123+08:00"}, datetime(2026, 1, 31, 20, 0, 0, 123_000, UTC)),
        ({"ce_time": b"2026-01-31T20:00:00-00:00"}, datetime(2026, 1, 31, 20, tzinfo=UTC)),
        ({"ce_time": b"2026-12-31T23:59:60Z"}, datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_is_valid_but_unusual_is_read_exactly(headers: dict[str, bytes], time: datetime) -> None:
    read = SUBSCRIPTIONS.decode(PARTITION, changed(record(), **headers))

    assert read.work is not None
    assert not read.fails
    assert read.work.cause.at == time


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"ce_id": b""}, "ce_id is missing"),
        ({"ce_id": b"\xff"}, "ce_id is not UTF-8"),
        ({"ce_source": b"a" * 600}, "ce_source is longer than 512 bytes"),
        ({"ce_subject": b""}, "ce_subject is missing"),
        ({"ce_specversion": b"0.3"}, "ce_specversion is not 1.0"),
        ({"ce_time": b"2026-01-31T20:00:00.123"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-01-31 20:00:00.123Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-01-31T20:00:00,123Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-W05-6T20:00:00.123Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"20260131T200000.123Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-01-31T20Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-01-31T20:00Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-01-31T20:00:00+0800"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-01-31T20:00:00+08"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-01-31T20:00:00+25:00"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-02-30T20:00:00.123Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-01-31T24:00:00.123Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-01-31T20:00:61.123Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"0000-01-31T20:00:00.123Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"0001-01-01T00:00:00+08:00"}, "ce_time is not RFC 3339"),
        ({"ce_time": "\uff1226-01-31T20:00:00.123Z".encode()}, "ce_time is not RFC 3339"),
        ({"traceparent": b"\xff"}, "traceparent is not UTF-8"),
        ({"content_type": b"text/plain"}, "content-type is not application/json"),
    ],
)
def test_bad_headers_are_told_by_name(headers: dict[str, bytes], reason: str) -> None:
    told = failure(changed(record(), **headers))

    assert isinstance(told, Undecodable)
    assert told.reason == reason


@pytest.mark.parametrize("number", range(11))
def test_whatever_a_header_is_it_is_that_records_fault(number: int) -> None:
    given = record()
    headers: list[Any] = list(given.headers)
    headers[number] = (headers[number][0], None)

    read = SUBSCRIPTIONS.decode(PARTITION, replace(given, headers=headers))

    needed = headers[number][0] not in ("ce_causationid", "traceparent")
    assert read.fails == needed
    if needed:
        assert read.work is not None
        assert read.work.subject.reason == f"{headers[number][0]} is missing"


@pytest.mark.parametrize("headers", [[("ce_type", None)], [("ce_type", b"viewer.blocked.v2"), ("x", None)], []])
@pytest.mark.parametrize("value", [None, b"", b"\xff", b"null", b"[]"])
@pytest.mark.parametrize("key", [None, b"", b"\xff" * 9, b"k" * 1_000_000])
def test_no_record_can_end_a_worker(headers: list[Any], value: bytes | None, key: bytes | None) -> None:
    read = SUBSCRIPTIONS.decode(PARTITION, replace(record(), headers=headers, value=value, key=key))

    assert read.fails
    assert len(read.key) <= 4 * KEY_BYTES_MAX


def test_a_long_key_is_known_by_its_hash() -> None:
    one, same, other = (
        SUBSCRIPTIONS.decode(PARTITION, replace(record(), key=key)).ordering_key
        for key in (b"k" * 200, b"k" * 200, b"k" * 199)
    )

    assert one == same
    assert one != other
    assert len(one) < KEY_BYTES_MAX


def test_an_id_is_an_id_within_its_source_only() -> None:
    given = record()
    ours, again = SUBSCRIPTIONS.decode(PARTITION, given), SUBSCRIPTIONS.decode(PARTITION, given)
    others = SUBSCRIPTIONS.decode(PARTITION, changed(given, ce_source=b"/somebody/else"))

    assert ours.work is not None
    assert again.work is not None
    assert others.work is not None
    assert ours.work.id == again.work.id
    assert ours.work.id != others.work.id
    assert ours.work.cause.event_id == others.work.cause.event_id


@pytest.mark.parametrize("type_", [b"viewer.blocked.v1", b""])
def test_a_name_of_a_header_that_was_not_utf8_is_told_first(type_: bytes) -> None:
    told = failure(with_a_bad_name(changed(record(), ce_type=type_)))

    assert isinstance(told, Undecodable)
    assert told.reason == "the name of a header is not UTF-8: \N{REPLACEMENT CHARACTER}agent"


def test_a_name_of_a_header_is_nobodys_business_in_a_type_that_nobody_here_listens_to() -> None:
    assert SUBSCRIPTIONS.decode(PARTITION, with_a_bad_name(changed(record(), ce_type=b"made.up.v1"))).work is None


def with_a_bad_name(given: KafkaRecord) -> KafkaRecord:
    return replace(given, headers=[*given.headers, ("\N{REPLACEMENT CHARACTER}agent", b"1")])


def test_types_that_nobody_here_listens_to_are_passed_over_undecoded() -> None:
    strange = replace(changed(record(), ce_type=b"made.up.v1", ce_time=b"nonsense"), value=b"\xff")
    read = SUBSCRIPTIONS.decode(PARTITION, strange)

    assert (read.work, read.type) == (None, "unknown")
    assert SUBSCRIPTIONS.decode(Partition("goals", 0), record()).work is None  # its topic is sessions


def test_a_version_that_is_not_known_yet_is_not_passed_over(blocked_v2: type[ViewerBlockedV1]) -> None:
    event = blocked_v2(streamer_id=ids.new_id(), viewer_id=ids.new_id())

    assert isinstance(failure(record(event)), UnknownVersion)


def test_of_versions_side_by_side_the_highest_known_one_is_handled(blocked_v2: type[ViewerBlockedV1]) -> None:
    versions = ("viewer.blocked.v1", "viewer.blocked.v2")
    old = record(None, *versions)
    new = record(blocked_v2(streamer_id=ids.new_id(), viewer_id=ids.new_id()), *versions)
    both = Subscriptions((on(ViewerBlockedV1, handle), on(blocked_v2, handle)))

    assert [SUBSCRIPTIONS.decode(PARTITION, one).work is not None for one in (old, new)] == [True, False]
    assert [both.decode(PARTITION, one).work is not None for one in (old, new)] == [False, True]
