"""A hundred viewers who are let in listen to a burst on a real soketi, whose limits (Pusher's) are kept."""

import asyncio
import json
import re
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chassis.clock import SystemClock
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis_testing.service import ServiceHarness
from contracts import (
    EscrowFailedV1,
    Event,
    GoalEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
)
from contracts.goals import Conditions, Context, Level
from devstack.pusher_client import Heard, PusherClient
from devstack.stack import Stack
from notifier.gateway.client import CALL_SECONDS
from notifier.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

PATIENCE_SECONDS = 120.0  # four seconds at best
EVENTS, VIEWERS, AT_ONCE = 1_000, 100, 50
S, G, FUNDING, SHOW, LONG, FITS = "5" * 24, "9" * 24, "f" * 24, "e" * 24, "a" * 24, "b" * 24
STREAM = f"private-stream@{S}"
CHANNEL = re.compile(r"[A-Za-z0-9_\-=@,.;]{1,164}")  # Pusher's alphabet


@dataclass
class Asked:
    """One call of Pusher's API: what it was to push, and how long the answer took."""

    resource: str
    pushes: Sequence[dict[str, Any]]
    seconds: float = 0.0

    def copies(self) -> Iterator[tuple[str, int]]:
        """Channel and number of each copy."""
        for one in self.pushes:
            for channel in one.get("channels") or [one["channel"]]:
                yield channel, json.loads(one["data"])["seq"]


@dataclass
class Wire:
    """Stands between notifier and soketi, and remembers what goes through."""

    pusher: str
    asked: list[Asked] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Hand on what comes; gives the port."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

            async def hand_on(request: web.BaseRequest) -> web.Response:
                body = await request.read()
                given = json.loads(body) if body else {}  # a question
                asked = Asked(request.path.rpartition("/")[2], given.get("batch", [given]))
                if body:
                    self.asked.append(asked)
                began = time.monotonic()
                url = f"{self.pusher}{request.raw_path}"
                async with http.request(request.method, url, data=body, headers=request.headers) as answer:
                    said = web.Response(body=await answer.read(), status=answer.status)
                asked.seconds = time.monotonic() - began
                return said

            runner = web.ServerRunner(web.Server(hand_on))
            await runner.setup()
            bound = socket.create_server(("127.0.0.1", 0))
            await web.SockSite(runner, bound).start()
            yield bound.getsockname()[1]
            await runner.cleanup()

    def given_up(self) -> set[tuple[str, int]]:
        """Which copies were pushed again because Pusher was slow."""
        return {copy for one in self.asked if one.seconds > 0.9 * CALL_SECONDS for copy in one.copies()}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="footlights-bursts-") as data, Stack(data, only=("soketi",)) as running:
        yield running


@pytest.fixture
async def wire(stack: Stack) -> AsyncIterator[tuple[Wire, int]]:
    pusher = stack.status()["pusher"]
    wire = Wire(f"http://{pusher['host']}:{pusher['port']}")
    async with wire.serving() as port:
        yield wire, port


@pytest.fixture
async def notifier(harness_of: HarnessOf, stack: Stack, wire: tuple[Wire, int]) -> ServiceHarness:
    env = stack.service_environment
    given = {name: env[name] for name in ("PUSHER_SCHEME", "PUSHER_HOST", "PUSHER_APP_ID")}
    keys = json.loads(env["PUSHER_KEYS"])
    return await harness_of(SERVICE, clock=SystemClock(), **given, PUSHER_PORT=wire[1], PUSHER_KEYS=keys)


def let_in(an: An, harness: ServiceHarness, viewers: Sequence[str]) -> list[Event]:
    """All have paid, and have a ticket for a show that is on."""
    now, of = harness.now, {"streamer_id": S, "session_id": G}
    paid = {"reason": "paid", "nbf": now, "exp": now + timedelta(hours=1)}
    ticket = {"reason": "ticket", "goal_id": FUNDING, "nbf": None, "duration": None, "exp": None}
    return [
        an(SessionStartedV1, **of, exclusive_to=()),
        an(SessionUpdatedV1, **of, exclusive_to=(), ticket_goal_id=FUNDING),
        *(an(SessionViewerAuthorizedV1, **of, viewer_id=one, **what) for one in viewers for what in (paid, ticket)),
    ]


def added(an: An, goal_id: str, kind: str, context: Context, *titles: str) -> Event:
    levels = tuple(Level.model_construct(title=title, target=1) for title in titles)
    of = {"streamer_id": S, "session_id": G, "goal_id": goal_id, "kind": kind, "context": context}
    return an(SessionGoalAddedV1, **of, conditions=Conditions(session_id=G), levels=levels)


def burst(an: An, viewers: Sequence[str]) -> list[Event]:
    """Half of it for everybody; among it a show, whose holders are told, and Chinese that is too long, or just not."""
    funding = Context(type="show-funding", session_id=G)
    special = [
        added(an, SHOW, "ShowGoal", Context(type="show", session_id=G, funding_goal_id=FUNDING)),
        added(an, LONG, "ShowFundingGoal", funding, *("幕" * 700 for _ in range(5))),  # 10 500 bytes, 3 500 letters
        added(an, FITS, "ShowFundingGoal", funding, *("幕" * 600 for _ in range(5))),
    ]
    everybody = [an(GoalEndedV1, streamer_id=S, session_id=G, goal_id=f"{i:024x}", kind="ShowGoal") for i in range(500)]
    own = [
        an(EscrowFailedV1, buyer_id=viewers[i % VIEWERS], amount_diamonds=i)
        for i in range(EVENTS - len(everybody) - len(special))
    ]
    mixed = [event for pair in zip(everybody, own, strict=False) for event in pair]
    return [*mixed[:100], *special, *mixed[100:], *everybody[len(own) :]]


