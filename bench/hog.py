"""Bench (h): one caller repeats the dearest command as fast as the gateway's limits allow. What do others feel?

    python bench/hog.py [motor|pymongo]

A stack of its own, with the limits per token of `.env.example`. First every candidate is repeated for a while at its
limit, and the processor seconds of the whole stack say which is the dearest. Then invitations are made, each to another
streamer, in windows: as usual, beside a hog that has just begun, with all that its burst allows at once, and beside one
that goes on, in turn. Figures are from the click to the open invitation on Kafka, and to a real pusher-js client.
What is felt is the pauses of ADR 0005, up to five of 50 ms, as beside any stream. A hog takes processor time besides:
where something else takes it too, less is left for both, and the ratio says more of that than of us.
"""

import asyncio
import itertools
import os
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from push import cpu_seconds
from sale import TicketSale

from demo.listener import Listener
from demo.waiting import until
from demo.world import Person, World, open_world
from devstack.stack import Stack

ENV_EXAMPLE = Path(__file__).parents[1] / ".env.example"
EVERYBODY_HERE = {"GATEWAY_ADDRESS_RATE": "100000r/s", "GATEWAY_ADDRESS_BURST": "100000"}  # has one address
CANDIDATE_SECONDS = 6.0
WARM_SECONDS = 8.0  # the burst is over by then: what is measured can go on for ever
BURST_SECONDS = 1.0  # so long at most a burst is felt most
WINDOWS, INVITATIONS, EVERY_SECONDS = 6, 12, 0.25
PREPARE_AT_ONCE = 8
RATIO_MAX = 2.0
USUAL, BURST, BESIDE = "as usual", "beside a hog that begins", "beside a hog that goes on"
BURST_FIRST = "the first second of that"
TICKET, ROSE = "livestream-show-ticket_134", "livestream-gift_rose"


@dataclass(frozen=True)
class Limit:
    """So many a second, and so many at once on top."""

    rate: float
    burst: int

    @classmethod
    def of(cls, kind: str) -> "Limit":
        text = ENV_EXAMPLE.read_text()
        rate, burst = (re.search(rf"^GATEWAY_{kind}_{what}=(\d+)", text, re.MULTILINE) for what in ("RATE", "BURST"))
        if rate is None or burst is None:
            raise LookupError(f"{ENV_EXAMPLE} has no GATEWAY_{kind}_RATE and _BURST")
        return cls(float(rate[1]), int(burst[1]))


TOKEN, COMMAND = Limit.of("TOKEN"), Limit.of("COMMAND")


@dataclass
class Hog:
    """A streamer on air with one token, and a viewer of theirs with diamonds enough and one token."""

    world: World
    streamer: Person
    viewer: Person
    session_id: str
    answers: Counter[int] = field(default_factory=Counter)
    prices = itertools.count(1)

    async def ask(self, who: Person, method: str, path: str, body: Any = None) -> httpx.Response:
        answer = await self.world.request(who, method, path, body)
        self.answers[answer.status_code] += 1
        return answer

    # The candidates: a turn each

    async def change_price(self) -> None:
        prices = {"prices": {"sd": 1 + next(self.prices) % 1_000}}
        await self.ask(self.streamer, "PATCH", f"/sessions/{self.session_id}", prices)

    async def block_and_unblock(self) -> None:
        for method in ("PUT", "DELETE"):
            await self.ask(self.streamer, method, f"/blocks/{'b' * 24}")

    async def change_source(self) -> None:
        kind = {"kind": ("phone", "obs")[next(self.prices) % 2]}
        await self.ask(self.streamer, "PUT", f"/sessions/{self.session_id}/sources/room-of-the-hog", kind)

    async def give(self) -> None:
        gift = {"product_id": ROSE, "session_id": self.session_id, "goal_id": None, "count": 1}
        await self.ask(self.viewer, "POST", "/gifts", gift)

    async def pay(self) -> None:
        await self.ask(self.viewer, "POST", f"/sessions/{self.session_id}/pay", {"duration": 60})

    async def ask_for_gifts_and_end(self) -> None:
        await self._offer("trigger-private", {}, deletions=1)

    async def offer_a_show_and_give_up(self) -> None:
        promised = {"perform_duration": 60, "hesitation_countdown": 60, "ticket_product_id": TICKET,
                    "ticket_product_type": "regular"}  # fmt: skip
        await self._offer("show-funding", promised, deletions=2)

    async def _offer(self, kind: str, context: dict[str, Any], deletions: int) -> None:
        body = {
            "levels": [{"title": "Hog", "target": 10}],
            "exp": time.time() + 600,
            "context": {"session_id": self.session_id, **context},
        }
        made = await self.ask(self.streamer, "POST", f"/goals?type={kind}", body)
        if made.status_code == httpx.codes.CREATED:
            for _ in range(deletions):
                await self.ask(self.streamer, "DELETE", f"/goals/{made.json()['goal_id']}", {})


