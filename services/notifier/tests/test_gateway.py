"""Pusher itself: a real soketi, and a real pusher-js that listens."""

import asyncio
import json
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from aiohttp import web

from chassis.clock import SystemClock
from chassis.context import Outside
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis.effects.vendor_client import VendorClient
from chassis.http import create_app
from chassis.runtime.faults import FaultError, plan_faults
from chassis.service import EffectRequest, EffectResult
from chassis.timers.dispatcher import TimerDispatcher
from chassis_testing.service import ServiceHarness, access_token
from contracts import (
    Conditions,
    EscrowFailedV1,
    Event,
    GoalEndedV1,
    PassActivatedV1,
    PresenceCountedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    ViewerBlockedV1,
)
from devstack.stack import Stack
from notifier.domain import heads
from notifier.domain.pushes import KEPT, STALE, Push
from notifier.gateway import client, pushes
from notifier.gateway.client import CALLS_AT_ONCE
from notifier.service import SERVICE
from notifier.settings import Settings

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

LISTEN = Path(__file__).parents[3] / "deploy" / "devstack" / "node" / "listen.mjs"
PATIENCE_SECONDS = 60.0  # pusher-js takes its time before it connects again
S, V, OTHER, GOAL = "5" * 24, "7" * 24, "8" * 24, "9" * 24
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

    def __init__(self, stdin: asyncio.StreamWriter) -> None:
        self.heard: list[dict[str, Any]] = []
        self._stdin = stdin

    async def signs_in(self) -> None:
        """Tell Pusher whose connection this is."""
        self._stdin.write(b"sign in\n")
        await until(lambda: self.count("signed in") == 1, "signed in")

    def count(self, heard: str) -> int:
        return sum(one["heard"] == heard for one in self.heard)

    def pushes(self, channel: str) -> list[tuple[str, int]]:
        """Name and number of the pushes on one channel, in order of arrival."""
        pushes = [one for one in self.heard if one["heard"] == "push" and one["channel"] == channel]
        return [(one["name"], one["data"]["seq"]) for one in pushes]


class RunningNotifier:
    """The notifier with a clock that runs, the soketi it pushes to, and clients who listen."""

    def __init__(self, harness: ServiceHarness, stack: Stack, auth_url: str) -> None:
        self.harness = harness
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
        assert process.stdin is not None
        listener = Listener(process.stdin)
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
    async def working(self) -> AsyncIterator[None]:
        """Do what is due, and make the calls that follow."""
        timers = TimerDispatcher(self.harness.runtime, SERVICE)
        running = asyncio.create_task(timers.run())
        try:
            async with self.pushing():
                yield
        finally:
            timers.stop()
            await running

    @asynccontextmanager
    async def pushing(self) -> AsyncIterator[None]:
        """Make the pushes that wait, and those that come."""
        effects = EffectDispatcher(self.harness.runtime, SERVICE)
        running = asyncio.create_task(effects.run())
        try:
            yield
        finally:
            effects.stop()
            await running

    async def waiting(self) -> list[dict[str, Any]]:
        """The pushes that are not made yet."""
        return await self.harness.runtime.database[EFFECTS.name].find().to_list(None)

    async def nothing_waits(self) -> bool:
        return not await self.waiting()


async def _read(process: asyncio.subprocess.Process, listener: Listener) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        listener.heard.append(json.loads(line))


def pusher_env(stack: Stack) -> dict[str, Any]:
    env = stack.service_environment
    plain = ("PUSHER_SCHEME", "PUSHER_HOST", "PUSHER_PORT", "PUSHER_CLIENT_HOST", "PUSHER_APP_ID")
    return {name: env[name] for name in plain} | {"PUSHER_KEYS": json.loads(env["PUSHER_KEYS"])}


@pytest.fixture
async def running(harness_of: HarnessOf, stack: Stack) -> AsyncIterator[RunningNotifier]:
    harness = await harness_of(SERVICE, clock=SystemClock(), **pusher_env(stack))
    bound = socket.create_server(("127.0.0.1", urlsplit(stack.gateway).port or 0))  # to which soketi's webhooks go
    app = create_app(SERVICE, harness.runtime, harness.settings)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    yield RunningNotifier(harness, stack, f"http://127.0.0.1:{bound.getsockname()[1]}/pusher/auth")
    server.should_exit = True
    await serving


