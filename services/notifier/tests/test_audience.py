"""Who listens: webhooks, head counts, and whose connection is cut."""

import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from chassis.clock import ManualClock, unix
from chassis.service import EffectResult
from chassis.storage.mongo import Mongo
from chassis_testing.service import START_TIME, ServiceHarness
from contracts import (
    Event,
    PresenceCountedV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerRevokedV1,
    ViewerBlockedV1,
)
from contracts.sessions import Remaining, Statuses
from notifier.domain import heads
from notifier.domain.cuts import Cut, CutWatchers
from notifier.domain.heads import CountHeads, Heads
from notifier.handlers.audience import tell_head_count
from notifier.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

S, V, W, G = "5" * 24, "7" * 24, "8" * 24, "9" * 24
SOCKET = "123.456"
KEYS = {"demo-key": "demo-secret", "demo-old": "old-secret"}
CAME = {"name": "channel_occupied", "channel": f"private-stream@{S}"}


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE, PUSHER_KEYS=KEYS)


@pytest.fixture
async def on_air(harness: ServiceHarness, an: An) -> ServiceHarness:
    """S is on air, and the first count is over."""
    await harness.handle(an(SessionStartedV1, streamer_id=S, session_id=G))
    await count(harness, 1)
    return harness


def delivery(harness: ServiceHarness, *events: dict[str, Any], age: float = 0) -> bytes:
    time_ms = int((unix(harness.now) - age) * 1_000)
    return json.dumps({"time_ms": time_ms, "events": events}).encode()


async def deliver(
    harness: ServiceHarness, body: bytes, key: str = "demo-key", signature: str | None = None
) -> httpx.Response:
    """As Pusher does: no token, a signature over the very bytes."""
    secret = KEYS.get(key, "").encode()
    signed = hmac.new(secret, body, hashlib.sha256).hexdigest() if signature is None else signature
    headers = {b"x-pusher-key": key.encode(), b"x-pusher-signature": signed.encode("latin-1")}
    async with harness.client() as client:
        return await client.post("/notify/pusher", content=body, headers=headers)


async def asked(harness: ServiceHarness) -> int:
    """How many times Pusher is asked to count."""
    return sum(isinstance(effect, CountHeads) for effect in await harness.effects())


async def count(harness: ServiceHarness, seconds: float) -> int:
    """Let time pass; how many more times Pusher is asked then."""
    before = await asked(harness)
    harness.clock.advance(seconds)
    await harness.run_timers()
    return await asked(harness) - before


async def answer(harness: ServiceHarness, audience: int, paid: int) -> list[tuple[str, int]]:
    """Pusher says how many there are; what is told then."""
    effect = CountHeads(session_id=G, streamer_id=S)
    async with harness.tx() as tx:
        await tell_head_count(EffectResult(effect, "1", "k", result=Heads(audience, paid)), tx)
    return [(one.preset, one.viewers) for one in await harness.take() if isinstance(one, PresenceCountedV1)]


async def viewers(harness: ServiceHarness, session_id: str = G) -> Any:
    async with harness.client(V) as client:
        found = await client.get(f"/sessions/{session_id}/viewers/count")
    return found.json() if found.is_success else found.status_code


# -- POST /notify/pusher -----------------------------------------------------------------------------------------------


async def test_a_webhook_has_the_viewers_counted_soon_and_many_but_once(on_air: ServiceHarness) -> None:
    for _ in range(5):
        assert (await deliver(on_air, delivery(on_air, CAME))).status_code == 204

    assert await count(on_air, 0.9) == 0
    assert await count(on_air, 0.1) == 1
    assert await count(on_air, 20) == 0


async def test_lost_webhooks_heal_within_half_a_minute(on_air: ServiceHarness) -> None:
    assert await count(on_air, heads.AGAIN.total_seconds()) == 1
    assert await count(on_air, heads.AGAIN.total_seconds()) == 1


async def test_a_webhook_may_be_signed_with_any_key_that_is_shared(on_air: ServiceHarness) -> None:
    assert (await deliver(on_air, delivery(on_air, CAME), "demo-old")).status_code == 204


@pytest.mark.parametrize(
    ("key", "signature"),
    [("demo-key", "0" * 64), ("demo-key", ""), ("demo-key", "ñ"), ("", None), ("other", None), ("demo-old", "0" * 64)],
)
async def test_what_is_not_signed_with_a_key_of_ours_is_refused(
    on_air: ServiceHarness, key: str, signature: str | None
) -> None:
    refused = await deliver(on_air, delivery(on_air, CAME), key, signature)

    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/signature-invalid")
    assert await count(on_air, 1) == 0


