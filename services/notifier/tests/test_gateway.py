"""Pusher itself: a real soketi, and a real pusher-js that listens."""

import asyncio
import json
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from chassis.clock import SystemClock
from chassis.effects import Effects
from chassis.faults import FaultError, plan_faults
from chassis.http import create_app
from chassis.pending import EFFECTS
from chassis.runtime import Outside
from chassis.service import Answer, Pending
from chassis.testing import Solo, access_token
from contracts import (
    Conditions,
    EscrowFailedV1,
    Event,
    GoalEndedV1,
    SessionGoalAddedV1,
    SessionViewerAuthorizedV1,
)
from devstack.stack import Stack
from notifier import gateway
from notifier.domain.pushes import KEPT, STALE, Push
from notifier.service import SERVICE
from notifier.settings import Settings

SoloOf = Callable[..., Awaitable[Solo]]
An = Callable[..., Event]

LISTEN = Path(__file__).parents[3] / "deploy" / "devstack" / "node" / "listen.mjs"
PATIENCE_SECONDS = 60.0  # pusher-js takes its time before it connects again
S, V, GOAL = "5" * 24, "7" * 24, "9" * 24
STREAM, OWN = f"presence-stream@{S}", f"private-user@{S}"


# -- what the tests stand on -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A soketi of these tests' own: they stop it."""
    with tempfile.TemporaryDirectory(prefix="footlights-soketi-") as data, Stack(data, only=("soketi",)) as running:
        yield running


async def until(condition: Callable[[], Any | Awaitable[Any]], what: str) -> None:
    """Wait for `condition`, which may be a coroutine's."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, f"not after {PATIENCE_SECONDS} s: {what}"
        await asyncio.sleep(0.02)


class Listener:
    """One pusher-js, and what it heard."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    def count(self, heard: str) -> int:
        return sum(one["heard"] == heard for one in self.heard)

    def pushes(self, channel: str) -> list[tuple[str, int]]:
        """Name and number of the pushes on one channel, in order of arrival."""
        pushes = [one for one in self.heard if one["heard"] == "push" and one["channel"] == channel]
        return [(one["name"], one["data"]["seq"]) for one in pushes]