# -- with pusher-js ----------------------------------------------------------------------------------------------------


async def test_each_client_hears_what_is_theirs_in_order_under_rising_numbers(running: RunningNotifier, an: An) -> None:
    preview, sd = f"presence-stream-viewer@{S}.preview.{V}", f"presence-stream-viewer@{S}.sd.{V}"
    async with (
        running.listening(S, STREAM, f"private-stream@{S}", OWN) as streamer,
        running.listening(V, STREAM, f"private-user@{V}", preview) as viewer,
        running.pushing(),
    ):
        await running.harness.handle(
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


async def test_who_does_not_belong_is_refused_by_name_and_hears_the_rest(running: RunningNotifier, an: An) -> None:
    async with running.listening(V, OWN, "presence-nobody@home", f"private-user@{V}") as viewer, running.pushing():
        await running.harness.handle(an(EscrowFailedV1, buyer_id=S), an(EscrowFailedV1, buyer_id=V))
        await until(lambda: viewer.count("push") == 1, "the push")
        await until(running.nothing_waits, "the pushes made")

    refused = [(one["channel"], one["status"]) for one in viewer.heard if one["heard"] == "refused"]
    assert sorted(refused) == [("presence-nobody@home", 403), (OWN, 403)]
    assert viewer.pushes(OWN) == []


async def viewers(running: RunningNotifier) -> dict[str, int]:
    async with running.harness.client(V) as client:
        answer = await client.get(f"/sessions/{GOAL}/viewers/count")
    return dict(answer.json())


async def test_pushers_webhooks_and_answers_make_the_head_count(
    running: RunningNotifier, an: An, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "AGAIN", timedelta(hours=1))  # by webhooks alone
    now = running.harness.now
    paid = an(
        SessionViewerAuthorizedV1, streamer_id=S, session_id=GOAL, viewer_id=V, reason="paid",
        nbf=now, exp=now + timedelta(minutes=10),
    )  # fmt: skip
    await running.harness.handle(an(SessionStartedV1, streamer_id=S, session_id=GOAL), paid)
    everybody, sd = f"private-stream@{S}", f"presence-stream-viewer@{S}.sd.{V}"

    async with running.working():
        async with running.listening(V, everybody, sd), running.listening(OTHER, everybody, STREAM):

            async def two() -> bool:
                return await viewers(running) == {"viewers": 2, "preview": 1, "sd": 1}

            await until(two, "two are counted")

        async def nobody() -> bool:
            return await viewers(running) == {"viewers": 0, "preview": 0, "sd": 0}

        await until(nobody, "nobody is counted")
    told = {(one.preset, one.viewers) for one in await running.harness.take() if isinstance(one, PresenceCountedV1)}
    assert told >= {("preview", 1), ("sd", 1), ("preview", 0), ("sd", 0)}


async def test_who_is_blocked_is_cut_and_has_that_streamers_channels_no_more(running: RunningNotifier, an: An) -> None:
    theirs, everybody = f"private-user@{V}", f"private-stream@{S}"
    async with running.listening(V, theirs, everybody) as viewer, running.working():
        await viewer.signs_in()
        await running.harness.handle(an(ViewerBlockedV1, streamer_id=S, viewer_id=V))
        await until(lambda: viewer.count("lost") == 1, "cut")
        await until(lambda: viewer.count("refused") == 1 and viewer.count("subscribed") == 3, "asked anew")
        await running.harness.handle(an(GoalEndedV1, streamer_id=S), an(EscrowFailedV1, buyer_id=V))
        await until(lambda: viewer.count("push") == 1, "the push")
        await until(running.nothing_waits, "the pushes made")

    assert [one["channel"] for one in viewer.heard if one["heard"] == "refused"] == [everybody]
    assert viewer.pushes(everybody) == []


async def test_who_listens_where_it_is_paid_for_is_cut_when_the_session_is_somebodys_alone(
    running: RunningNotifier, an: An
) -> None:
    now = running.harness.now
    paid: Any = an(
        SessionViewerAuthorizedV1, streamer_id=S, session_id=GOAL, viewer_id=V, reason="paid",
        nbf=now, exp=now + timedelta(minutes=10),
    )  # fmt: skip
    both = (paid, paid.model_copy(update={"viewer_id": OTHER}))
    await running.harness.handle(an(SessionStartedV1, streamer_id=S, session_id=GOAL), *both)
    channels = {user: f"presence-stream-viewer@{S}.sd.{user}" for user in (V, OTHER)}
    async with running.listening(V, channels[V]) as viewer, running.listening(OTHER, channels[OTHER]) as other:
        await asyncio.gather(viewer.signs_in(), other.signs_in())
        async with running.working():
            await running.harness.handle(an(SessionUpdatedV1, streamer_id=S, session_id=GOAL, exclusive_to=(V,)))
            await until(lambda: other.count("refused") == 1, "the other is cut, and refused")

    assert (viewer.count("lost"), viewer.count("refused")) == (0, 0)


@pytest.mark.parametrize("ends", ["minutes", "show", "pass"])
async def test_what_ends_by_time_cuts_who_listened_by_it_but_not_who_has_something_else(
    running: RunningNotifier, an: An, ends: str
) -> None:
    funding = "f" * 24

    def until_after(seconds: float) -> Sequence[Event]:
        """Both may listen by it for so long from now."""
        now = running.harness.now
        times = {"nbf": now, "exp": now + timedelta(seconds=seconds)}
        if ends == "minutes":
            return (permission(V, reason="paid", **times), permission(OTHER, reason="paid", **times))
        if ends == "pass":
            kind = f"livestream_pass_{S}"
            return tuple(an(PassActivatedV1, user_id=user, pass_kind=kind, **times) for user in (V, OTHER))
        shows = {"ticket_goal_id": funding, "ticket_nbf": now, "ticket_exp": times["exp"]}
        return (an(SessionUpdatedV1, streamer_id=S, session_id=GOAL, exclusive_to=(), **shows),)

    def permission(user: str, **what: Any) -> Event:
        return an(SessionViewerAuthorizedV1, streamer_id=S, session_id=GOAL, viewer_id=user, **what)

    tickets = [permission(user, reason="ticket", goal_id=funding) for user in (V, OTHER)]
    something_else = permission(OTHER, reason="private")
    started = an(SessionStartedV1, streamer_id=S, session_id=GOAL)
    await running.harness.handle(started, *tickets, something_else, *until_after(600))
    channels = {user: f"presence-stream-viewer@{S}.sd.{user}" for user in (V, OTHER)}
    async with running.listening(V, channels[V]) as viewer, running.listening(OTHER, channels[OTHER]) as other:
        assert (viewer.count("subscribed"), other.count("subscribed")) == (1, 1)
        await asyncio.gather(viewer.signs_in(), other.signs_in())
        async with running.working():
            await running.harness.handle(*until_after(1))
            await until(lambda: viewer.count("refused") == 1, "the viewer is cut, and refused")
            await until(running.nothing_waits, "nobody else is to be cut")

    assert viewer.count("lost") == 1
    assert (other.count("lost"), other.count("refused")) == (0, 0)


async def test_while_pusher_is_down_pushes_wait_and_come_in_order_when_it_returns(
    running: RunningNotifier, an: An
) -> None:
    async with running.listening(S, STREAM, OWN) as streamer:
        running.stack.stop_part("soketi")
        await running.harness.handle(*(an(GoalEndedV1, streamer_id=S, goal_id=f"{i:024x}") for i in range(30)))
        async with running.pushing():
            await until(lambda: _tried(running), "a push tried in vain")
        assert len(await running.waiting()) >= 90

        running.stack.start_part("soketi")
        await until(lambda: streamer.count("subscribed") == 4, "subscribed again")
        async with running.pushing():
            await until(running.nothing_waits, "the pushes made")
        await until(lambda: len(streamer.pushes(STREAM)) >= 30 and len(streamer.pushes(OWN)) >= 30, "all pushes")

    for channel in (STREAM, OWN):
        numbers = [seq for name, seq in streamer.pushes(channel) if name == "goal.ended"]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == 30


async def _tried(running: RunningNotifier) -> bool:
    return any(row["attempts"] for row in await running.waiting())


async def test_a_crash_before_the_record_repeats_the_pushes_with_the_same_ids_and_numbers(
    running: RunningNotifier, an: An
) -> None:
    async with running.listening(V, f"private-user@{V}") as viewer:
        await running.harness.handle(*(an(EscrowFailedV1, buyer_id=V) for _ in range(3)))
        plan_faults(json.dumps({"effects.after_vendor": {"action": "raise", "nth": 1}}))
        try:
            with pytest.RaisesGroup(FaultError):
                async with running.pushing():
                    await until(lambda: len(viewer.pushes(f"private-user@{V}")) == 3, "three pushes")
        finally:
            plan_faults(None)
        async with running.pushing():
            await until(running.nothing_waits, "the pushes made")
        await until(lambda: len(viewer.pushes(f"private-user@{V}")) == 6, "all pushes")

    heard = [(one["data"]["seq"], one["data"]["event_id"]) for one in viewer.heard if one["heard"] == "push"]
    assert [seq for seq, _ in heard] == [1, 2, 3] * 2
    assert heard[:3] == heard[3:]


# -- with soketi alone -------------------------------------------------------------------------------------------------


def a_push(
    number: int, *, push_id: str | None = None, channel: str | None = None, data: str = "{}"
) -> EffectRequest[Push]:
    channel = channel or f"private-user@{number:024x}"
    push = Push(push_id=push_id or f"push {number}", name="goal.ended", channel=channel, data=data)
    return EffectRequest(f"effect {number}", channel, push, 1)


@asynccontextmanager
async def outside(vendor: "Vendor | None" = None, **env: Any) -> AsyncIterator[Outside]:
    given: dict[str, Any] = {
        "pusher_host": "127.0.0.1",
        "pusher_scheme": "http",
        "pusher_port": 80,
        "pusher_client_host": "127.0.0.1",
        "pusher_app_id": "1",
        "pusher_keys": {"key": "secret"},
        "devstack": True,
    }
    async with AsyncExitStack() as exits:
        if vendor is not None:
            given["pusher_port"] = await exits.enter_async_context(vendor.serving())
        http = VendorClient()
        exits.push_async_callback(http.close)
        settings = Settings(**given | {name.lower(): value for name, value in env.items()})
        yield Outside({Settings: settings}, http, SystemClock())


def by_id(answers: Sequence[EffectResult[Push]]) -> dict[str, Any]:
    return {answer.id: answer.retry or answer.result or "done" for answer in answers}


async def test_one_wrong_push_of_ten_is_dropped_alone(stack: Stack) -> None:
    pending = [a_push(i, data='"' + "x" * (20_000 if i == 4 else 10) + '"') for i in range(10)]

    async with outside(**pusher_env(stack)) as there:
        answers = by_id(await pushes.push(pending, there))

    assert answers == {f"effect {i}": "status 413" if i == 4 else "done" for i in range(10)}


async def test_a_push_that_pusher_refuses_is_dropped_on_all_its_channels(stack: Stack) -> None:
    pending = [a_push(i, push_id="same", data="x" * 20_000) for i in range(2)]

    async with outside(**pusher_env(stack)) as there:
        answers = by_id(await pushes.push(pending, there))

    assert answers == {"effect 0": "status 413", "effect 1": "status 413"}


async def test_a_push_of_10_240_bytes_passes(stack: Stack) -> None:
    data = json.dumps("é" * 5_119, ensure_ascii=False)
    assert len(data.encode()) == 10_240

    async with outside(**pusher_env(stack)) as there:
        assert by_id(await pushes.push([a_push(1, data=data)], there)) == {"effect 1": "done"}


async def test_a_wrong_secret_is_mended_by_us_so_the_push_waits(stack: Stack) -> None:
    async with outside(**pusher_env(stack) | {"PUSHER_KEYS": {"demo-key-of-the-devstack": "wrong"}}) as there:
        [answer] = await pushes.push([a_push(1)], there)

    assert (answer.retry, answer.retry_after_seconds) == ("status 401", None)


# -- what is sent, and what is made of each answer ---------------------------------------------------------------------


class Vendor:
    """Pusher's side of the wire: a server that remembers requests, and answers as told."""

    def __init__(self, *answers: int | tuple[int, dict[str, str]], delay_seconds: float = 0) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.peers: set[Any] = set()
        self._answers = list(answers)
        self._delay_seconds = delay_seconds

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve; gives the port."""
        server = web.Server(self._answer)
        runner = web.ServerRunner(server)
        await runner.setup()
        bound = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, bound).start()
        yield bound.getsockname()[1]
        await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self.requests.append((request.path, await request.read()))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        await asyncio.sleep(self._delay_seconds)  # what a slow vendor does
        answer = self._answers.pop(0) if self._answers else 200
        status, headers = (answer, {}) if isinstance(answer, int) else answer
        return web.json_response({}, status=status, headers=headers)

    def bodies(self, resource: str) -> list[Any]:
        return [json.loads(body) for path, body in self.requests if path == f"/apps/1/{resource}"]


async def test_copies_of_a_push_share_calls_of_a_hundred_channels() -> None:
    vendor = Vendor()
    pending = [a_push(i, push_id="same") for i in range(250)]

    async with outside(vendor) as there:
        answers = await pushes.push(pending, there)

    assert sorted(len(body["channels"]) for body in vendor.bodies("events")) == [50, 100, 100]
    assert len(vendor.requests) == 3
    assert by_id(answers) == {one.id: "done" for one in pending}


async def test_different_pushes_share_calls_of_ten_and_copies_stay_together() -> None:
    vendor = Vendor()
    pending = [a_push(3 * i + j, push_id=f"push {i}") for j in range(3) for i in range(8)]

    async with outside(vendor) as there:
        answers = await pushes.push(pending, there)

    assert sorted(len(body["batch"]) for body in vendor.bodies("batch_events")) == [6, 9, 9]
    assert len(vendor.requests) == 3
    assert by_id(answers) == {one.id: "done" for one in pending}


async def test_several_pushes_of_one_channel_are_a_batch_in_their_order_beside_the_copies_of_the_last() -> None:
    vendor = Vendor()
    stream = f"private-stream@{S}"
    pending = [a_push(i, channel=stream) for i in range(4)]
    pending += [a_push(i, push_id="push 3") for i in (4, 5)]

    async with outside(vendor) as there:
        answers = await pushes.push(pending, there)

    assert [[one["channel"] for one in body["batch"]] for body in vendor.bodies("batch_events")] == [[stream] * 4]
    assert [len(body["channels"]) for body in vendor.bodies("events")] == [2]
    assert by_id(answers) == {one.id: "done" for one in pending}


async def test_of_several_pushes_of_one_channel_none_overtakes_one_that_has_to_wait() -> None:
    vendor = Vendor(400, 200, 400, 503)
    pending = [a_push(i, channel=STREAM) for i in range(6)]

    async with outside(vendor) as there:
        answers = by_id(await pushes.push(pending, there))

    assert [answers[f"effect {i}"] for i in range(6)] == ["done", "status 400", "status 503", *["behind another"] * 3]
    assert len(vendor.requests) == 4


async def test_a_push_that_is_alone_is_one_event_on_all_its_channels() -> None:
    vendor = Vendor()

    async with outside(vendor) as there:
        await pushes.push([a_push(i, push_id="same") for i in range(3)], there)

    [body] = vendor.bodies("events")
    assert body["channels"] == [f"private-user@{i:024x}" for i in range(3)]


async def test_what_waits_behind_slow_calls_is_left_for_later_and_no_call_is_given_up() -> None:
    vendor = Vendor(delay_seconds=pushes.BEGIN_SECONDS + 0.1)
    pending = [a_push(i) for i in range(10 * CALLS_AT_ONCE + 1)]

    async with outside(vendor) as there:
        answers = by_id(await pushes.push(pending, there))

    assert sorted(answers.values()) == ["done"] * 10 * CALLS_AT_ONCE + ["others were slow"]


@pytest.mark.parametrize(
    ("answer", "retry", "after_seconds"),
    [
        ((429, {"Retry-After": "7"}), "status 429", 7.0),
        (429, "status 429", None),
        (403, "status 403", None),
        (302, "status 302", None),
        (500, "status 500", 1.0),
        ((503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), "status 503", 1.0),
    ],
)
async def test_what_may_pass_later_is_tried_again(
    answer: int | tuple[int, dict[str, str]], retry: str, after_seconds: float | None
) -> None:
    async with outside(Vendor(answer)) as there:
        [said] = await pushes.push([a_push(1)], there)

    assert (said.retry, said.retry_after_seconds) == (retry, after_seconds)


async def test_a_vendor_that_is_not_there_is_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]

    async with outside(pusher_port=port) as there:
        [said] = await pushes.push([a_push(1)], there)

    assert (said.retry, said.retry_after_seconds) == ("ClientConnectorError", 1.0)


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_vendor_that_is_silent_is_asked_again_before_the_chassis_gives_up_all(
    monkeypatch: pytest.MonkeyPatch, *, accepts: bool
) -> None:
    monkeypatch.setattr(client, "CALL_SECONDS", 0.2)
    with ExitStack() as exits:
        silent = exits.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = silent.getsockname()[1]
        if not accepts:  # what is full answers no handshake
            for _ in range(3):
                full = exits.enter_context(socket.socket())
                full.settimeout(0)
                full.connect_ex(("127.0.0.1", port))

        async with outside(pusher_port=port) as there:
            [said] = await pushes.push([a_push(1)], there)

    assert (said.retry is not None and "Timeout" in said.retry, said.retry_after_seconds) == (True, 1.0)


async def test_one_call_after_the_other_goes_over_one_connection() -> None:
    vendor = Vendor()

    async with outside(vendor) as there:
        for number in range(3):
            await pushes.push([a_push(number)], there)

    assert len(vendor.requests) == 3
    assert len(vendor.peers) == 1


async def test_a_connection_that_the_vendor_has_closed_is_not_used_again() -> None:
    vendor = Vendor((200, {"Connection": "close"}))

    async with outside(vendor) as there:
        answers = [by_id(await pushes.push([a_push(number)], there)) for number in range(2)]

    assert answers == [{"effect 0": "done"}, {"effect 1": "done"}]
    assert len(vendor.peers) == 2


async def test_one_call_that_fails_fails_only_its_own_pushes() -> None:
    pending = [a_push(i) for i in range(15)]

    async with outside(Vendor(500)) as there:
        answers = by_id(await pushes.push(pending, there))

    assert sorted(answers.values()) == ["done"] * 5 + ["status 500"] * 10


# -- what waits too long -----------------------------------------------------------------------------------------------


async def test_what_is_stale_is_dropped_and_what_is_a_users_own_is_tried_for_as_long_as_it_is_kept(
    harness_of: HarnessOf, an: An
) -> None:
    harness = await harness_of(SERVICE)  # whose Pusher is nowhere
    await harness.handle(an(GoalEndedV1, streamer_id=S, kind="ShowGoal", conditions=Conditions(session_id=S)))

    async def left() -> set[str]:
        return {row["key"] for row in await harness.runtime.database[EFFECTS.name].find().to_list(None)}

    async def tried() -> bool:
        return all(row["attempts"] for row in await harness.runtime.database[EFFECTS.name].find().to_list(None))

    async def only_own() -> bool:
        harness.runtime.wakeups.notify([EFFECTS.name])  # nobody else wakes it when a clock of the test's own moves
        return await left() == {OWN}

    async def nothing() -> bool:
        harness.runtime.wakeups.notify([EFFECTS.name])
        harness.clock.advance(1)  # a call in hand when its time was over is put off once more
        return await left() == set()

    effects = EffectDispatcher(harness.runtime, SERVICE)
    running = asyncio.create_task(effects.run())
    try:
        assert len(await left()) == 3
        await until(tried, "each tried once")  # a call in hand when its time is over would wait for this clock
        harness.clock.advance(STALE.total_seconds())
        await until(only_own, "only the user's own left")
        harness.clock.advance(KEPT.total_seconds() - STALE.total_seconds() - 1)
        assert await only_own()
        await until(nothing, "nothing left")
    finally:
        effects.stop()
        await running
