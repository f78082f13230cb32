"""Bench (k): 50 checkouts a second at a payment gateway that takes 2 s to answer. What do other endpoints feel?

    python bench/checkout.py [motor|pymongo]

A stack of its own. Other requests come at a steady rate, a few of each endpoint, in windows: as usual, beside checkouts
at a gateway that answers at once, and beside the same checkouts at one that takes 2 s, in turn. A checkout is an order
and its handing over, of somebody new each time; the gateway (So-net's sandbox) is then told of it, which is an effect
of the worker's. Its slowness is what is measured: it must cost the others nothing, beyond what so many orders cost.
Besides, each process of the shop is asked every few milliseconds whether it is alive: the longest it took to say so
is the longest that something held its event loop up, the machine included.
"""

import asyncio
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from pymongo import AsyncMongoClient

from demo.waiting import until
from demo.world import World, open_world
from devstack.stack import Stack

RATE = 50
ROUNDS, WINDOW_SECONDS = 3, 20  # so that each kind lasts a minute
EVERY_SECONDS = 0.1  # of each endpoint
ALIVE_EVERY_SECONDS = 0.01
QUIET_SECONDS = 180.0
RATIO_MAX = 1.2
USUAL, QUICK, SLOW = "as usual", "beside 50 checkouts/s", "the same, gateway takes 2 s"
ROSE, PACK = "livestream-gift_rose", "diamond_3300"


@dataclass
class Window:
    """What was measured of one kind: milliseconds by endpoint, and how long each process was silent at most."""

    took: dict[str, list[float]] = field(default_factory=dict)
    silent: dict[str, list[float]] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)


class Bench:
    """One stack with a streamer on air, a viewer with diamonds, and a shop."""

    def __init__(self, stack: Stack, world: World) -> None:
        self.stack, self.world = stack, world
        self.streamer, self.viewer = world.person("streamer", "CREATOR"), world.person("viewer")
        self.session_id = ""
        self.numbers = itertools.count()
        ports = stack.settings
        self.sonet = f"http://127.0.0.1:{ports.port('sonet')}"
        self.processes = {name: f"http://127.0.0.1:{ports.port(name)}/healthz" for name in ("shop-api", "shop-worker")}

    async def open(self) -> None:
        started = await self.world.request(self.streamer, "POST", "/sessions", {"prices": {"sd": 1}})
        self.session_id = started.json()["session_id"]
        await self.world.credit(self.viewer, 10**6)

    def endpoints(self) -> dict[str, Callable[[], Awaitable[httpx.Response]]]:
        """Others' requests: of the shop itself, and of services that have nothing to do with it."""
        ask, viewer = self.world.request, self.viewer
        gift = {"product_id": ROSE, "session_id": self.session_id, "count": 1}
        return {
            "GET /shop/products": lambda: ask(viewer, "GET", "/shop/products"),
            "GET /shop/orders": lambda: ask(viewer, "GET", "/shop/orders"),
            "POST /gifts": lambda: ask(viewer, "POST", "/gifts", gift),
            "GET /wallets/me": lambda: ask(viewer, "GET", "/wallets/me"),
            "GET /sessions/{id}": lambda: ask(viewer, "GET", f"/sessions/{self.session_id}"),
        }

    async def check_out(self, window: Window) -> None:
        buyer = self.world.person(f"buyer {next(self.numbers)}")
        wish = {"product_id": PACK, "quantity": 1, "gateway": "sonet"}
        made = await self.world.request(buyer, "POST", "/shop/checkout", wish)
        window.answers[f"{made.status_code} checkout"] += 1
        if made.status_code == httpx.codes.CREATED:
            body = {"order_id": made.json()["order_id"]}
            handed = await self.world.request(buyer, "POST", "/shop/checkout/sonet/complete", body)
            window.answers[f"{handed.status_code} complete"] += 1

    async def behave(self, how: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            told = await client.put(
                f"{self.sonet}/behaviour", content=json.dumps({"authOrder": how, "confirmOrder": how})
            )
            assert told.is_success, told.text

    async def quiet(self) -> None:
        """Nothing waits to be asked of the gateway."""
        mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(self.stack.mongo_url)

        async def waiting() -> int:
            return int(await mongo["shop"]["effects"].count_documents({}))

        await until("the gateway to be told of all", waiting, lambda count: count == 0, QUIET_SECONDS)
        await mongo.close()

    async def measure(self, into: Window, *, checkouts: bool) -> None:
        """One window."""
        async with asyncio.TaskGroup() as all_, listening(self.processes, into):
            for name, ask in self.endpoints().items():
                all_.create_task(_at(1 / EVERY_SECONDS, partial(self._timed, name, ask, into)))
            if checkouts:
                all_.create_task(_at(RATE, lambda: self.check_out(into)))
            await asyncio.sleep(WINDOW_SECONDS)

    async def _timed(self, name: str, ask: Callable[[], Awaitable[httpx.Response]], into: Window) -> None:
        began = time.perf_counter()
        answer = await ask()
        into.took.setdefault(name, []).append((time.perf_counter() - began) * 1e3)
        into.answers[f"{answer.status_code} {name}"] += 1


async def _at(rate: float, do: Callable[[], Awaitable[None]]) -> None:
    """So often a second for a window, whatever the answers do (an open loop: a slow answer delays no request)."""
    began, running = time.perf_counter(), []
    for number in range(int(rate * WINDOW_SECONDS)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))  # the rate is the experiment
        running.append(asyncio.ensure_future(do()))
    await asyncio.gather(*running)


