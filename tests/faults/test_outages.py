"""MongoDB, Kafka and Pusher stand still in the middle of a story: all are answered, and it goes on where it was."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from demo.scene import Scene
from demo.settings import STEP_SECONDS
from demo.stories.invitations import refused
from demo.waiting import until
from demo.world import Person, World
from devstack.pusher_client import Heard, PusherClient
from devstack.stack import Stack

Verdict = Callable[[Scene], Awaitable[list[str]]]
OnAir = Callable[..., Awaitable[Scene]]

ANSWER_SECONDS = 6.0  # what a request may take, whatever happens
NOTICE_SECONDS = 10.0  # until those who need a server say that they are not ready
HEAL_SECONDS = 10.0  # until they say that they are, once it is back
RECONNECT_SECONDS = 60.0  # pusher-js gives a silent server up after 15 s, and knocks again after 15 s at the most
MONEY_SECONDS = 10.0  # until a gift is paid, on a busy machine; far less than Pusher is away
ASKERS = 4  # requests at any moment
GIFT = "livestream-gift_rose"

# Who says that it is not ready while this server stands still.
NEED = {"mongod": ("-api", "-worker"), "kafka": ("-worker",), "soketi": ("notifier-worker",)}


@asynccontextmanager
async def frozen(stack: Stack, part: str, seconds: float) -> AsyncIterator[None]:
    """The part answers nobody for so long, its sockets open; the block runs meanwhile and may last longer."""

    async def thaw() -> None:
        await asyncio.sleep(seconds)
        stack.resume(part)

    stack.pause(part)
    thawing = asyncio.create_task(thaw())
    try:
        yield
    finally:
        await thawing


@pytest.mark.parametrize(("part", "seconds"), [("mongod", 3.0), ("kafka", 5.0)])
async def test_a_story_outlives_a_server_that_stands_still(
    stack: Stack, on_air: OnAir, verdict: Verdict, part: str, seconds: float
) -> None:
    scene = await on_air("Lena", "Will")

    async with frozen(stack, part, seconds):
        await refused(scene)

    assert await verdict(scene) == []


@dataclass
class Crowd:
    """Who asks for something all the time, and how long each waits."""

    scene: Scene
    slowest: dict[str, float] = field(default_factory=dict)
    statuses: set[int] = field(default_factory=set)

    async def ask(self) -> None:
        """Until this is cancelled."""
        world, scene = self.scene.world, self.scene
        session, context = scene.session_id, {"session_id": scene.session_id, "duration": STEP_SECONDS}
        nobody = world.person("Nobody")  # has no diamonds: nothing comes of the commands
        while True:
            for method, path, body in (
                ("GET", f"/sessions/{session}", None),
                ("GET", "/wallets/me", None),
                ("POST", "/goals?type=trigger-exclusive", {"context": context}),
                ("POST", "/gifts", {"product_id": GIFT, "session_id": session, "count": 1}),
            ):
                began = time.monotonic()
                answer = await world.request(nobody, method, path, body)
                self.slowest[path] = max(self.slowest.get(path, 0.0), time.monotonic() - began)
                self.statuses.add(answer.status_code)
                await asyncio.sleep(0.1)


def in_need(stack: Stack, part: str) -> list[str]:
    """The processes that need this server."""
    names = [process["name"] for process in stack.status()["processes"]]
    return [name for name in names if name.endswith(NEED[part])]


async def troubles(stack: Stack, names: list[str]) -> dict[str, list[str]]:
    """Who of these is not ready, and why."""
    found = {}
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
        for name in names:
            try:
                answer = await client.get(f"{stack.url(name)}/readyz")
            except httpx.TransportError as error:
                found[name] = [f"does not answer: {error!r}"]  # or is being started again
            else:
                if not answer.is_success:
                    found[name] = answer.json()["reasons"]
    return found


@pytest.mark.parametrize("part", NEED)
async def test_a_server_that_is_silent_for_half_a_minute_is_noticed_and_forgiven(
    stack: Stack, on_air: OnAir, verdict: Verdict, part: str
) -> None:
    scene, need = await on_air("Lena", "Will"), in_need(stack, part)
    crowd = Crowd(await on_air("Mia", "Xaver"))
    askers = [asyncio.create_task(crowd.ask()) for _ in range(ASKERS)]

    async with frozen(stack, part, 30.0):
        await until(
            f"{need} not to be ready",
            lambda: troubles(stack, need),
            lambda found: found.keys() == set(need),
            seconds=NOTICE_SECONDS,
        )
    await until("all to be ready", lambda: troubles(stack, need), lambda found: not found, seconds=HEAL_SECONDS)
    for client in scene.clients.values():  # what is pushed while a client reconnects, no Pusher ever repeats to it
        await client.listens(RECONNECT_SECONDS)
    for asker in askers:
        asker.cancel()
    ended = await asyncio.gather(*askers, return_exceptions=True)

    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    assert all(seconds < ANSWER_SECONDS for seconds in crowd.slowest.values()), crowd.slowest
    assert crowd.statuses.isdisjoint({500, 502, 504}), crowd.statuses
    await refused(scene)
    assert await verdict(scene) == []


async def gives(world: World, viewer: Person, session_id: str) -> str:
    """A rose, which is paid for in time; its id."""
    body = {"product_id": GIFT, "session_id": session_id, "count": 1}
    answer = await world.request(viewer, "POST", "/gifts", body)
    assert answer.status_code == 202, answer.text
    gift_id: str = answer.json()["gift_id"]

    async def status() -> str:
        return str((await world.get(viewer, f"/gifts/{gift_id}"))["status"])

    await until("the gift to be paid", status, lambda said: said == "sent", seconds=MONEY_SECONDS)
    return gift_id


async def listen(world: World, client: PusherClient, who: Person, channel: str) -> None:
    form, headers = {"socket_id": client.socket_id, "channel_name": channel}, {"Authorization": f"Bearer {who.token}"}
    signed = await world.http.post("/pusher/auth", data=form, headers=headers)
    await client.subscribe(channel, signed.json())


def gifts(heard: list[Heard]) -> list[str]:
    return [one.data["gift_id"] for one in heard if one.name == "gift.sent"]


async def test_while_pusher_is_silent_for_half_a_minute_money_moves_and_all_of_it_is_told_afterwards_in_order(
    stack: Stack, world: World
) -> None:
    streamer, viewer = world.person("Ove", "CREATOR"), world.person("Pia")
    await world.credit(viewer, 100_000)
    session_id = (await world.command(streamer, "POST", "/sessions", {"prices": {"sd": 5}})).json()["session_id"]
    channels = (f"private-stream@{streamer.id}", f"private-user@{viewer.id}")
    given: list[str] = []
    async with PusherClient(world.status["pusher"]) as client:
        for channel in channels:
            await listen(world, client, viewer, channel)

        async with frozen(stack, "soketi", 30.0):
            until_then = time.monotonic() + 30.0 - MONEY_SECONDS  # what is given is paid before Pusher is back
            while time.monotonic() < until_then:
                given.append(await gives(world, viewer, session_id))
        later = await gives(world, viewer, session_id)

        async def heard() -> list[str]:
            return [one for channel in channels for one in gifts(client.on(channel))[-1:]]

        await until("the last gift to be told of", heard, lambda last: last == [later] * len(channels))

    assert len(given) > 1
    for channel in channels:
        seen = client.on(channel)
        assert list(dict.fromkeys(gifts(seen))) == [*given, later]
        numbers = list(dict.fromkeys(one.data["seq"] for one in seen))
        assert numbers == sorted(numbers)
        assert gifts(seen).count(later) == 1  # only what Pusher was too slow for may have been pushed again
    assert (await world.proof()).holds
