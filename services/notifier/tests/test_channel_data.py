"""The paid channel that carries its viewer's tokens."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest

from chassis_testing.service import ServiceHarness
from contracts import (
    Event,
    GoalEndedV1,
    PassActivatedV1,
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
    ViewerBlockedV1,
)
from contracts.sessions import Remaining, Source
from notifier.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

S, V, W, G = "5" * 24, "7" * 24, "8" * 24, "9" * 24
CHANNEL = f"presence-enc-stream-viewer@{S}.sd"
ROOM = Source(room_id="paid-room", session_id=G, task_id="t", kind="obs", preset="sd")
MEMBER_BYTES_MAX = 1_024  # Pusher's limit of what is told of a member


@pytest.fixture
async def harness(harness_of: HarnessOf, an: An) -> ServiceHarness:
    """S is on air, and V has paid for ten minutes."""
    harness = await harness_of(SERVICE)
    await harness.handle(an(SessionStartedV1, streamer_id=S, session_id=G, exclusive_to=(), sources=(ROOM,)))
    await pay(harness, an, 600)
    return harness


async def pay(harness: ServiceHarness, an: An, seconds: float) -> None:
    times = {"nbf": harness.now, "exp": harness.now + timedelta(seconds=seconds)}
    await harness.handle(
        an(SessionViewerAuthorizedV1, streamer_id=S, session_id=G, viewer_id=V, reason="paid", **times)
    )


async def member(harness: ServiceHarness, user_id: str = V, viewer_id: str = V) -> Any:
    """What the channel says of its member; the status, if that is not told."""
    form = {"socket_id": "1.2", "channel_name": f"{CHANNEL}.{viewer_id}"}
    async with harness.client(user_id) as client:
        answer = await client.post("/pusher/auth", data=form)
    return json.loads(answer.json()["channel_data"]) if answer.is_success else answer.status_code


def claims(token: str) -> Any:
    return jwt.decode(token, options={"verify_signature": False})


async def test_who_is_entitled_gets_both_tokens_for_the_paid_room(harness: ServiceHarness) -> None:
    told = await member(harness)

    info = told["user_info"]
    assert (told["user_id"], info["preset"]) == (V, "sd")
    assert info["byteplus"]["room_id"] == "paid-room"
    assert info["byteplus_token"].startswith("001")
    said = claims(info["token"])
    assert {name: said[name] for name in ("aud", "sub", "session_id", "preset", "room", "exp")} == {
        "aud": "footlights-stream", "sub": V, "session_id": G, "preset": "sd", "room": "paid-room", "exp": info["exp"],
    }  # fmt: skip
    assert info["exp"] - info["nbf"] == 120
    assert len(json.dumps(told).encode()) <= MEMBER_BYTES_MAX


async def test_the_tokens_are_their_viewers_alone(harness: ServiceHarness) -> None:
    assert await member(harness, W, V) == 403
    assert await member(harness, W, W) == 403
    assert await member(harness, S, V) == 403


async def test_tokens_never_outlive_the_permission(harness: ServiceHarness, an: An) -> None:
    harness.clock.advance(540)

    assert (await member(harness))["user_info"]["exp"] == int(harness.now.timestamp()) + 60
    harness.clock.advance(60)
    assert await member(harness) == 403
    await harness.handle(
        an(PassActivatedV1, user_id=V, pass_kind=f"livestream_pass_{S}", nbf=harness.now,
           exp=harness.now + timedelta(seconds=90))
    )  # fmt: skip
    assert (await member(harness))["user_info"]["exp"] == int(harness.now.timestamp()) + 90


async def test_tokens_are_the_same_for_half_of_their_life(harness: ServiceHarness) -> None:
    first = await member(harness)
    harness.clock.advance(59)
    assert await member(harness) == first

    harness.clock.advance(1)

    assert await member(harness) != first


@pytest.mark.parametrize(
    ("of", "changes"),
    [
        (SessionUpdatedV1, {"exclusive_to": (), "sources": (ROOM,)}),
        (SessionGoalAddedV1, {}),
        (GoalEndedV1, {}),
        (SessionViewerAuthorizedV1, {"viewer_id": V, "reason": "private"}),
        (PassActivatedV1, {"user_id": V, "pass_kind": "livestream_pass"}),
    ],
)
async def test_whatever_is_told_that_may_change_a_permission_has_the_tokens_made_anew(
    harness: ServiceHarness, an: An, of: type[Event], changes: dict[str, Any]
) -> None:
    first = await member(harness)
    of_session = {"streamer_id": S, "session_id": G} if "session_id" in of.model_fields else {}

    await harness.handle(an(of, **of_session, **changes))

    again = await member(harness)
    assert again["user_info"]["token"] != first["user_info"]["token"]
    assert await member(harness) == again


@pytest.mark.parametrize(
    ("of", "changes"),
    [
        (ViewerBlockedV1, {"viewer_id": V}),
        (SessionUpdatedV1, {"exclusive_to": (W,)}),
        (SessionEndedV1, {"active": False}),
        (
            SessionViewerRevokedV1,
            {"viewer_id": V, "remaining": Remaining(nbf=None, exp=None, ticket=False, private=False)},
        ),
    ],
)
async def test_what_ends_the_permission_ends_the_next_authorisation(
    harness: ServiceHarness, an: An, of: type[Event], changes: dict[str, Any]
) -> None:
    assert (await member(harness))["user_id"] == V
    of_session = {"session_id": G} if "session_id" in of.model_fields else {}

    await harness.handle(an(of, streamer_id=S, **of_session, **changes))

    assert await member(harness) == 403


async def test_without_a_source_for_it_there_is_no_room_token(harness: ServiceHarness, an: An) -> None:
    await harness.handle(an(SessionUpdatedV1, streamer_id=S, session_id=G, exclusive_to=(), sources=()))

    info = (await member(harness))["user_info"]
    assert (info["byteplus_token"], info["byteplus"], claims(info["token"])["room"]) == (None, None, None)