@asynccontextmanager
async def listening(processes: dict[str, str], into: Window) -> AsyncIterator[None]:
    """Whether each process is alive, asked again and again; what it took, in milliseconds."""

    async def ask(name: str, url: str) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            while True:
                began = time.perf_counter()
                await client.get(url)
                into.silent.setdefault(name, []).append((time.perf_counter() - began) * 1e3)
                await asyncio.sleep(ALIVE_EVERY_SECONDS)

    asking = [asyncio.create_task(ask(name, url)) for name, url in processes.items()]
    try:
        yield
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def run(stack: Stack, environ: dict[str, str]) -> bool:
    """Windows in turn, and what they say."""
    async with open_world(stack.status(), environ) as world:
        bench = Bench(stack, world)
        await bench.open()
        await bench.measure(Window(), checkouts=True)  # warm
        kinds = {USUAL: Window(), QUICK: Window(), SLOW: Window()}
        for _ in range(ROUNDS):
            for name, window in kinds.items():
                await bench.behave("well")
                await bench.quiet()
                await bench.behave("slow" if name == SLOW else "well")
                await bench.measure(window, checkouts=name != USUAL)
        return tell(kinds)


def tell(kinds: dict[str, Window]) -> bool:
    """Print a figure of each; whether a slow gateway costs others no more than a quick one."""
    ratios = []
    for endpoint in kinds[USUAL].took:
        p99 = {name: _p99(window.took[endpoint]) for name, window in kinds.items()}
        ratios.append(p99[SLOW] / p99[QUICK])
        beside = f"slow / quick {ratios[-1]:.2f} x   slow / usual {p99[SLOW] / p99[USUAL]:.2f} x"
        print(f"(k) {endpoint:20} p99 {_shown(p99)}   {beside}")
        print(f"(k) {'':20} p50 {_shown({name: statistics.median(one.took[endpoint]) for name, one in kinds.items()})}")
    for process in kinds[USUAL].silent:
        shown = "   ".join(
            f"{name} p99 {_p99(window.silent[process]):5.1f} max {max(window.silent[process]):6.1f} ms"
            for name, window in kinds.items()
        )
        print(f"(k) {process} says that it is alive after   {shown}")
    for name, window in kinds.items():
        print(f"(k) {name}: " + ", ".join(f"{times} x {what}" for what, times in sorted(window.answers.items())))
    print(f"(k) expected slow / quick < {RATIO_MAX:g} x   load {os.getloadavg()[0]:.1f}", flush=True)
    return max(ratios) < RATIO_MAX


def _shown(times: dict[str, float]) -> str:
    return "   ".join(f"{name} {ms:6.1f} ms" for name, ms in times.items())


def _p99(times: Iterable[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def main(driver: str) -> bool:
    environ = {**os.environ, "MONGO_DRIVER": driver}
    with tempfile.TemporaryDirectory(prefix="footlights-bench-") as data, Stack(Path(data), environ=environ) as stack:
        return asyncio.run(run(stack, environ))


if __name__ == "__main__":
    sys.exit(not main((sys.argv[1:] or ["motor"])[0]))
