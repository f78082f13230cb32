"""May I listen, and what did I miss."""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from chassis.storage.documents import Documents
from chassis_testing.service import ServiceHarness
from contracts import (
    EscrowFailedV1,
    Event,
    GoalEndedV1,
    OrderPaidV1,
    SessionStartedV1,
    SessionViewerAuthorizedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from notifier.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

S, V, G = "5" * 24, "7" * 24, "9" * 24
SOCKET = "123.456"
KEYS = {"demo-key": "demo-secret", "demo-old": "old-secret"}


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE, PUSHER_KEYS=KEYS)


async def auth(harness: ServiceHarness, user_id: str, channel: str, socket_id: str = SOCKET) -> httpx.Response:
    """As pusher-js asks."""
    form = {"socket_id": socket_id, "channel_name": channel}
    async with harness.client(user_id) as client:
        return await client.post("/pusher/auth", data=form)


def signature(text: str) -> str:
    """As Pusher's documentation says."""
    return "demo-key:" + hmac.new(b"demo-secret", text.encode(), hashlib.sha256).hexdigest()


# -- POST /pusher/auth -------------------------------------------------------------------------------------------------


async def test_a_private_channel_is_signed_with_the_first_key(harness: ServiceHarness) -> None:
    answer = await auth(harness, V, f"private-user@{V}")

    assert answer.status_code == 200
    assert answer.json() == {"auth": signature(f"{SOCKET}:private-user@{V}")}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_presence_channel_is_signed_with_who_listens(harness: ServiceHarness) -> None:
    answer = (await auth(harness, V, f"presence-stream@{S}")).json()

    assert json.loads(answer["channel_data"]) == {"user_id": V}
    assert answer["auth"] == signature(f"{SOCKET}:presence-stream@{S}:{answer['channel_data']}")


@pytest.mark.parametrize("channel", [f"private-stream@{S}", f"presence-stream@{S}"])
async def test_anybody_may_listen_to_a_streamer_who_does_not_block_them(
    harness: ServiceHarness, an: An, channel: str
) -> None:
    blocked = an(ViewerBlockedV1, streamer_id=S, viewer_id=V)
    assert (await auth(harness, V, channel)).status_code == 200

    await harness.handle(blocked)

    assert (await auth(harness, V, channel)).status_code == 403
    assert (await auth(harness, G, channel)).status_code == 200
    await harness.handle(blocked, an(ViewerUnblockedV1, streamer_id=S, viewer_id=V))
    assert (await auth(harness, V, channel)).status_code == 200


@pytest.mark.parametrize("preset", ["preview", "sd"])
async def test_who_is_blocked_has_no_channel_of_that_streamer_but_their_own(
    harness: ServiceHarness, an: An, preset: str
) -> None:
    theirs = f"presence-stream-viewer@{S}.{preset}.{V}"
    await harness.handle(
        an(SessionStartedV1, streamer_id=S, session_id=G),
        an(SessionViewerAuthorizedV1, streamer_id=S, session_id=G, viewer_id=V, reason="private"),
    )
    assert (await auth(harness, V, theirs)).status_code == 200

    await harness.handle(an(ViewerBlockedV1, streamer_id=S, viewer_id=V))

    assert (await auth(harness, V, theirs)).status_code == 403
    assert (await auth(harness, V, f"private-user@{V}")).status_code == 200
    assert (await auth(harness, V, f"private-stream@{G}")).status_code == 200


async def test_further_fields_of_the_form_are_ignored_as_the_form_is_pushers(harness: ServiceHarness) -> None:
    form = {"socket_id": SOCKET, "channel_name": f"private-user@{V}", "from": "channelAuthorization.params"}
    async with harness.client(V) as client:
        answer = await client.post("/pusher/auth", data=form)

    assert answer.json() == {"auth": signature(f"{SOCKET}:private-user@{V}")}


async def test_who_was_just_granted_time_may_listen_though_another_clock_is_ahead(
    harness: ServiceHarness, an: An
) -> None:
    nbf = harness.now + timedelta(seconds=4.9)
    paid = an(
        SessionViewerAuthorizedV1, streamer_id=S, session_id=G, viewer_id=V, reason="paid",
        nbf=nbf, exp=nbf + timedelta(seconds=60),
    )  # fmt: skip
    await harness.handle(an(SessionStartedV1, streamer_id=S, session_id=G), paid)

    assert (await auth(harness, V, f"presence-stream-viewer@{S}.sd.{V}")).status_code == 200


async def test_a_users_own_channel_is_theirs_alone(harness: ServiceHarness) -> None:
    assert (await auth(harness, S, f"private-user@{V}")).status_code == 403


async def test_a_viewers_preview_channel_is_theirs_alone(harness: ServiceHarness) -> None:
    channel = f"presence-stream-viewer@{S}.preview.{V}"

    assert (await auth(harness, V, channel)).status_code == 200
    assert (await auth(harness, S, channel)).status_code == 403


