"""Bench (c): one hop, from the click (`DELETE /goals/{id}`) to a real pusher-js client that has `goal.ended`.

    python bench/push.py [motor|pymongo]

A stack of its own. Sessions with an open funding are prepared first; then one funding after the other is ended at a
steady rate, each in its own session, whatever the answers do (an open loop: a slow answer delays no click).
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from demo.waiting import until
from demo.world import Person, World, open_world
from devstack.stack import Stack

RATES = (20, 50)
SECONDS = 15
EXPECTED_P99_MS = {20: 100}
PREPARE_AT_ONCE = 8
PREPARE_TRIES_MAX = 5  # each waits a while for the session
CHANNELS_PER_CLIENT = 250
TICKET = "livestream-show-ticket_134"


@dataclass
class Click:
    """One goal to end, and when things happened (Unix seconds)."""

    streamer: Person
    goal_id: str
    sent: float = 0
    answered: float = 0
    on_kafka: float = 0
    pushed: float = 0


async def prepare(world: World, count: int) -> list[Click]:
    """`count` streamers, each on air with an open funding."""
    gate = asyncio.Semaphore(PREPARE_AT_ONCE)

    async def one(number: int) -> Click:
        async with gate:
            streamer = world.person(f"streamer {number}", "CREATOR")
            session = (await world.request(streamer, "POST", "/sessions", {"prices": {"sd": 10}})).json()["session_id"]
            context = {
                "session_id": session, "perform_duration": 60, "hesitation_countdown": 3_600,
                "ticket_product_id": TICKET, "ticket_product_type": "regular",
            }  # fmt: skip
            body = {"levels": [{"title": "Show", "target": 10}], "exp": time.time() + 3_600, "context": context}
            for _ in range(PREPARE_TRIES_MAX):
                answer = await world.request(streamer, "POST", "/goals?type=show-funding", body)
                if answer.status_code != httpx.codes.NOT_FOUND:  # on a busy machine goals hears of the session late
                    break
            assert answer.status_code == 201, answer.text
            return Click(streamer, answer.json()["goal_id"])

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def click_all(world: World, clicks: list[Click], rate: int) -> None:
    """End one goal every 1/rate seconds."""

    async def end(click: Click) -> None:
        click.sent = time.time()
        answer = await world.request(click.streamer, "DELETE", f"/goals/{click.goal_id}", {})
        click.answered = time.time()
        assert answer.status_code == 204, answer.text

    began = time.perf_counter()
    running = []
    for number, click in enumerate(clicks):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))  # the rate is the experiment
        running.append(asyncio.create_task(end(click)))
    await asyncio.gather(*running)


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """Processor seconds each process of the stack has used."""
    return {row["name"]: sum(psutil.Process(row["pid"]).cpu_times()[:2]) for row in stack.status()["processes"]}


async def measure(stack: Stack, rate: int, driver: str) -> bool:
    """One rate: prepare, listen, click, and say where the milliseconds went."""
    async with open_world(stack.status(), {}) as world:
        clicks = await prepare(world, rate * SECONDS)
        ear = world.person("an ear")
        channels = [f"private-stream@{click.streamer.id}" for click in clicks]
        parts = range(0, len(channels), CHANNELS_PER_CLIENT)
        ears = [await world.listen(ear, *channels[first : first + CHANNELS_PER_CLIENT]) for first in parts]
        before, began = cpu_seconds(stack), time.perf_counter()
        await click_all(world, clicks, rate)

        async def heard() -> dict[str, float]:
            return {p.data["goal_id"]: p.at for e in ears for p in e.pushes if p.name == "goal.ended"}

        pushed = await until("every goal.ended at pusher-js", heard, lambda found: len(found) == len(clicks))
        wall = time.perf_counter() - began
        cpu = {name: used - before[name] for name, used in cpu_seconds(stack).items()}
        kafka = {c.event.subject: c.at for c in world.tap.carried if c.attributes.type == "goal.ended.v1"}
        for click in clicks:
            click.pushed, click.on_kafka = pushed[click.goal_id], kafka[click.goal_id]
    return tell(clicks, rate, driver, {name: used / wall for name, used in cpu.items()})


def tell(clicks: list[Click], rate: int, driver: str, cores: dict[str, float]) -> bool:
    """Print the figures; True when the expectation for this rate is met."""
    steps = {
        "click → pusher-js": [c.pushed - c.sent for c in clicks],
        "click → answer": [c.answered - c.sent for c in clicks],
        "click → on Kafka": [c.on_kafka - c.sent for c in clicks],
        "Kafka → pusher-js": [c.pushed - c.on_kafka for c in clicks],
    }
    print(f"(c) {driver}, {rate}/s, {len(clicks)} clicks")
    for name, seconds in steps.items():
        cuts = statistics.quantiles([s * 1_000 for s in seconds], n=100)
        print(f"    {name:18} p50 {cuts[49]:6.1f} ms   p99 {cuts[98]:6.1f} ms")
    shown = sorted(cores.items(), key=lambda item: -item[1])
    print("    cores:", ", ".join(f"{name} {used:.2f}" for name, used in shown if used >= 0.01))
    p99 = statistics.quantiles([s * 1_000 for s in steps["click → pusher-js"]], n=100)[98]
    if rate not in EXPECTED_P99_MS:
        return True
    print(f"    p99 {p99:.0f} ms (expected < {EXPECTED_P99_MS[rate]})")
    return p99 < EXPECTED_P99_MS[rate]


def main(driver: str) -> bool:
    """Both rates on one stack."""
    environ = {**os.environ, "MONGO_DRIVER": driver}
    with tempfile.TemporaryDirectory(prefix="footlights-bench-") as data, Stack(Path(data), environ=environ) as stack:
        asyncio.run(measure(stack, 5, driver))  # warm
        met = [asyncio.run(measure(stack, rate, driver)) for rate in RATES]  # each, whatever the one before said
        return all(met)


if __name__ == "__main__":
    sys.exit(not main((sys.argv[1:] or ["motor"])[0]))
