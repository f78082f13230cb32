"""Whatever is published reads back, and whatever else arrives is refused with a reason and nothing worse."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import (
    REGISTRY,
    Event,
    EventAttributes,
    Message,
    Undecodable,
    UnknownType,
    UnknownVersion,
    ViewerBlockedV1,
    attributes_of,
    event_of,
    to_message,
)

A, B = "a" * 24, "b" * 24
BLOCKED = ViewerBlockedV1(streamer_id=A, viewer_id=B)
META = EventAttributes(
    id="c" * 24,
    type="viewer.blocked.v1",
    source="/footlights/sessions",
    subject=B,
    time=datetime(2026, 11, 21, 12, 0, 0, 123_000, UTC),
    partition_key=A,
    correlation_id="request-1",
    causation_id="d" * 24,
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    versions=("viewer.blocked.v1", "viewer.blocked.v2"),
)
MESSAGE = to_message(BLOCKED, META)

INSTANTS = st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - hypothesis adds it
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
IDS = st.from_regex(r"[!-~]{1,200}", fullmatch=True)


def values_of(  # noqa: C901, PLR0911, PLR0912 - a line a keyword reads best
    schema: dict[str, Any], root: dict[str, Any]
) -> st.SearchStrategy[Any]:
    """Everything that a schema of ours allows, as JSON."""
    match schema:
        case {"$ref": reference}:
            return values_of(root["$defs"][reference.removeprefix("#/$defs/")], root)
        case {"anyOf": choices}:
            return st.one_of([values_of(choice, root) for choice in choices])
        case {"const": only}:
            return st.just(only)
        case {"enum": choices}:
            return st.sampled_from(choices)
        case {"type": "null"}:
            return st.none()
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer", "minimum": least, "maximum": most}:
            return st.integers(least, most)
        case {"type": "string", "format": "date-time"}:
            return INSTANTS.map(lambda moment: moment.isoformat())
        case {"type": "string", "pattern": pattern}:
            return st.from_regex(pattern, fullmatch=True)
        case {"type": "string"}:
            return st.text(min_size=schema["minLength"], max_size=schema["maxLength"])
        case {"type": "array"}:
            return st.lists(values_of(schema["items"], root), max_size=min(schema["maxItems"], 3))
        case {"type": "object", "properties": fields}:
            must = {
                name: values_of(field, root) for name, field in fields.items() if name in schema.get("required", ())
            }
            may = {name: values_of(field, root) for name, field in fields.items() if name not in must}
            return st.fixed_dictionaries(must, optional=may)
        case _:
            raise NotImplementedError(schema)


@st.composite
def events(draw: st.DrawFn) -> Event:
    event = REGISTRY[draw(st.sampled_from(sorted(REGISTRY)))]
    schema = event.model_json_schema()
    return event.model_validate_json(json.dumps(draw(values_of(schema, schema))))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(event=events(), time=INSTANTS, id_=IDS, cause=st.none() | IDS, versions=st.booleans())
def test_what_is_written_reads_back(  # one argument a part of the envelope
    event: Event, time: datetime, id_: str, cause: str | None, *, versions: bool
) -> None:
    attributes = EventAttributes(
        id=id_,
        type=event.TYPE,
        source=f"/footlights/{event.TOPIC}",
        subject=event.subject,
        time=time,
        partition_key=event.key,
        correlation_id=id_,
        causation_id=cause,
        traceparent=None,
        versions=(event.TYPE,) if versions else (),
    )

    message = to_message(event, attributes)

    assert attributes_of(message.headers) == attributes
    assert event_of(attributes, message.value, message.key) == event
    assert len(message.value) < 64 * 1024


def test_the_headers_are_those_of_cloudevents_in_binary_mode() -> None:
    assert dict(MESSAGE.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"c" * 24,
        "ce_type": b"viewer.blocked.v1",
        "ce_source": b"/footlights/sessions",
        "ce_subject": b"b" * 24,
        "ce_time": b"2026-11-21T12:00:00.123Z",
        "ce_partitionkey": b"a" * 24,
        "ce_correlationid": b"request-1",
        "ce_causationid": b"d" * 24,
        "ce_versions": b"viewer.blocked.v1,viewer.blocked.v2",
        "traceparent": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "content-type": b"application/json",
    }
    assert (MESSAGE.topic, MESSAGE.key) == ("sessions", b"a" * 24)


@pytest.mark.parametrize(
    "attributes",
    [
        META._replace(type="viewer.unblocked.v1"),
        META._replace(subject=A),
        META._replace(partition_key=B),
        META._replace(time=META.time.astimezone(timezone(timedelta(hours=8)))),
        META._replace(time=META.time.replace(tzinfo=None)),
    ],
)
def test_an_event_is_not_written_with_attributes_that_are_not_its_own(attributes: EventAttributes) -> None:
    with pytest.raises(ValueError, match=r"do not fit|not in UTC"):
        to_message(BLOCKED, attributes)


def headers(**changes: bytes | None) -> list[tuple[str, bytes | None]]:
    """The headers of a good message with some changed, or left out where None."""
    changed: dict[str, bytes | None] = {**dict(MESSAGE.headers), **changes}
    return [(name, value) for name, value in changed.items() if value is not None]


@pytest.mark.parametrize("name", sorted({name for name, _ in MESSAGE.headers}))
def test_a_header_is_required_unless_it_may_be_left_out(name: str) -> None:
    given_ = [(header, value) for header, value in MESSAGE.headers if header != name]

    if name in {"ce_causationid", "traceparent", "ce_versions"}:
        assert attributes_of(given_).id == META.id
    else:
        with pytest.raises(Undecodable, match=f"{name} is missing"):
            attributes_of(given_)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ce_specversion": b"0.3"}, "ce_specversion is not 1.0"),
        ({"ce_id": b""}, "ce_id is missing"),
        ({"ce_id": b"\xff"}, "ce_id is not UTF-8"),
        ({"ce_id": b"x" * 513}, "ce_id is longer"),
        ({"ce_time": b"yesterday"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"1745914628"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-11-21T12:00:00"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"2026-11-21 12:00:00Z"}, "ce_time is not RFC 3339"),
        ({"ce_time": b"0001-01-01T00:00:00+14:00"}, "ce_time is not RFC 3339"),
        ({"content-type": b"text/plain"}, "content-type is not application/json"),
    ],
)
def test_a_malformed_header_is_refused(changes: dict[str, bytes], reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        attributes_of(headers(**changes))


def test_headers_may_be_null_foreign_or_say_their_charset() -> None:
    assert (
        attributes_of([*headers(**{"content-type": b"application/json; charset=utf-8"}), ("x-other", b"\xff")]) == META
    )

    with pytest.raises(Undecodable, match="ce_id is missing"):
        attributes_of([*headers(ce_id=None), ("ce_id", None)])
    with pytest.raises(Undecodable):
        attributes_of([])


def test_a_header_that_is_there_twice_is_refused() -> None:
    with pytest.raises(Undecodable, match="ce_id is there twice"):
        attributes_of([*MESSAGE.headers, ("ce_id", b"another")])


@pytest.mark.parametrize("text", [b"2026-11-21T12:00:00.123Z", b"2026-11-21T12:00:00.123999+00:00"])
def test_a_time_in_utc_is_read_to_the_millisecond(text: bytes) -> None:
    assert attributes_of(headers(ce_time=text)) == META


GOOD = MESSAGE.value.decode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + MESSAGE.value,
        b"nonsense",
        b"null",
        b"[]",
        b"{}",
        b"NaN",
        MESSAGE.value[:-1],
        MESSAGE.value + b"}",
        b"[" * 100_000,
        GOOD.replace(B, B.upper()).encode(),
        GOOD.replace(B, B + "0").encode(),
        GOOD.replace(f'"{B}"', "null").encode(),
        GOOD.replace(f'"{B}"', "9" * 5_000).encode(),
        GOOD.replace(f'"{B}"', '{"$ne": null}').encode(),
        GOOD.replace(B, "\\ud800").encode(),
        GOOD.replace("}", ',"extra":NaN}').encode(),
        GOOD.replace("}", ',"extra":-Infinity}').encode(),
        GOOD.replace("}", f',"extra":{"9" * 50_000}}}').encode(),
    ],
)
def test_a_value_that_is_not_the_data_is_undecodable(value: bytes | None) -> None:
    with pytest.raises(Undecodable) as refused:
        event_of(META, value, MESSAGE.key)

    assert 0 < len(refused.value.reason) < 500


def test_fields_unknown_here_are_ignored_even_when_they_speak_of_nan() -> None:
    assert event_of(META, GOOD.replace("}", ',"extra":"NaN","more":1e400}').encode(), MESSAGE.key) == BLOCKED


def test_the_reason_names_the_field_and_never_repeats_the_data() -> None:
    with pytest.raises(Undecodable) as refused:
        event_of(META, GOOD.replace(B, "secret").encode())

    assert refused.value.reason.startswith("viewer_id: ")
    assert "secret" not in refused.value.reason
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("attributes", "key"), [(META, B.encode()), (META, b""), (META, b"\xff"), (META._replace(partition_key=B), None)]
)
def test_a_key_that_is_not_the_datas_is_undecodable(attributes: EventAttributes, key: bytes | None) -> None:
    with pytest.raises(Undecodable, match="the key is not the data's streamer_id"):
        event_of(attributes, MESSAGE.value, key)


def test_a_key_that_is_not_given_is_not_compared() -> None:
    assert event_of(META, MESSAGE.value) == BLOCKED


def test_another_version_of_a_known_event_is_told_from_an_event_nobody_knows() -> None:
    with pytest.raises(UnknownVersion, match=r"viewer\.blocked\.v2") as version:
        event_of(META._replace(type="viewer.blocked.v2"), b"whatever")
    assert version.value.type == "viewer.blocked.v2"

    for type_ in ("viewer.praised.v1", "viewer.v1", "viewer.blocked", "viewer.blocked.vx", "viewer.blocked.v2\n", "*"):
        with pytest.raises(UnknownType) as unknown:
            event_of(META._replace(type=type_), b"whatever")
        assert unknown.value.type == type_


@settings(max_examples=500, deadline=None)
@given(value=st.binary(max_size=200), given_=st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=40))))
def test_no_bytes_raise_anything_but_undecodable(value: bytes, given_: list[tuple[str, bytes]]) -> None:
    for read in (
        lambda: event_of(META, value, MESSAGE.key),
        lambda: attributes_of(given_),
        lambda: attributes_of(mixed(given_)),
    ):
        with pytest.raises(Undecodable):
            read()


def mixed(given_: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """A good message's headers, one of them overwritten by noise."""
    return [
        *((name, value) for name, value in MESSAGE.headers if name != "ce_time"),
        *given_,
        ("ce_time", given_[0][1] if given_ else b"noise"),
    ]


def test_a_message_can_be_sent_as_it_is() -> None:
    assert isinstance(MESSAGE, Message)
    assert all(isinstance(value, bytes) for _, value in MESSAGE.headers)