async def test_the_paid_channel_is_for_whom_has_paid_and_only_as_long(harness: ServiceHarness, an: An) -> None:
    channel = f"presence-stream-viewer@{S}.sd.{V}"
    began: Any = an(SessionStartedV1, streamer_id=S, session_id=G)
    paid = an(
        SessionViewerAuthorizedV1, streamer_id=S, session_id=G, viewer_id=V, reason="paid",
        nbf=harness.now, exp=harness.now + timedelta(seconds=60),
    )  # fmt: skip
    await harness.handle(began)
    assert (await auth(harness, V, channel)).status_code == 403

    await harness.handle(paid)

    assert (await auth(harness, V, channel)).status_code == 200
    assert (await auth(harness, S, channel)).status_code == 403
    harness.clock.advance(60)
    assert (await auth(harness, V, channel)).status_code == 403


@pytest.mark.parametrize(
    "channel",
    [
        "",
        "private-user@me",
        f"private-user@{V}\n",
        f"presence-user@{V}",
        f"#server-to-user-{V}",
        f"presence-enc-stream-viewer@{S}.preview.{V}",
        f"private-encrypted-user@{V}",
        "x" * 10_000,
    ],
)
async def test_any_other_name_is_forbidden(harness: ServiceHarness, channel: str) -> None:
    answer = await auth(harness, V, channel)

    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/channel-forbidden"


@pytest.mark.parametrize(
    "socket_id", ["", "1", "1.", "1.2.3", "1.2\n", "a.b", "1.2:private-user@x", "٣.٤", "1" * 30 + ".1"]
)
async def test_a_socket_id_that_is_none_is_refused(harness: ServiceHarness, socket_id: str) -> None:
    answer = await auth(harness, V, f"private-user@{V}", socket_id)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "socket_id"


async def test_who_is_not_signed_in_may_not_listen(harness: ServiceHarness) -> None:
    async with harness.client() as client:
        answer = await client.post("/pusher/auth", data={"socket_id": SOCKET, "channel_name": f"private-user@{V}"})

    assert answer.status_code == 401


# -- POST /pusher/batch-authenticate -----------------------------------------------------------------------------------


async def auth_all(harness: ServiceHarness, user_id: str, *channels: str, **more: str) -> httpx.Response:
    """As the plug-in for batches asks."""
    form = {"socket_id": SOCKET, "channel_name[]": channels, **more}
    async with harness.client(user_id) as client:
        return await client.post("/pusher/batch-authenticate", data=form)


async def test_a_batch_is_told_of_each_channel_what_asking_for_it_alone_says(harness: ServiceHarness, an: An) -> None:
    paid = an(
        SessionViewerAuthorizedV1, streamer_id=S, session_id=G, viewer_id=V, reason="paid",
        nbf=harness.now, exp=harness.now + timedelta(seconds=60),
    )  # fmt: skip
    blocked = an(ViewerBlockedV1, streamer_id=G, viewer_id=V)
    await harness.handle(an(SessionStartedV1, streamer_id=S, session_id=G), paid, blocked)
    channels = [
        *(f"{family}@{owner}" for family in ("presence-stream", "private-stream") for owner in (S, G)),
        *(f"private-user@{owner}" for owner in (S, V)),
        *(f"presence-stream-viewer@{owner}.{preset}.{who}" for owner in (S, G) for preset in ("preview", "sd")
          for who in (V, G)),
        *(f"private-user@{V}\n", "", "x" * 10_000, "__proto__"),
    ]  # fmt: skip

    answers = (await auth_all(harness, V, *channels)).json()

    alone = {channel: await auth(harness, V, channel) for channel in channels}
    assert {name: one["status"] for name, one in answers.items()} == {name: a.status_code for name, a in alone.items()}
    assert {one["status"] for one in answers.values()} == {200, 403}
    for name, answer in alone.items():
        assert answers[name]["data"].items() <= answer.json().items()
        assert (
            answers[name]["data"].keys() >= {"auth"} or answers[name]["data"]["type"] == "/problems/channel-forbidden"
        )