async def test_the_signature_covers_the_bytes_as_they_came(on_air: ServiceHarness) -> None:
    body = delivery(on_air, CAME)
    signature = hmac.new(b"demo-secret", body, hashlib.sha256).hexdigest()

    assert (await deliver(on_air, body.replace(b" ", b""), signature=signature)).status_code == 403
    assert (await deliver(on_air, body, signature=signature)).status_code == 204


class Moved(ManualClock):
    """A local stack's, which is an hour ahead of this machine's, and of Pusher's."""

    def machine_micros(self) -> int:
        return self.micros() - 3_600_000_000


@pytest.mark.parametrize(("age", "status"), [(3_600, 204), (0, 403)])
async def test_pusher_signs_by_its_own_clock_also_where_ours_was_moved(
    harness_of: HarnessOf, age: float, status: int
) -> None:
    harness = await harness_of(SERVICE, clock=Moved(START_TIME), PUSHER_KEYS=KEYS)

    assert (await deliver(harness, delivery(harness, CAME, age=age))).status_code == status


@pytest.mark.parametrize(("age", "status"), [(0, 204), (599, 204), (601, 403), (-59, 204), (-61, 403), (1e9, 403)])
async def test_an_old_delivery_is_not_taken_again(on_air: ServiceHarness, age: float, status: int) -> None:
    assert (await deliver(on_air, delivery(on_air, CAME, age=age))).status_code == status


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"time_ms":1}', b'{"time_ms":"1","events":[]}', b'{"time_ms":1,"events":[{}]}', b"\xff"],
)
async def test_what_is_signed_and_no_webhook_is_refused(on_air: ServiceHarness, body: bytes) -> None:
    assert (await deliver(on_air, body)).status_code == 422


@pytest.mark.parametrize(
    ("name", "channel", "counts"),
    [
        ("channel_occupied", f"private-stream@{S}", True),
        ("channel_vacated", f"private-stream@{S}", True),
        ("subscription_count", f"private-stream@{S}", True),
        ("member_added", f"presence-stream@{S}", True),
        ("member_removed", f"presence-stream-viewer@{S}.sd.{V}", True),
        ("member_added", f"presence-enc-stream-viewer@{S}.sd.{V}", True),
        ("member_added", f"presence-stream-viewer@{S}.preview.{V}", False),
        ("channel_occupied", f"private-user@{S}", False),
        ("channel_occupied", f"private-stream@{V}", False),
        ("channel_occupied", f"private-stream@{S}x", False),
        ("channel_occupied", "made-up", False),
        ("client_event", f"private-stream@{S}", False),
        ("tomorrows", f"private-stream@{S}", False),
    ],
)
async def test_only_who_comes_and_goes_on_names_that_are_counted_is(
    on_air: ServiceHarness, name: str, channel: str, *, counts: bool
) -> None:
    taken = await deliver(on_air, delivery(on_air, {"name": name, "channel": channel, "user_id": V, "more": [1]}))

    assert taken.status_code == 204
    assert await count(on_air, 1) == counts


async def test_names_that_are_not_ours_cost_no_transaction(on_air: ServiceHarness, mongo: Mongo) -> None:
    async def begun() -> int:
        status = await mongo.client.admin.command("serverStatus")
        return int(status["transactions"]["totalStarted"])

    foreign = [{"name": "channel_occupied", "channel": f"made-up-{number}"} for number in range(200)]
    before = await begun()
    assert (await deliver(on_air, delivery(on_air, *foreign))).status_code == 204
    assert await begun() == before

    assert (await deliver(on_air, delivery(on_air, *foreign, CAME))).status_code == 204
    assert await begun() > before


# -- head counts -------------------------------------------------------------------------------------------------------


async def test_what_has_changed_is_told_by_preset(on_air: ServiceHarness) -> None:
    assert await viewers(on_air) == {"viewers": 0, "preview": 0, "sd": 0}

    assert await answer(on_air, 150, 3) == [("preview", 147), ("sd", 3)]
    assert await answer(on_air, 150, 3) == []
    assert await answer(on_air, 151, 4) == [("sd", 4)]

    assert await viewers(on_air) == {"viewers": 151, "preview": 147, "sd": 4}


async def test_who_pays_counts_though_not_listening_where_all_do(on_air: ServiceHarness) -> None:
    assert await answer(on_air, 1, 3) == [("sd", 3)]
    assert await viewers(on_air) == {"viewers": 3, "preview": 0, "sd": 3}


async def test_nobody_watches_a_session_that_is_over_and_nobody_is_counted(on_air: ServiceHarness, an: An) -> None:
    await answer(on_air, 5, 2)
    await on_air.handle(an(SessionEndedV1, streamer_id=S, session_id=G, active=False))

    assert await viewers(on_air) == {"viewers": 0, "preview": 0, "sd": 0}
    await deliver(on_air, delivery(on_air, CAME))
    assert await count(on_air, 600) == 0
    assert await answer(on_air, 5, 2) == []
    assert await viewers(on_air) == {"viewers": 0, "preview": 0, "sd": 0}


