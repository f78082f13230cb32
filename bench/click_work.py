"""What one click costs: commands that MongoDB is asked, and processor time of the whole stack, tree against tree.

    python bench/click_work.py [TREE[+together]...] [--rounds N] [--rates 20 50] [--driver motor|pymongo] [--waterfall]

A click is that of `push.py`. Each TREE is a checkout with its own `.venv`, by default this one; each has a stack of its
own, and they are measured in turns: what else the machine does, it does to all. Counts and processor time are net of
what the same stack does when nobody clicks. Wall time is no measure here; `push.py` tells that. `+together` has one
process for each service, as `devstack up --together`. The TREE `anchor` is the same click by hand (`click_anchor.py`).

`--waterfall` says instead, of clicks that come alone, who asks MongoDB what.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from push import CHANNELS_PER_CLIENT, click_all, cpu_seconds, prepare
from pymongo import MongoClient

from demo.waiting import until
from demo.world import open_world
from devstack.stack import Stack

HERE = Path(__file__).resolve().parents[1]
ANCHOR = "anchor"
SECONDS = 10
IDLE_SECONDS = 5.0
REST_SECONDS = 1.5  # for what follows a click and nobody waits for
ALONE = 2  # clicks a second that meet nobody
WORK = ("find", "aggregate", "insert", "update", "delete", "findAndModify", "commitTransaction", "abortTransaction",
        "getMore", "count", "distinct")  # fmt: skip
OURS = ("escrow", "goals", "notifier", "sessions", "shop")


def commands(client: MongoClient[dict[str, Any]]) -> Counter[str]:
    """How often each kind of command was asked since the server began."""
    counts = client.admin.command("serverStatus")["metrics"]["commands"]
    return Counter({name: counts[name]["total"] for name in WORK if name in counts})


class Meter:
    """What a stack has used between two moments."""

    def __init__(self, stack: Stack, client: "MongoClient[dict[str, Any]]") -> None:
        """Begin now."""
        self._stack, self._client = stack, client
        self._began, self._cpu, self._commands = time.perf_counter(), cpu_seconds(stack), commands(client)

    def read(self) -> dict[str, Any]:
        """Seconds, processor seconds by process, commands by kind."""
        cpu = {name: used - self._cpu[name] for name, used in cpu_seconds(self._stack).items()}
        asked = commands(self._client)
        asked.subtract(self._commands)
        return {"seconds": time.perf_counter() - self._began, "cpu": cpu, "commands": dict(asked)}


async def clicks_at(stack: Stack, client: "MongoClient[dict[str, Any]]", rate: int) -> dict[str, Any]:
    """One stretch of clicks, until each is pushed; what it took net of idling, for each click."""
    async with open_world(stack.status(), {}) as world:
        clicks = await prepare(world, rate * SECONDS)
        ear = world.person("an ear")
        channels = [f"private-stream@{click.streamer.id}" for click in clicks]
        parts = range(0, len(channels), CHANNELS_PER_CLIENT)
        ears = [await world.listen(ear, *channels[first : first + CHANNELS_PER_CLIENT]) for first in parts]
        await asyncio.sleep(REST_SECONDS)
        meter = Meter(stack, client)
        await asyncio.sleep(IDLE_SECONDS)
        idle = meter.read()
        meter = Meter(stack, client)
        await click_all(world, clicks, rate)

        async def heard() -> dict[str, float]:
            return {p.data["goal_id"]: p.at for e in ears for p in e.pushes if p.name == "goal.ended"}

        pushed = await until("every goal.ended at pusher-js", heard, lambda found: len(found) == len(clicks))
        await asyncio.sleep(REST_SECONDS)
        used = meter.read()
    cuts = statistics.quantiles([(pushed[click.goal_id] - click.sent) * 1_000 for click in clicks], n=100)
    return net(used, idle, len(clicks)) | {"p50": cuts[49], "p99": cuts[98]}


def net(used: dict[str, Any], idle: dict[str, Any], clicks: int) -> dict[str, Any]:
    """What each click took, beyond what idling takes for so long."""
    share = used["seconds"] / idle["seconds"]
    cpu = {name: (spent - share * idle["cpu"][name]) * 1_000 / clicks for name, spent in used["cpu"].items()}
    asked = {name: (times - share * idle["commands"][name]) / clicks for name, times in used["commands"].items()}
    return {
        "cpu_ms": sum(cpu.values()),
        "gross_ms": sum(used["cpu"].values()) * 1_000 / clicks,
        "commands": sum(asked.values()),
        "idle_cores": sum(idle["cpu"].values()) / idle["seconds"],
        "idle_commands": sum(idle["commands"].values()) / idle["seconds"],
        "by_process": cpu,
        "by_command": asked,
    }


@contextmanager
def told_all(client: "MongoClient[dict[str, Any]]", data: Path) -> Iterator[list[dict[str, Any]]]:
    """Collect what MongoDB is asked meanwhile, from its log."""
    lines: list[dict[str, Any]] = []
    log = next(data.rglob("mongod.log"))
    at = log.stat().st_size
    client.admin.command("profile", 0, slowms=-1)
    try:
        yield lines
    finally:
        client.admin.command("profile", 0, slowms=100)
    with log.open("rb") as read:
        read.seek(at)
        lines += (json.loads(line) for line in read.read().splitlines() if b'"Slow query"' in line)


def asked_of(lines: Sequence[dict[str, Any]]) -> Counter[tuple[str, str, str]]:
    """The commands of our services: database, command, collection."""
    found: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        asked = line["attr"].get("command", {})
        name = next(iter(asked), "")
        database = asked.get("$db", "")
        if line["attr"]["type"] != "command" or name not in WORK:
            continue
        if database in OURS:
            found[database, name, str(asked[name])] += 1
        elif "lsid" in asked and name in ("commitTransaction", "abortTransaction"):
            found["", name, ""] += 1
    return found


async def waterfall(stack: Stack, client: "MongoClient[dict[str, Any]]") -> dict[str, float]:
    """Who asks what for one click that comes alone."""
    async with open_world(stack.status(), {}) as world:
        clicks = await prepare(world, ALONE * SECONDS)
        await asyncio.sleep(REST_SECONDS)
        with told_all(client, stack.data) as idle:
            await asyncio.sleep(SECONDS + REST_SECONDS)
        with told_all(client, stack.data) as used:
            await click_all(world, clicks, ALONE)
            await asyncio.sleep(REST_SECONDS)
    before = asked_of(idle)
    each = {" ".join(what): (times - before[what]) / len(clicks) for what, times in asked_of(used).items()}
    return {what: times for what, times in each.items() if times >= 0.05}


def serve(driver: str, *, together: bool) -> None:
    """Measure this tree: a line of standard input is a rate, or `waterfall`; the answer is a line of JSON."""
    environ = {**os.environ, "MONGO_DRIVER": driver}
    how: dict[str, Any] = {"together": True} if together else {}  # which older trees do not know
    with (
        tempfile.TemporaryDirectory(prefix="footlights-bench-") as data,
        Stack(Path(data), environ=environ, **how) as stack,
    ):
        client: MongoClient[dict[str, Any]] = MongoClient(stack.mongo_url)
        asyncio.run(clicks_at(stack, client, 5))  # warm
        print("ready", flush=True)
        for line in sys.stdin:
            word = line.strip()
            task = waterfall(stack, client) if word == "waterfall" else clicks_at(stack, client, int(word))
            print(json.dumps(asyncio.run(task)), flush=True)


class Tree:
    """A checkout, and the stack of it that is measured."""

    def __init__(self, given: str, driver: str, exits: ExitStack) -> None:
        """Start its stack."""
        where, _, how = given.partition("+")
        path = HERE if where == ANCHOR else Path(where).resolve()
        self.name = ANCHOR if where == ANCHOR else path.name + (f" {how}" if how else "")
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        ours = (__file__, "--serve", driver, *([f"--{how}"] if how else []))
        served = (str(Path(__file__).with_name("click_anchored.py")),) if where == ANCHOR else ours
        line = (str(path / ".venv" / "bin" / "python"), *served)
        self._process = subprocess.Popen(line, cwd=path, env=environ, text=True, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)  # fmt: skip
        exits.enter_context(self._process)
        exits.callback(self._end)
        self._answer()

    def measure(self, what: str) -> Any:
        """One stretch."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return json.loads(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line: str = self._process.stdout.readline()
        if not line:
            sys.exit(f"the stack of {self.name} has ended")
        return line

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def middle(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The medians of some stretches, in depth."""
    return {
        name: middle([one[name] for one in found])
        if isinstance(value, dict)
        else statistics.median(one.get(name, 0.0) for one in found)
        for name, value in found[0].items()
    }


def tell(name: str, rate: int, found: Sequence[dict[str, Any]]) -> None:
    """One tree at one rate."""
    at = middle(found)
    each = ", ".join(f"{one['cpu_ms']:.1f}" for one in found)
    print(f"{name}, {rate}/s: {at['cpu_ms']:.1f} ms of processor a click (each: {each}; {at['gross_ms']:.1f} gross), "
          f"{at['commands']:.1f} commands, p50 {at['p50']:.0f}, p99 {at['p99']:.0f} ms; "
          f"idle {at['idle_cores']:.2f} cores, {at['idle_commands']:.0f} commands/s")  # fmt: skip
    for kind, digits in (("by_process", 1), ("by_command", 1)):
        rows = sorted(at[kind].items(), key=lambda row: -row[1])
        print("   ", ", ".join(f"{what} {used:.{digits}f}" for what, used in rows if used >= 0.05), flush=True)


def main() -> None:
    """As the module says."""
    read = argparse.ArgumentParser()
    read.add_argument("trees", nargs="*", default=[str(HERE)])
    read.add_argument("--rounds", type=int, default=5)
    read.add_argument("--rates", nargs="+", type=int, default=[20, 50])
    read.add_argument("--driver", default="motor")
    read.add_argument("--waterfall", action="store_true")
    read.add_argument("--serve", help=argparse.SUPPRESS)
    read.add_argument("--together", action="store_true", help=argparse.SUPPRESS)
    given = read.parse_args()
    if given.serve:
        serve(given.serve, together=given.together)
        return
    with ExitStack() as exits:
        trees = [Tree(tree, given.driver, exits) for tree in given.trees]
        if given.waterfall:
            for tree in trees:
                asked = tree.measure("waterfall")
                print(f"{tree.name}: {sum(asked.values()):.1f} commands a click")
                for what, times in sorted(asked.items()):
                    print(f"    {times:6.2f}  {what}")
            return
        for rate in given.rates:
            rounds = [[tree.measure(str(rate)) for tree in trees] for _ in range(given.rounds)]
            for tree, found in zip(trees, zip(*rounds, strict=True), strict=True):
                tell(tree.name, rate, found)


if __name__ == "__main__":
    main()