async def listen(client: PusherClient, harness: ServiceHarness, viewer: str) -> None:
    """Subscribe to all that is a viewer's, through our endpoint."""
    channels = [STREAM, f"private-user@{viewer}", f"presence-stream-viewer@{S}.sd.{viewer}"]
    form = {"socket_id": client.socket_id, "channel_name[]": channels}
    async with harness.client(viewer) as api:
        answers = (await api.post("/pusher/batch-authenticate", data=form)).json()
    for channel in channels:
        await client.subscribe(channel, answers[channel]["data"])


async def nothing_waits(harness: ServiceHarness) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while await harness.runtime.database[EFFECTS.name].count_documents({}):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def once(heard: Sequence[Heard], may_repeat: set[tuple[str, int]]) -> list[Heard]:
    """In order, without the repeats that are allowed."""
    seen: set[tuple[str, int]] = set()
    kept = []
    for one in heard:
        copy = (one.channel, one.data["seq"])
        if copy not in seen or copy not in may_repeat:
            kept.append(one)
        seen.add(copy)
    return kept


async def test_a_burst_reaches_a_hundred_viewers_in_order_once_and_within_pushers_limits(
    notifier: ServiceHarness, stack: Stack, wire: tuple[Wire, int], an: An
) -> None:
    viewers = [f"{i:024x}" for i in range(1, VIEWERS + 1)]
    await notifier.handle(*let_in(an, notifier, [*viewers, "c" * 24]))  # one more has a ticket, and is not there
    await notifier.runtime.database[EFFECTS.name].delete_many({})  # what is pushed of it, nobody hears yet
    events = burst(an, viewers)
    assert len(events) == EVENTS

    async with AsyncExitStack() as exits:
        clients = [await exits.enter_async_context(PusherClient(stack.status()["pusher"])) for _ in viewers]
        for client, viewer in zip(clients, viewers, strict=True):
            await listen(client, notifier, viewer)
        effects = EffectDispatcher(notifier.runtime, SERVICE)
        pushing = asyncio.create_task(effects.run())
        for i in range(0, EVENTS, AT_ONCE):
            await notifier.handle(*events[i : i + AT_ONCE])
            await notifier.run_timers()  # which tell the holders of the show
        await nothing_waits(notifier)
        effects.stop()
        await pushing
        await everything_has_come(clients, events)

    asked, may_repeat = wire[0].asked, wire[0].given_up()
    goals = [one.goal_id for one in events if isinstance(one, GoalEndedV1 | SessionGoalAddedV1)]
    for client, viewer in zip(clients, viewers, strict=True):
        stream = once(client.on(STREAM), may_repeat)
        own = once(client.on(f"private-user@{viewer}"), may_repeat)
        paid = once(client.on(f"presence-stream-viewer@{S}.sd.{viewer}"), may_repeat)
        refunds = [one.amount_diamonds for one in events if isinstance(one, EscrowFailedV1) and one.buyer_id == viewer]
        assert [goal_of(one) for one in stream] == goals
        assert [one.data["amount_diamonds"] for one in own] == refunds
        assert [(one.name, one.data["reason"]) for one in paid] == [("stream.authorized", "show")]
        for heard in (stream, own):
            numbers = [one.data["seq"] for one in heard]
            assert numbers == sorted(set(numbers))
    [long, fits] = [one for one in clients[0].on(STREAM) if goal_of(one) in (LONG, FITS)]
    assert ("fetch" in long.data, "fetch" in fits.data) == (True, False)
    require_limits(asked)
    assert max(len(one.pushes) for one in asked) == 10
    show = {copy for one in asked for copy in one.copies() if ".sd." in copy[0] or ".preview." in copy[0]}
    assert len(show) == 2 * (VIEWERS + 1)  # more than one event can be for


def goal_of(heard: Heard) -> str:
    """The goal that a push is about; of one that is too long, where to fetch it."""
    return str(heard.data.get("goal_id") or heard.data["fetch"].rpartition("/")[2])


async def everything_has_come(clients: Sequence[PusherClient], events: Sequence[Event]) -> None:
    """What Pusher has taken is on its way: wait for the last of it."""
    last = next(one.goal_id for one in reversed(events) if isinstance(one, GoalEndedV1))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all(any(goal_of(one) == last for one in client.on(STREAM)[-1:]) for client in clients):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def require_limits(asked: Sequence[Asked]) -> None:
    """Pusher's: 10 events a batch, 100 channels an event, 10 240 bytes of data, 164 letters of its alphabet a name."""
    for one in asked:
        assert one.resource in ("events", "batch_events")
        assert len(one.pushes) <= 10
        for push in one.pushes:
            channels = push.get("channels") or [push["channel"]]
            assert len(channels) <= 100
            assert len(push["data"].encode()) <= 10_240
            assert all(CHANNEL.fullmatch(channel) for channel in channels)