async def test_of_a_session_that_nobody_has_heard_of_no_viewers_are_known(on_air: ServiceHarness) -> None:
    assert await viewers(on_air, V) == 404
    assert await viewers(on_air, "$ne") == 422


# -- POST /pusher/user-auth, and who is cut ----------------------------------------------------------------------------


async def test_a_client_signs_in_as_whom_the_token_says(harness: ServiceHarness) -> None:
    async with harness.client(V) as client:
        signed = (await client.post("/pusher/user-auth", data={"socket_id": SOCKET, "app": "1", "id": S})).json()
        nobody = await client.post("/pusher/user-auth", data={"socket_id": "1.2::user::{}"})
    async with harness.client() as stranger:
        unknown = await stranger.post("/pusher/user-auth", data={"socket_id": SOCKET})

    text = f"{SOCKET}::user::{signed['user_data']}"
    assert json.loads(signed["user_data"]) == {"id": V}
    assert signed["auth"] == "demo-key:" + hmac.new(b"demo-secret", text.encode(), hashlib.sha256).hexdigest()
    assert (nobody.status_code, unknown.status_code) == (422, 401)


async def cut(harness: ServiceHarness) -> list[Cut | CutWatchers]:
    """Who is cut in the end: a second later, when what is told of it has arrived."""
    before = [one for one in await harness.effects() if isinstance(one, Cut | CutWatchers)]
    assert before == []
    harness.clock.advance(1)
    await harness.run_timers()
    return [one for one in await harness.effects() if isinstance(one, Cut | CutWatchers)]


async def test_who_is_blocked_is_cut(on_air: ServiceHarness, an: An) -> None:
    await on_air.handle(an(ViewerBlockedV1, streamer_id=S, viewer_id=V))

    assert await cut(on_air) == [Cut(user_id=V)]


@pytest.mark.parametrize(
    ("left", "is_cut"),
    [
        ({}, True),
        ({"ticket": True}, False),
        ({"private": True}, False),
        ({"exp": timedelta(seconds=1)}, False),
        ({"exp": timedelta(0)}, True),
    ],
)
async def test_who_has_nothing_left_is_cut(
    on_air: ServiceHarness, an: An, left: dict[str, Any], *, is_cut: bool
) -> None:
    times = {"nbf": on_air.now, "exp": on_air.now + left["exp"]} if "exp" in left else {"nbf": None, "exp": None}
    rights = {"ticket": False, "private": False} | {name: left[name] for name in left if name != "exp"}
    revoked = an(SessionViewerRevokedV1, streamer_id=S, session_id=G, viewer_id=V)

    await on_air.handle(revoked.model_copy(update={"remaining": Remaining(**times, **rights)}))

    assert await cut(on_air) == ([Cut(user_id=V)] if is_cut else [])


@pytest.mark.parametrize(
    ("exclusive_to", "keep"), [((), None), ((V,), (S, V))], ids=["open to all", "somebody's alone"]
)
async def test_who_listens_to_a_session_that_is_anothers_alone_is_cut(
    on_air: ServiceHarness, an: An, exclusive_to: Sequence[str], keep: tuple[str, ...] | None
) -> None:
    updated = an(SessionUpdatedV1, streamer_id=S, session_id=G, exclusive_to=tuple(exclusive_to))

    await on_air.handle(updated)

    assert await cut(on_air) == ([CutWatchers(streamer_id=S, keep=keep)] if keep else [])
    await on_air.handle(an(SessionUpdatedV1, streamer_id=S, session_id=G, exclusive_to=tuple(exclusive_to)))
    on_air.clock.advance(1)
    await on_air.run_timers()
    assert sum(isinstance(one, CutWatchers) for one in await on_air.effects()) == bool(keep)


async def test_who_listens_to_a_session_that_ends_is_cut_but_not_of_one_that_was_over(
    on_air: ServiceHarness, an: An
) -> None:
    earlier = Statuses(created=on_air.now - timedelta(days=36_500), ended=on_air.now)
    await on_air.handle(an(SessionEndedV1, streamer_id=S, session_id=W, active=False, statuses=earlier))
    await on_air.handle(an(SessionEndedV1, streamer_id=S, session_id=G, active=False))

    assert await cut(on_air) == [CutWatchers(streamer_id=S, keep=(S,))]


async def test_history_cuts_nobody(on_air: ServiceHarness, an: An) -> None:
    await on_air.handle(an(ViewerBlockedV1, streamer_id=S, viewer_id=V), at=on_air.now - timedelta(hours=24))

    assert await cut(on_air) == []
