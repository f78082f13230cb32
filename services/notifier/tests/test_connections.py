"""Connections to a real soketi, as a client of somebody's own making has them: with a signature that it was given
before, and more of them than a presence channel has seats.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from chassis.clock import SystemClock
from chassis.service import EffectRequest
from chassis_testing.service import ServiceHarness
from devstack.stack import Stack
from notifier.domain.cuts import Cut
from notifier.domain.heads import CountHeads, Heads
from notifier.gateway import audience
from notifier.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

S, V, G = "5" * 24, "7" * 24, "9" * 24
PATIENCE_SECONDS = 60.0
CUT = 4009  # Pusher's code: the app has cut it, do not come back as you are
SEATS = 100  # of a presence channel


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="footlights-soketi-") as data, Stack(data, only=("soketi",)) as running:
        yield running


@pytest.fixture
async def harness(harness_of: HarnessOf, stack: Stack) -> ServiceHarness:
    env = stack.service_environment
    pusher = {name: env[name] for name in ("PUSHER_SCHEME", "PUSHER_HOST", "PUSHER_PORT", "PUSHER_APP_ID")}
    return await harness_of(SERVICE, clock=SystemClock(), **pusher, PUSHER_KEYS=json.loads(env["PUSHER_KEYS"]))


class Connection:
    """One socket, and what it hears."""

    def __init__(self, harness: ServiceHarness, socket: aiohttp.ClientWebSocketResponse, user_id: str) -> None:
        self.socket_id = ""
        self._harness = harness
        self._socket = socket
        self._user_id = user_id

    async def heard(self, *names: str) -> dict[str, Any]:
        """The next of these events."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                event: dict[str, Any] = json.loads(await self._socket.receive_str())
                if event["event"] in names:
                    return event

    async def cut(self) -> int:
        """Waits for its end; the code that the server gave for it."""
        told = await self.heard("pusher:error")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self._socket.closed:
                await self._socket.receive()
        return int(told["data"]["code"])

    async def asks(self, path: str, **form: str) -> dict[str, str]:
        """What our service gives it."""
        async with self._harness.client(self._user_id) as client:
            answer = await client.post(path, data={"socket_id": self.socket_id, **form})
        assert answer.is_success, answer.text
        return dict(answer.json())

    async def sign_in(self) -> None:
        signed = await self.asks("/pusher/user-auth")
        await self._socket.send_json({"event": "pusher:signin", "data": signed})
        await self.heard("pusher:signin_success")

    async def subscribe(self, channel: str, signed: dict[str, str]) -> bool:
        """Whether Pusher lets it listen."""
        await self._socket.send_json({"event": "pusher:subscribe", "data": {"channel": channel, **signed}})
        answer = await self.heard("pusher_internal:subscription_succeeded", "pusher:subscription_error")
        return bool(answer["event"] == "pusher_internal:subscription_succeeded")


@asynccontextmanager
async def connected(harness: ServiceHarness, stack: Stack, user_id: str) -> AsyncIterator[Connection]:
    pusher = stack.status()["pusher"]
    url = f"ws://{pusher['host']}:{pusher['port']}/app/{pusher['key']}?protocol=7"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        connection = Connection(harness, socket, user_id)
        established = await connection.heard("pusher:connection_established")
        connection.socket_id = json.loads(established["data"])["socket_id"]
        yield connection


async def test_who_was_cut_opens_nothing_any_more_with_a_signature_given_before(
    harness: ServiceHarness, stack: Stack
) -> None:
    channel = f"private-stream@{S}"
    async with connected(harness, stack, V) as before:
        await before.sign_in()
        signed = await before.asks("/pusher/auth", channel_name=channel)
        assert await before.subscribe(channel, signed)

        [answer] = await audience.cut([EffectRequest("1", "k", Cut(user_id=V), 1)], harness.runtime.outside)

        assert answer.retry is None
        assert await before.cut() == CUT
    async with connected(harness, stack, V) as after:
        assert not await after.subscribe(channel, signed)


async def test_more_viewers_are_counted_than_a_presence_channel_has_seats(
    harness: ServiceHarness, stack: Stack
) -> None:
    everybody, seats = f"private-stream@{S}", f"presence-stream@{S}"
    async with AsyncExitStack() as crowd:
        seated = []
        for number in range(SEATS + 1):
            viewer = await crowd.enter_async_context(connected(harness, stack, f"{number:024x}"))
            await viewer.sign_in()
            assert await viewer.subscribe(everybody, await viewer.asks("/pusher/auth", channel_name=everybody))
            seated.append(await viewer.subscribe(seats, await viewer.asks("/pusher/auth", channel_name=seats)))

        question = EffectRequest("1", "k", CountHeads(session_id=G, streamer_id=S), 1)
        [answer] = await audience.count_heads([question], harness.runtime.outside)

    assert seated == [True] * SEATS + [False]
    assert answer.result == Heads(audience=SEATS + 1, paid=0)
