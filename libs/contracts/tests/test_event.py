"""The class line is the contract."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from contracts import REGISTRY, Event, GoalLapsedV1, ObjectIdStr, SessionEvent, Statuses, ViewerBlockedV1

A, B, C = "a" * 24, "b" * 24, "c" * 24
NOON = datetime(2026, 11, 21, 12, 0, 0, 123_000, UTC)
EVENTS = sorted(REGISTRY.values(), key=lambda event: event.TYPE)


def test_two_classes_cannot_claim_one_type() -> None:
    with pytest.raises(TypeError, match=r"goal\.lapsed\.v1 is claimed by GoalLapsedV1 and by"):

        class GoalGoneV1(SessionEvent, type="goal.lapsed.v1", topic="goals", key="session_id", subject="session_id"):
            """Claims what is taken."""

    assert REGISTRY["goal.lapsed.v1"] is GoalLapsedV1


def test_key_and_subject_must_be_fields() -> None:
    with pytest.raises(TypeError, match="has no field goal_id"):

        class LostV1(Event, type="planted.lost.v1", topic="goals", key="session_id", subject="goal_id"):
            """Has no goal."""

            session_id: ObjectIdStr

    assert "planted.lost.v1" not in REGISTRY


def test_a_class_without_a_type_is_a_base_and_not_registered() -> None:
    assert SessionEvent not in REGISTRY.values()


def test_key_and_subject_are_the_values_of_their_fields() -> None:
    blocked = ViewerBlockedV1(streamer_id=A, viewer_id=B)

    assert (blocked.key, blocked.subject) == (A, B)


def test_an_event_cannot_be_changed() -> None:
    blocked = ViewerBlockedV1(streamer_id=A, viewer_id=B)

    with pytest.raises(ValidationError, match="frozen"):
        blocked.viewer_id = C  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 21, 12),  # noqa: DTZ001 - what the test is about
        NOON.astimezone(timezone(timedelta(hours=8))),
    ],
)
def test_an_instant_that_is_not_utc_is_refused(moment: datetime) -> None:
    with pytest.raises(ValidationError):
        Statuses(created=moment, ended=None)


def test_an_instant_travels_with_milliseconds_and_a_null_stays_null() -> None:
    written = Statuses(created=NOON.replace(microsecond=123_999), ended=None).model_dump_json(exclude_defaults=True)

    assert written == '{"created":"2026-11-21T12:00:00.123Z","ended":null}'


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_the_class_is_named_like_its_type(event: type[Event]) -> None:
    name, _, version = event.TYPE.rpartition(".")

    assert event.__name__ == "".join(part.title() for part in name.replace(".", "_").split("_")) + version.upper()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_an_event_is_keyed_by_its_session_or_else_by_a_user(event: type[Event]) -> None:
    if "session_id" in event.model_fields:
        assert event.KEY == "session_id"
        assert "streamer_id" in event.model_fields
    else:
        assert event.KEY in {"user_id", "streamer_id"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_an_event_says_what_it_promises(event: type[Event]) -> None:
    assert "__doc__" in vars(event)
    assert event.__doc__


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_an_optional_field_defaults_to_none_so_that_leaving_it_off_the_wire_is_right(event: type[Event]) -> None:
    schema = event.model_json_schema()
    models = [schema, *schema.get("$defs", {}).values()]

    assert {field.get("default") for model in models for field in model["properties"].values()} == {None}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_no_list_grows_with_the_audience(event: type[Event]) -> None:
    assert all(array.get("maxItems", 10**9) <= 100 for array in arrays(event.model_json_schema()))


def arrays(schema: Any) -> Iterator[dict[str, Any]]:
    """Find every list in a schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from arrays(item)
    if isinstance(schema, dict):
        if schema.get("type") == "array":
            yield schema
        for value in schema.values():
            yield from arrays(value)