class Night:
    """The notifier with a clock that runs, the soketi it pushes to, and clients who listen."""

    def __init__(self, solo: Solo, stack: Stack, auth_url: str) -> None:
        self.solo = solo
        self.stack = stack
        self._auth_url = auth_url

    @asynccontextmanager
    async def listening(self, user_id: str, *channels: str) -> AsyncIterator[Listener]:
        """A pusher-js of `user_id`, whose every channel was answered for."""
        pusher = self.stack.status()["pusher"]
        process = await asyncio.create_subprocess_exec(
            *("node", str(LISTEN), pusher["host"], str(pusher["port"]), pusher["key"]),
            *(self._auth_url, access_token(user_id), *channels),
            env={**os.environ, "NODE_PATH": str(self.stack.node_modules)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        listener = Listener()
        reading = asyncio.create_task(_read(process, listener))
        try:
            answered = len(channels)
            await until(lambda: listener.count("subscribed") + listener.count("refused") == answered, "subscribed")
            yield listener
        finally:
            process.kill()
            await process.wait()
            await reading

    @asynccontextmanager
    async def pushing(self) -> AsyncIterator[None]:
        """Make the pushes that wait, and those that come."""
        effects = Effects(self.solo.runtime, SERVICE)
        running = asyncio.create_task(effects.run())
        try:
            yield
        finally:
            effects.stop()
            await running

    async def waiting(self) -> list[dict[str, Any]]:
        """The pushes that are not made yet."""
        return await self.solo.runtime.database[EFFECTS.name].find().to_list(None)

    async def nothing_waits(self) -> bool:
        return not await self.waiting()


async def _read(process: asyncio.subprocess.Process, listener: Listener) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        listener.heard.append(json.loads(line))


def pusher_env(stack: Stack) -> dict[str, Any]:
    env = stack.service_environment
    return {name: env[name] for name in ("PUSHER_SCHEME", "PUSHER_HOST", "PUSHER_PORT", "PUSHER_APP_ID")} | {
        "PUSHER_KEYS": json.loads(env["PUSHER_KEYS"])
    }


@pytest.fixture
async def night(solo_of: SoloOf, stack: Stack) -> AsyncIterator[Night]:
    solo = await solo_of(SERVICE, clock=SystemClock(), **pusher_env(stack))
    bound = socket.create_server(("127.0.0.1", 0))
    app = create_app(SERVICE, solo.runtime, solo.settings)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    yield Night(solo, stack, f"http://127.0.0.1:{bound.getsockname()[1]}/pusher/auth")
    server.should_exit = True
    await serving


# -- with pusher-js ----------------------------------------------------------------------------------------------------


async def test_each_client_hears_what_is_theirs_in_order_under_rising_numbers(night: Night, an: An) -> None:
    preview, sd = f"presence-stream-viewer@{S}.preview.{V}", f"presence-stream-viewer@{S}.sd.{V}"
    async with (
        night.listening(S, STREAM, f"private-stream@{S}", OWN) as streamer,
        night.listening(V, STREAM, f"private-user@{V}", preview) as viewer,
        night.pushing(),
    ):
        await night.solo.hear(
            an(SessionGoalAddedV1, streamer_id=S, goal_id=GOAL, kind="TriggerExclusiveGoal"),
            an(GoalEndedV1, streamer_id=S, goal_id=GOAL, kind="TriggerExclusiveGoal"),
            an(SessionViewerAuthorizedV1, streamer_id=S, viewer_id=V, reason="agreed"),
            an(EscrowFailedV1, buyer_id=V),
        )
        await until(lambda: streamer.count("push") == 6 and viewer.count("push") == 4, "all pushes")

    stage = [("goal.added", 1), ("goal.ended", 2)]
    assert [streamer.pushes(channel) for channel in (STREAM, f"private-stream@{S}", OWN)] == [stage] * 3
    assert viewer.pushes(STREAM) == stage
    assert viewer.pushes(preview) == [("stream.authorized", 3)]
    assert viewer.pushes(f"private-user@{V}") == [("escrow.failed", 1)]
    assert viewer.pushes(sd) == []


async def test_who_does_not_belong_is_refused_by_name_and_hears_the_rest(night: Night, an: An) -> None:
    async with night.listening(V, OWN, "presence-nobody@home", f"private-user@{V}") as viewer, night.pushing():
        await night.solo.hear(an(EscrowFailedV1, buyer_id=S), an(EscrowFailedV1, buyer_id=V))
        await until(lambda: viewer.count("push") == 1, "the push")
        await until(night.nothing_waits, "the pushes made")

    refused = [(one["channel"], one["status"]) for one in viewer.heard if one["heard"] == "refused"]
    assert sorted(refused) == [("presence-nobody@home", 403), (OWN, 403)]
    assert viewer.pushes(OWN) == []


async def test_while_pusher_is_down_pushes_wait_and_come_in_order_when_it_returns(night: Night, an: An) -> None:
    async with night.listening(S, STREAM, OWN) as streamer:
        night.stack.stop_part("soketi")
        await night.solo.hear(*(an(GoalEndedV1, streamer_id=S, goal_id=f"{i:024x}") for i in range(30)))
        async with night.pushing():
            await until(lambda: _tried(night), "a push tried in vain")
        assert len(await night.waiting()) >= 90

        night.stack.start_part("soketi")
        await until(lambda: streamer.count("subscribed") == 4, "subscribed again")
        async with night.pushing():
            await until(night.nothing_waits, "the pushes made")
        await until(lambda: len(streamer.pushes(STREAM)) >= 30 and len(streamer.pushes(OWN)) >= 30, "all pushes")

    for channel in (STREAM, OWN):
        numbers = [seq for name, seq in streamer.pushes(channel) if name == "goal.ended"]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 30


async def _tried(night: Night) -> bool:
    return any(row["attempts"] for row in await night.waiting())


async def test_a_crash_before_the_record_repeats_the_pushes_with_the_same_ids_and_numbers(night: Night, an: An) -> None:
    async with night.listening(V, f"private-user@{V}") as viewer:
        await night.solo.hear(*(an(EscrowFailedV1, buyer_id=V) for _ in range(3)))
        plan_faults(json.dumps({"effects.after_vendor": {"action": "raise", "nth": 1}}))
        try:
            with pytest.RaisesGroup(FaultError):
                async with night.pushing():
                    await until(lambda: len(viewer.pushes(f"private-user@{V}")) == 3, "three pushes")
        finally:
            plan_faults(None)
        async with night.pushing():
            await until(night.nothing_waits, "the pushes made")
        await until(lambda: len(viewer.pushes(f"private-user@{V}")) == 6, "all pushes")

    heard = [(one["data"]["seq"], one["data"]["event_id"]) for one in viewer.heard if one["heard"] == "push"]
    assert [seq for seq, _ in heard] == [1, 2, 3] * 2
    assert heard[:3] == heard[3:]


# -- with soketi alone -------------------------------------------------------------------------------------------------


def a_push(number: int, *, push_id: str | None = None, channel: str | None = None, data: str = "{}") -> Pending[Push]:
    channel = channel or f"private-user@{number:024x}"
    push = Push(push_id=push_id or f"push {number}", name="goal.ended", channel=channel, data=data)
    return Pending(f"effect {number}", channel, push, 1)


@asynccontextmanager
async def outside(transport: httpx.AsyncBaseTransport | None = None, **env: Any) -> AsyncIterator[Outside]:
    given: dict[str, Any] = {
        "pusher_host": "pusher.test",
        "pusher_port": 80,
        "pusher_app_id": "1",
        "pusher_keys": {"key": "secret"},
        "devstack": True,
    }
    settings = Settings(**given | {name.lower(): value for name, value in env.items()})
    async with httpx.AsyncClient(transport=transport) as http:
        yield Outside({Settings: settings}, http, SystemClock())


def by_id(answers: Sequence[Answer[Push]]) -> dict[str, Any]:
    return {answer.id: answer.retry or answer.result or "done" for answer in answers}


async def test_one_wrong_push_of_ten_is_dropped_alone(stack: Stack) -> None:
    pending = [a_push(i, data='"' + "x" * (20_000 if i == 4 else 10) + '"') for i in range(10)]

    async with outside(**pusher_env(stack)) as there:
        answers = by_id(await gateway.push(pending, there))

    assert answers == {f"effect {i}": "status 413" if i == 4 else "done" for i in range(10)}


async def test_a_push_that_pusher_refuses_is_dropped_on_all_its_channels(stack: Stack) -> None:
    pending = [a_push(i, push_id="same", data="x" * 20_000) for i in range(2)]

    async with outside(**pusher_env(stack)) as there:
        answers = by_id(await gateway.push(pending, there))

    assert answers == {"effect 0": "status 413", "effect 1": "status 413"}


async def test_a_push_of_10_240_bytes_passes(stack: Stack) -> None:
    data = json.dumps("é" * 5_119, ensure_ascii=False)
    assert len(data.encode()) == 10_240

    async with outside(**pusher_env(stack)) as there:
        assert by_id(await gateway.push([a_push(1, data=data)], there)) == {"effect 1": "done"}


async def test_a_wrong_secret_is_mended_by_us_so_the_push_waits(stack: Stack) -> None:
    async with outside(**pusher_env(stack) | {"PUSHER_KEYS": {"demo-key-of-the-devstack": "wrong"}}) as there:
        [answer] = await gateway.push([a_push(1)], there)

    assert (answer.retry, answer.retry_after_seconds) == ("status 401", None)


# -- what is sent, and what is made of each answer ---------------------------------------------------------------------


class Vendor(httpx.AsyncBaseTransport):
    """Pusher's side of the wire: remembers requests, and answers as told."""

    def __init__(self, *answers: httpx.Response | Exception, delay_seconds: float = 0) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)
        self._delay_seconds = delay_seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await asyncio.sleep(self._delay_seconds)
        answer = self._answers.pop(0) if self._answers else httpx.Response(200, json={})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def bodies(self, resource: str) -> list[Any]:
        return [json.loads(one.content) for one in self.requests if one.url.path == f"/apps/1/{resource}"]


async def test_copies_of_a_push_share_calls_of_a_hundred_channels() -> None:
    vendor = Vendor()
    pending = [a_push(i, push_id="same") for i in range(250)]

    async with outside(vendor) as there:
        answers = await gateway.push(pending, there)

    assert sorted(len(body["channels"]) for body in vendor.bodies("events")) == [50, 100, 100]
    assert len(vendor.requests) == 3
    assert by_id(answers) == {one.id: "done" for one in pending}


async def test_different_pushes_share_calls_of_ten_and_copies_stay_together() -> None:
    vendor = Vendor()
    pending = [a_push(3 * i + j, push_id=f"push {i}") for j in range(3) for i in range(8)]

    async with outside(vendor) as there:
        answers = await gateway.push(pending, there)

    assert sorted(len(body["batch"]) for body in vendor.bodies("batch_events")) == [6, 9, 9]
    assert len(vendor.requests) == 3
    assert by_id(answers) == {one.id: "done" for one in pending}


async def test_several_pushes_of_one_channel_are_a_batch_in_their_order_beside_the_copies_of_the_last() -> None:
    vendor = Vendor()
    stream = f"private-stream@{S}"
    pending = [a_push(i, channel=stream) for i in range(4)]
    pending += [a_push(i, push_id="push 3") for i in (4, 5)]

    async with outside(vendor) as there:
        answers = await gateway.push(pending, there)

    assert [[one["channel"] for one in body["batch"]] for body in vendor.bodies("batch_events")] == [[stream] * 4]
    assert [len(body["channels"]) for body in vendor.bodies("events")] == [2]
    assert by_id(answers) == {one.id: "done" for one in pending}


async def test_of_several_pushes_of_one_channel_none_overtakes_one_that_has_to_wait() -> None:
    vendor = Vendor(httpx.Response(400), httpx.Response(200), httpx.Response(400), httpx.Response(503))
    pending = [a_push(i, channel=STREAM) for i in range(6)]

    async with outside(vendor) as there:
        answers = by_id(await gateway.push(pending, there))

    assert [answers[f"effect {i}"] for i in range(6)] == ["done", "status 400", "status 503", *["behind another"] * 3]
    assert len(vendor.requests) == 4


async def test_a_push_that_is_alone_is_one_event_on_all_its_channels() -> None:
    vendor = Vendor()

    async with outside(vendor) as there:
        await gateway.push([a_push(i, push_id="same") for i in range(3)], there)

    [body] = vendor.bodies("events")
    assert body["channels"] == [f"private-user@{i:024x}" for i in range(3)]


async def test_what_waits_behind_slow_calls_is_left_for_later_and_no_call_is_given_up() -> None:
    vendor = Vendor(delay_seconds=gateway.BEGIN_SECONDS + 0.1)
    pending = [a_push(i) for i in range(10 * gateway.CALLS_AT_ONCE + 1)]

    async with outside(vendor) as there:
        answers = by_id(await gateway.push(pending, there))

    assert sorted(answers.values()) == ["done"] * 10 * gateway.CALLS_AT_ONCE + ["others were slow"]


@pytest.mark.parametrize(
    ("answer", "retry", "after_seconds"),
    [
        (httpx.Response(429, headers={"retry-after": "7"}), "status 429", 7.0),
        (httpx.Response(429), "status 429", None),
        (httpx.Response(403), "status 403", None),
        (httpx.Response(500), "status 500", 1.0),
        (httpx.Response(503, headers={"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}), "status 503", 1.0),
        (httpx.ConnectError("refused"), "ConnectError", 1.0),
        (httpx.ReadTimeout("silent"), "ReadTimeout", 1.0),
    ],
)
async def test_what_may_pass_later_is_tried_again(
    answer: httpx.Response | Exception, retry: str, after_seconds: float | None
) -> None:
    async with outside(Vendor(answer)) as there:
        [said] = await gateway.push([a_push(1)], there)

    assert (said.retry, said.retry_after_seconds) == (retry, after_seconds)


async def test_one_call_that_fails_fails_only_its_own_pushes() -> None:
    pending = [a_push(i) for i in range(15)]

    async with outside(Vendor(httpx.Response(500))) as there:
        answers = by_id(await gateway.push(pending, there))

    assert sorted(answers.values()) == ["done"] * 5 + ["status 500"] * 10


# -- what waits too long -----------------------------------------------------------------------------------------------


async def test_what_is_stale_is_dropped_and_what_is_a_users_own_is_tried_for_as_long_as_it_is_kept(
    solo_of: SoloOf, an: An
) -> None:
    solo = await solo_of(SERVICE)  # whose Pusher is nowhere
    await solo.hear(an(GoalEndedV1, streamer_id=S, kind="ShowGoal", conditions=Conditions(session_id=S)))

    async def left() -> set[str]:
        return {row["key"] for row in await solo.runtime.database[EFFECTS.name].find().to_list(None)}

    async def tried() -> bool:
        return all(row["attempts"] for row in await solo.runtime.database[EFFECTS.name].find().to_list(None))

    async def only_own() -> bool:
        solo.runtime.bells.ring([EFFECTS.name])  # nobody else wakes it when a clock of the test's own moves
        return await left() == {OWN}

    async def nothing() -> bool:
        solo.runtime.bells.ring([EFFECTS.name])
        solo.clock.advance(1)  # a call in hand when its time was over is put off once more
        return await left() == set()

    effects = Effects(solo.runtime, SERVICE)
    running = asyncio.create_task(effects.run())
    try:
        assert len(await left()) == 3
        await until(tried, "each tried once")  # a call in hand when its time is over would wait for this clock
        solo.clock.advance(STALE.total_seconds())
        await until(only_own, "only the user's own left")
        solo.clock.advance(KEPT.total_seconds() - STALE.total_seconds() - 1)
        assert await only_own()
        await until(nothing, "nothing left")
    finally:
        effects.stop()
        await running
