"""SPEC §6, row by row and both ways; what a push is made of; who is entitled."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts import (
    REGISTRY,
    EscrowCompletedV1,
    EscrowFailedV1,
    Event,
    GiftFailedV1,
    GiftSentV1,
    GoalEndedV1,
    GoalExtendedV1,
    GoalProgressedV1,
    GoalRejectedV1,
    OrderPaidV1,
    PassActivatedV1,
    PaymentFailedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
    WalletCreditedV1,
)
from contracts.goals import Conditions, Level
from notifier.domain import pushes
from notifier.domain.channels import Channel, user, watching
from notifier.domain.fields import shown
from notifier.domain.pushes import DATA_BYTES_MAX, KEPT, STALE, Audience, Part, Push, PushCause
from notifier.domain.table import TABLE, Row

An = Callable[..., Event]

NOW = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
S, V, G = "5" * 24, "7" * 24, "9" * 24  # a streamer, a viewer, a session
STAGE = {f"presence-stream@{S}", f"private-stream@{S}", f"private-user@{S}"}
PREVIEW, SD = f"presence-stream-viewer@{S}.preview.{V}", f"presence-stream-viewer@{S}.sd.{V}"

GOAL_KINDS = (
    "ShowFundingGoal", "ShowGoal", "TriggerExclusiveGoal", "ExclusiveGoal", "TriggerPrivateGoal", "KaraokeGoal",
)  # fmt: skip
EXCLUSIVE = Conditions(session_id=G, exclusive_to=V)
ANYBODY = Conditions(session_id=G)


def told(event: Event) -> dict[str, set[str]]:
    """What the table says of `event`: the channels by push."""
    rows = [row for row in TABLE if isinstance(event, row.event)]
    return {row.push: {channel.name for channel in row.to(event)} for row in rows if row.to(event)}


# -- SPEC §6 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GOAL_KINDS)
@pytest.mark.parametrize(("of", "push"), [(SessionGoalAddedV1, "goal.added"), (GoalEndedV1, "goal.ended")])
def test_every_goal_that_is_added_or_ends_is_told_to_the_stage_and_one_between_two_to_its_viewer_too(
    an: An, of: type[Event], push: str, kind: str
) -> None:
    event = an(of, streamer_id=S, kind=kind, conditions=EXCLUSIVE if "Exclusive" in kind else ANYBODY)

    assert told(event)[push] == STAGE | ({f"private-user@{V}"} if "Exclusive" in kind else set())


@pytest.mark.parametrize("kind", GOAL_KINDS)
def test_only_an_exclusive_that_ended_is_closed_for_both_its_people(an: An, kind: str) -> None:
    event = an(GoalEndedV1, streamer_id=S, kind=kind, conditions=EXCLUSIVE if "Exclusive" in kind else ANYBODY)

    closed = {f"private-user@{S}", f"private-user@{V}"} if kind == "ExclusiveGoal" else None

    assert told(event).get("exclusive.closed") == closed


@pytest.mark.parametrize("kind", GOAL_KINDS)
def test_progress_is_told_to_the_stage_and_that_of_a_goal_between_two_to_nobody(an: An, kind: str) -> None:
    event = an(GoalProgressedV1, streamer_id=S, kind=kind)

    assert told(event) == ({} if "Exclusive" in kind else {"goal.progress.updated": STAGE})


def test_an_extension_is_told_to_the_stage_and_to_its_viewer(an: An) -> None:
    event = an(GoalExtendedV1, streamer_id=S, viewers=(V,))

    assert told(event) == {"goal.extended": STAGE | {f"private-user@{V}"}}


@pytest.mark.parametrize(("of", "push"), [(SessionUpdatedV1, "session.updated"), (SessionEndedV1, "session.ended")])
def test_a_session_that_changes_is_told_to_all_who_watch(an: An, of: type[Event], push: str) -> None:
    assert told(an(of, streamer_id=S)) == {push: {f"presence-stream@{S}", f"private-stream@{S}"}}


@pytest.mark.parametrize(
    ("reason", "channels"),
    [
        ("agreed", {PREVIEW}),
        ("exclusive_ended", {PREVIEW}),
        ("extended", {SD}),
        ("paid", {PREVIEW, SD}),
        ("private", {PREVIEW, SD}),
        ("ticket", set()),  # while its show is on, which the table cannot know
        ("reason_of_tomorrow", set()),
    ],
)
def test_who_is_authorized_is_told_where_that_viewer_listens(an: An, reason: str, channels: set[str]) -> None:
    event = an(SessionViewerAuthorizedV1, streamer_id=S, viewer_id=V, reason=reason)

    assert told(event) == ({"stream.authorized": channels} if channels else {})


def test_who_is_revoked_is_told_on_both(an: An) -> None:
    assert told(an(SessionViewerRevokedV1, streamer_id=S, viewer_id=V)) == {"stream.revoked": {PREVIEW, SD}}


@pytest.mark.parametrize(
    ("of", "whose", "push"),
    [
        (GoalRejectedV1, "user_id", "goal.rejected"),
        (PaymentFailedV1, "payer_id", "payment.failed"),
        (PaymentReversedV1, "payer_id", "payment.reversed"),
        (EscrowFailedV1, "buyer_id", "escrow.failed"),
        (EscrowCompletedV1, "buyer_id", "escrow.completed"),
        (GiftFailedV1, "sender_id", "gift.failed"),
        (OrderPaidV1, "user_id", "order.paid"),
        (PassActivatedV1, "user_id", "pass.activated"),
    ],
)
def test_what_concerns_one_user_is_told_to_that_user_alone(an: An, of: type[Event], whose: str, push: str) -> None:
    assert told(an(of, **{whose: V})) == {push: {f"private-user@{V}"}}


def test_a_gift_is_told_to_all_who_watch_and_to_its_sender(an: An) -> None:
    event = an(GiftSentV1, streamer_id=S, sender_id=V)

    assert told(event) == {"gift.sent": {f"presence-stream@{S}", f"private-stream@{S}", f"private-user@{V}"}}


@pytest.mark.parametrize("of", [PaymentSucceededV1, WalletCreditedV1, SessionStartedV1])
def test_what_the_table_does_not_name_is_told_to_nobody(an: An, of: type[Event]) -> None:
    assert told(an(of)) == {}


def test_what_no_table_knows_yet_is_carried(an: An) -> None:
    added = an(SessionGoalAddedV1, streamer_id=S, kind="GoalOfTomorrow", conditions=ANYBODY)
    between_two = an(SessionGoalAddedV1, streamer_id=S, kind="GoalOfTomorrow", conditions=EXCLUSIVE)
    failed = an(GiftFailedV1, sender_id=V, reason="reason_of_tomorrow")

    assert told(added) == {"goal.added": STAGE}
    assert not [part for part in parts_of(between_two) if V in json.dumps(part.data, default=str) and is_shared(part)]
    assert [part.data["reason"] for part in parts_of(failed)] == ["reason_of_tomorrow"]


def parts_of(event: Event) -> list[Part]:
    return [part for row in TABLE if isinstance(event, row.event) for part in row.parts(event)]


def is_shared(part: Part) -> bool:
    return any(not channel.is_kept for channel in part.channels)


def test_a_push_shows_what_was_named_and_nothing_else(an: An) -> None:
    event = an(GoalEndedV1, levels=(Level(title="t", target=3),), conditions=EXCLUSIVE)

    assert shown(event, ("outcome", "levels[].target", "conditions.exclusive_to", "context.gift_id")) == {
        "outcome": "agreed", "levels": ({"target": 3},), "conditions": {"exclusive_to": V}, "context": {},
    }  # fmt: skip


def test_only_news_of_a_running_goal_ends_with_it() -> None:
    assert {row.push for row in TABLE if row.until_ended} == {"goal.added", "goal.progress.updated"}


def test_every_deed_has_its_own_name() -> None:
    assert len({row.handler_name for row in TABLE}) == len(TABLE)


# -- what a push is made of --------------------------------------------------------------------------------------------


def pushed(event: Event, *channels: Channel, at: datetime = NOW, **seq: int) -> pushes.PushResult:
    audiences = {id_: Audience(id_, last) for id_, last in {S: seq.get("s"), V: seq.get("v")}.items() if last}
    names = tuple(name for row in TABLE if isinstance(event, row.event) for view in row.views for name in view.fields)
    return pushes.push("name", [Part(channels, shown(event, names))], audiences, PushCause("e1", at, NOW))


def data_of(result: pushes.PushResult) -> dict[str, Any]:
    [data] = {call.effect.data for call in result.calls if isinstance(call.effect, Push)}
    found: dict[str, Any] = json.loads(data)
    return found


def test_a_push_has_one_number_above_the_last_of_every_owner_it_goes_to(an: An) -> None:
    result = pushed(an(GoalEndedV1), *user(S, V), s=4, v=9)

    assert data_of(result)["seq"] == 10
    assert result.audiences == (Audience(S, 10), Audience(V, 10))


def test_the_first_push_to_anybody_has_number_one(an: An) -> None:
    assert data_of(pushed(an(GoalEndedV1), *watching(S)))["seq"] == 1


def test_the_copies_of_a_push_differ_in_their_channel_only_and_keep_its_order(an: An) -> None:
    result = pushed(an(GoalEndedV1), *watching(S))

    assert [call.key for call in result.calls] == [channel.name for channel in watching(S)]
    assert len({call.id for call in result.calls}) == 3
    assert len({call.effect.model_copy(update={"channel": ""}).model_dump_json() for call in result.calls}) == 1


def test_the_same_event_makes_the_same_push(an: An) -> None:
    assert pushed(an(GoalEndedV1), *watching(S)) == pushed(an(GoalEndedV1), *watching(S))


def test_two_pushes_of_one_event_on_one_channel_are_two() -> None:
    cause = PushCause("e1", NOW, NOW)

    assert cause.copy_id("goal.ended", user(S)[0]) != cause.copy_id("exclusive.closed", user(S)[0])


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.handler_name)
def test_data_is_what_is_shown_of_the_event_with_unix_times_and_its_id_time_and_number(an: An, row: Row[Any]) -> None:
    event = an(row.event)
    at = datetime(2026, 11, 21, 20, 1, 2, 123_000, tzinfo=UTC)

    data = data_of(pushed(event, *user(V), at=at))

    assert {name: data.pop(name) for name in ("event_id", "at", "seq")} == {
        "event_id": "e1", "at": 1_795_291_262.123, "seq": 1,
    }  # fmt: skip
    whole = _unix(event.model_dump(mode="json", exclude_defaults=True))
    assert data.items() <= _pruned(whole, data).items()


def _pruned(whole: Any, shown_: Any) -> Any:
    """What of `whole` stands in `shown_`."""
    match shown_:
        case dict():
            return {name: _pruned(whole[name], one) for name, one in shown_.items()}
        case list():
            return [_pruned(one, other) for one, other in zip(whole, shown_, strict=True)]
        case _:
            return whole


def _unix(value: Any) -> Any:
    match value:
        case dict():
            return {name: _unix(one) for name, one in value.items()}
        case list():
            return [_unix(one) for one in value]
        case str() if value.endswith("Z") and value[10:11] == "T":
            return datetime.fromisoformat(value).timestamp()
    return value


def test_no_event_has_a_field_that_a_push_adds() -> None:
    added = {"event_id", "at", "seq", "fetch"}

    assert not [of.TYPE for of in REGISTRY.values() if added & of.model_fields.keys()]


def test_what_is_too_long_for_pusher_is_replaced_by_where_to_fetch_it(an: An) -> None:
    paid = an(OrderPaidV1)
    assert isinstance(paid, OrderPaidV1)
    event = paid.model_copy(update={"items": paid.items * 40})

    result = pushed(event, *user(V), v=6)

    assert data_of(result) == {
        "event_id": "e1", "at": NOW.timestamp(), "seq": 7, "fetch": "/notifications?after=6&limit=1",
    }  # fmt: skip
    assert len(json.loads(result.notifications[0].data)["items"]) == 80


def test_a_goal_that_is_too_long_is_fetched_as_a_goal(an: An) -> None:
    event = an(GoalEndedV1, goal_id=G, levels=tuple(Level(title="é" * 100, target=1) for _ in range(60)))

    assert data_of(pushed(event, *watching(S)))["fetch"] == f"/goals/{G}"


def test_length_is_that_of_the_bytes_and_not_of_the_characters(an: An) -> None:
    def made(titles: list[str]) -> dict[str, Any]:
        return data_of(pushed(an(GoalEndedV1, levels=tuple(Level(title=t, target=1) for t in titles)), *watching(S)))

    plain = made(["a" * 100] * 60)
    assert len(json.dumps(plain)) < DATA_BYTES_MAX
    assert "fetch" not in plain
    assert "fetch" in made(["界" * 100] * 60)  # as many characters, thrice the bytes


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.until_ended or "stream" in row.push], ids=lambda r: r.handler_name
)
def test_what_goes_to_a_stream_is_never_longer_than_pusher_takes(an: An, row: Row[Any]) -> None:
    ten = tuple(Level(title="\x01" * 100, target=10**12) for _ in range(10))  # the longest that JSON can make of it
    event = an(row.event, **({"levels": ten} if "levels" in row.event.model_fields else {}))

    assert "fetch" not in data_of(pushed(event, *watching(S)))


def test_only_a_users_own_channel_keeps_a_push(an: An) -> None:
    result = pushed(an(GoalEndedV1), *watching(S))

    [kept] = result.notifications
    assert (kept.user_id, kept.seq, kept.name) == (S, 1, "name")
    assert json.loads(kept.data) == data_of(result)


def test_a_push_to_a_stream_is_stale_after_a_minute_and_one_to_a_user_when_it_is_kept_no_longer(an: An) -> None:
    at = NOW - timedelta(seconds=5)

    result = pushed(an(GoalEndedV1), *watching(S), at=at)

    assert [call.not_after for call in result.calls] == [NOW + STALE, NOW + STALE, at + KEPT]


def test_of_history_only_users_are_told_and_only_as_long_as_it_is_kept() -> None:
    def heard(age: timedelta) -> set[str]:
        parts = pushes.still_news([Part(watching(S), {})], PushCause("e1", NOW - age, NOW))
        return {channel.kind for part in parts for channel in part.channels}

    assert heard(timedelta(hours=23)) == {"presence-stream", "private-stream", "private-user"}
    assert heard(timedelta(hours=24)) == {"private-user"}
    assert heard(timedelta(days=7)) == set()