async def test_a_batch_of_many_streams_costs_no_more_questions_than_one_of_two(
    harness: ServiceHarness, an: An, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [f"{number:024x}" for number in range(50)]
    for stream in streams:
        await harness.handle(an(SessionStartedV1, streamer_id=stream, session_id=stream[::-1]))
    asked: list[str] = []
    query = Documents.query  # every question goes through here

    async def counting(documents: Documents, collection: Any, *rest: Any, **more: Any) -> Any:
        asked.append(collection.name)
        return await query(documents, collection, *rest, **more)

    monkeypatch.setattr(Documents, "query", counting)
    questions = []
    for some in (streams[:2], streams):
        asked.clear()
        answer = await auth_all(harness, V, *(f"presence-stream-viewer@{stream}.sd.{V}" for stream in some))
        assert {one["status"] for one in answer.json().values()} == {403}
        questions.append(sorted(asked))

    assert questions[0] == questions[1] == ["blocks", "broadcasts", "passes", "permits"]


async def test_a_batch_may_have_fifty_channels_the_same_one_twice_and_fields_of_the_app(
    harness: ServiceHarness,
) -> None:
    own = f"private-user@{V}"

    full = await auth_all(harness, V, *[own] * 50, app="3.1")

    assert list(full.json()) == [own]
    assert full.json()[own] == {"status": 200, "data": {"auth": signature(f"{SOCKET}:{own}")}}
    for count in (0, 51, 200):
        refused = await auth_all(harness, V, *[own] * count)
        assert refused.status_code == 422, count


async def test_a_batch_of_who_is_not_signed_in_is_not_looked_at(harness: ServiceHarness) -> None:
    async with harness.client() as client:
        answer = await client.post("/pusher/batch-authenticate", data={"channel_name[]": ["x"]})

    assert answer.status_code == 401


# -- GET /notifications ------------------------------------------------------------------------------------------------


async def caught_up(harness: ServiceHarness, user_id: str, **query: Any) -> Any:
    async with harness.client(user_id) as client:
        answer = await client.get("/notifications", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_client_catches_up_from_the_number_it_saw_last(harness: ServiceHarness, an: An) -> None:
    await harness.handle(*(an(EscrowFailedV1, buyer_id=V, amount_diamonds=i) for i in range(5)))

    page = await caught_up(harness, V, after=3)

    assert [(one["name"], one["seq"], one["data"]["amount_diamonds"]) for one in page["items"]] == [
        ("escrow.failed", 4, 3), ("escrow.failed", 5, 4),
    ]  # fmt: skip
    assert page["next"] is None
    assert page["items"][0]["data"]["seq"] == 4


async def test_pages_follow_each_other_without_a_gap(harness: ServiceHarness, an: An) -> None:
    await harness.handle(*(an(EscrowFailedV1, buyer_id=V) for _ in range(5)))

    seen, after = [], "0"
    while after is not None:
        page = await caught_up(harness, V, after=after, limit=2)
        seen += [one["seq"] for one in page["items"]]
        after = page["next"]

    assert seen == [1, 2, 3, 4, 5]


async def test_what_was_too_long_to_push_is_there_whole(harness: ServiceHarness, an: An) -> None:
    paid: Any = an(OrderPaidV1, user_id=V)
    await harness.handle(an(EscrowFailedV1, buyer_id=V), paid.model_copy(update={"items": paid.items * 40}))
    [*_, push] = await harness.effects()

    fetch = json.loads(push.model_dump()["data"])["fetch"]
    async with harness.client(V) as client:
        [one] = (await client.get(fetch)).json()["items"]

    assert (one["name"], len(one["data"]["items"])) == ("order.paid", 80)


async def test_nobody_sees_what_was_pushed_to_somebody_else(harness: ServiceHarness, an: An) -> None:
    await harness.handle(an(EscrowFailedV1, buyer_id=V), an(GoalEndedV1, streamer_id=S, kind="ShowGoal"))

    assert [one["name"] for one in (await caught_up(harness, S))["items"]] == ["goal.ended"]
    assert [one["name"] for one in (await caught_up(harness, V))["items"]] == ["escrow.failed"]
    assert (await caught_up(harness, G))["items"] == []


@pytest.mark.parametrize("query", [{"after": "x"}, {"after": -1}, {"after": 2**64}, {"limit": 0}, {"limit": 101}])
async def test_what_is_no_place_in_the_list_is_refused(harness: ServiceHarness, query: dict[str, Any]) -> None:
    async with harness.client(V) as client:
        answer = await client.get("/notifications", params=query)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] in query


# -- GET /config -------------------------------------------------------------------------------------------------------


async def test_an_app_is_told_where_to_listen_how_long_a_step_is_and_what_it_may_ask_for(
    harness_of: HarnessOf,
) -> None:
    told = {"PUSHER_CLIENT_HOST": "ws.pusher.test", "PUSHER_CLIENT_PORT": 443, "STEP_SECONDS": 6}
    harness = await harness_of(SERVICE, PUSHER_KEYS=KEYS, **told)

    async with harness.client(V) as client:
        answer = await client.get("/config")
        strange = await client.get("/config?verbose=true")

    assert answer.json() == {
        "pusher": {"key": "demo-key", "host": "ws.pusher.test", "port": 443, "tls": False},
        "step_seconds": 6,
        "limits": {"steps": 60, "gifts": 100, "items": 100, "channels": 50, "body_bytes": 65_536},
    }
    assert "secret" not in answer.text
    assert strange.status_code == 422