@dataclass(frozen=True)
class Candidate:
    """A turn of so many commands that can be repeated."""

    name: str
    turn: Callable[[Hog], Awaitable[None]]
    commands: int
    burst: int = COMMAND.burst

    @property
    def rate(self) -> float:
        """Turns a second, as the limits allow them."""
        return COMMAND.rate / self.commands


CANDIDATES = (
    Candidate("PATCH /sessions/{id}, another price", Hog.change_price, 1),
    Candidate("PUT, DELETE /blocks/{id}", Hog.block_and_unblock, 2),
    Candidate("PUT /sessions/{id}/sources/{room}", Hog.change_source, 1),
    Candidate("POST /gifts, a rose", Hog.give, 1),
    Candidate("POST /sessions/{id}/pay, a step", Hog.pay, 1),
    Candidate("POST /goals trigger-private, DELETE", Hog.ask_for_gifts_and_end, 2),
    Candidate("POST /goals show-funding, DELETE, DELETE", Hog.offer_a_show_and_give_up, 3),
)


@asynccontextmanager
async def repeating(hog: Hog, candidate: Candidate) -> AsyncIterator[Counter[str]]:
    """The hog takes its turns meanwhile: the burst at once, then one as soon as the limit allows, late or not."""
    turns = Counter[str]()

    async def turn() -> None:
        await candidate.turn(hog)
        turns["done"] += 1

    async def repeat() -> None:
        began, running = time.perf_counter(), set[asyncio.Task[None]]()
        for number in itertools.count():
            due = began + max(0, number - candidate.burst // candidate.commands) / candidate.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))  # the rate is the experiment
            task = asyncio.create_task(turn())
            running.add(task)
            task.add_done_callback(running.discard)

    repeated = asyncio.create_task(repeat())
    try:
        yield turns
    finally:
        repeated.cancel()
        await asyncio.gather(repeated, return_exceptions=True)


@dataclass
class Click:
    """An invitation, and when things happened (Unix seconds)."""

    viewer: Person
    streamer: Person
    session_id: str
    goal_id: str = ""
    sent: float = 0.0


class Bench:
    """One stack with everybody on it."""

    def __init__(self, stack: Stack, world: World) -> None:
        self.stack, self.world = stack, world
        self.sale = TicketSale(stack, 0)
        self.clicks: list[Click] = []
        self.ears: list[Listener] = []
        self.idle = 0.0
        self._turn: Iterator[Click] = iter(())

    async def open(self, name: str) -> Click:
        """A streamer on air, and a viewer with diamonds enough."""
        streamer, viewer = self.world.person(name, "CREATOR"), self.world.person(f"viewer of {name}")
        prices = {"prices": {"sd": 1, "exclusive": 1}}
        started = await self.world.request(streamer, "POST", "/sessions", prices)
        assert started.status_code == httpx.codes.CREATED, started.text
        teller = self.world.person("a teller", "OPS")  # one each: crediting is a command too
        body = {"amount_diamonds": 10**6}
        credited = await self.world.request(teller, "POST", f"/wallets/{viewer.id}/credit", body)
        assert credited.status_code == httpx.codes.CREATED, credited.text
        return Click(viewer, streamer, started.json()["session_id"])

    async def prepare(self, count: int) -> None:
        gate = asyncio.Semaphore(PREPARE_AT_ONCE)

        async def one(number: int) -> Click:
            async with gate:
                return await self.open(f"streamer {number}")

        self.clicks = list(await asyncio.gather(*(one(number) for number in range(count))))
        channels = [f"private-stream@{click.streamer.id}" for click in self.clicks]
        for first in range(0, count, TOKEN.burst):
            ear = self.world.person("an ear")
            self.ears.append(await self.world.listen(ear, *channels[first : first + TOKEN.burst]))
        self._turn = iter(self.clicks)
        await self.sale.quiet()

    async def hog(self) -> Hog:
        """A new one, whom no limit has seen."""
        opened = await self.open("a hog")
        await self.sale.quiet()
        return Hog(self.world, opened.streamer, opened.viewer, opened.session_id)

    async def cost(self, candidate: Candidate) -> float:
        """Processor seconds that the whole stack spends a second on this hog, once its burst is done."""
        hog = await self.hog()
        steady = replace(candidate, burst=0)
        before, began = self._cpu_seconds(), time.perf_counter()
        async with repeating(hog, steady) as turns:
            await asyncio.sleep(CANDIDATE_SECONDS)
        await self.sale.quiet()
        used = self._cpu_seconds() - before - self.idle * (time.perf_counter() - began)
        each = used / max(1, turns["done"])
        answers = ", ".join(f"{times} x {status}" for status, times in sorted(hog.answers.items()))
        print(f"(h) {candidate.name:42} {each * 1e3:6.1f} ms a turn, {candidate.rate:4.1f}/s: "
              f"{each * candidate.rate:5.2f} cores   ({answers})", flush=True)  # fmt: skip
        return each * candidate.rate

    async def rest(self) -> None:
        """See what the stack uses when nobody asks for anything."""
        before, began = self._cpu_seconds(), time.perf_counter()
        await asyncio.sleep(CANDIDATE_SECONDS)
        self.idle = (self._cpu_seconds() - before) / (time.perf_counter() - began)
        print(f"(h) at rest: {self.idle:.2f} cores, which is not counted below", flush=True)

    def _cpu_seconds(self) -> float:
        return sum(cpu_seconds(self.stack).values())

    async def window(self) -> list[Click]:
        """Invitations at a steady rate, each to another streamer; returned once all of them are pushed."""

        async def click(one: Click) -> Click:
            one.sent = time.time()
            body = {"context": {"session_id": one.session_id, "duration": 60}}
            asked = await self.world.request(one.viewer, "POST", "/goals?type=trigger-exclusive", body)
            assert asked.status_code == httpx.codes.ACCEPTED, asked.text
            one.goal_id = asked.json()["goal_id"]
            return one

        began = time.perf_counter()
        running = []
        for number, one in enumerate(itertools.islice(self._turn, INVITATIONS)):
            await asyncio.sleep(max(0.0, began + number * EVERY_SECONDS - time.perf_counter()))
            running.append(asyncio.create_task(click(one)))
        clicked = list(await asyncio.gather(*running))
        wanted = {one.goal_id for one in clicked}
        await until("the invitations at pusher-js", self.pushed, lambda seen: seen.keys() >= wanted, 120)
        return clicked

    async def pushed(self) -> dict[str, float]:
        return {push.data["goal_id"]: push.at for ear in self.ears for push in ear.pushes if push.name == "goal.added"}

    def opened(self) -> dict[str, float]:
        return {one.event.subject: one.at for one in self.world.tap.carried if one.attributes.type == "goal.created.v1"}


async def measure(stack: Stack, environ: dict[str, str]) -> bool:
    """Which is the dearest, and how long an invitation takes beside it."""
    async with open_world(stack.status(), environ) as world:
        bench = Bench(stack, world)
        await bench.prepare((3 * WINDOWS + 1) * INVITATIONS)
        await bench.window()  # warm
        await bench.rest()
        costs = {candidate: await bench.cost(candidate) for candidate in CANDIDATES}
        dearest = max(costs, key=lambda candidate: costs[candidate])
        made: dict[str, list[Click]] = {name: [] for name in (USUAL, BURST, BURST_FIRST, BESIDE)}
        answers = Counter[int]()
        for _ in range(WINDOWS):
            made[USUAL] += await bench.window()
            hog = await bench.hog()
            async with repeating(hog, dearest):
                began = time.time()
                made[BURST] += (clicks := await bench.window())
                made[BURST_FIRST] += [one for one in clicks if one.sent < began + BURST_SECONDS]
                await asyncio.sleep(max(0.0, began + WARM_SECONDS - time.time()))
                made[BESIDE] += await bench.window()
            answers += hog.answers
            await bench.sale.quiet()
        said = ", ".join(f"{times} x {status}" for status, times in sorted(answers.items()))
        print(f"(h) the dearest: {dearest.name} ({said})")
        return tell("click → open, on Kafka", made, bench.opened()) & tell(
            "click → goal.added at pusher-js", made, await bench.pushed()
        )


def tell(what: str, made: dict[str, list[Click]], at: dict[str, float]) -> bool:
    """Print a figure of each; whether it is as expected."""
    took = {name: [(at[one.goal_id] - one.sent) * 1e3 for one in clicks] for name, clicks in made.items()}
    usual = statistics.median(took[USUAL])
    ratios = []
    for name, times in took.items():
        ratios.append(statistics.median(times) / usual)
        p90 = statistics.quantiles(times, n=10)[8]
        print(f"(h) {what:32} {name:28} p50 {statistics.median(times):6.1f} ms   p90 {p90:6.1f} ms   "
              f"{ratios[-1]:.2f} x of {len(times)}")  # fmt: skip
    print(f"(h) {what:32} expected < {RATIO_MAX:g} x   load {os.getloadavg()[0]:.1f}", flush=True)
    return max(ratios) < RATIO_MAX


def main(driver: str) -> bool:
    limits = {
        f"GATEWAY_{kind}_RATE": f"{limit.rate:.0f}r/s" for kind, limit in (("TOKEN", TOKEN), ("COMMAND", COMMAND))
    }
    bursts = {f"GATEWAY_{kind}_BURST": str(limit.burst) for kind, limit in (("TOKEN", TOKEN), ("COMMAND", COMMAND))}
    environ = {**os.environ, **limits, **bursts, **EVERYBODY_HERE, "MONGO_DRIVER": driver}
    with tempfile.TemporaryDirectory(prefix="footlights-bench-") as data, Stack(Path(data), environ=environ) as stack:
        return asyncio.run(measure(stack, environ))


if __name__ == "__main__":
    sys.exit(not main((sys.argv[1:] or ["motor"])[0]))
