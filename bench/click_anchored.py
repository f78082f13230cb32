"""Serve the anchor of `click_work.py` to it: a stack of MongoDB, Kafka and soketi, and the anchor's five processes."""

import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from bson import ObjectId
from click_anchor import ROLES, TOPIC, channels
from click_work import IDLE_SECONDS, REST_SECONDS, SECONDS, commands, net
from pymongo import MongoClient
from watch import KEY, bearer

from demo.waiting import until
from devstack.parts import PUSHER_KEY
from devstack.stack import Stack

PARTITIONS = 12
Client = MongoClient[dict[str, Any]]


class Anchor:
    """The anchor, running."""

    def __init__(self, stack: Stack, exits: ExitStack) -> None:
        """Start its processes."""
        self.client: Client = MongoClient(stack.mongo_url)
        self.soketi, self.port = stack.url("soketi"), stack.settings.port("goals-api")
        asyncio.run(self._make(stack.kafka_bootstrap))
        environ = os.environ | {
            "MONGO_URL": stack.mongo_url, "KAFKA_BOOTSTRAP": stack.kafka_bootstrap, "SOKETI_URL": self.soketi,
            "HTTP_PORT": str(self.port), "BENCH_JWT_KEY": KEY,
        }  # fmt: skip
        self._pids = {row["name"]: row["pid"] for row in stack.status()["processes"]}
        for role in ROLES:
            line = (sys.executable, str(Path(__file__).with_name("click_anchor.py")), role)
            process = exits.enter_context(subprocess.Popen(line, env=environ))
            exits.callback(process.terminate)
            self._pids[role] = process.pid

    async def _make(self, bootstrap: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
        await admin.close()

    async def clicks_at(self, rate: int) -> dict[str, Any]:
        """As that of `click_work.py`."""
        goals = [str(ObjectId()) for _ in range(rate * SECONDS)]
        streamers = {goal: secrets.token_hex(12) for goal in goals}
        self._prepare(streamers)
        async with self._listening(list(streamers.values())) as pushed, aiohttp.ClientSession() as http:
            await asyncio.sleep(REST_SECONDS)
            meter = Meter(self)
            await asyncio.sleep(IDLE_SECONDS)
            idle = meter.read()
            meter = Meter(self)
            sent = await self._click(http, streamers, rate)

            async def heard() -> dict[str, float]:
                return pushed

            await until("every goal.ended", heard, lambda found: len(found) == len(goals))
            await asyncio.sleep(REST_SECONDS)
            used = meter.read()
        cuts = statistics.quantiles([(pushed[goal] - sent[goal]) * 1_000 for goal in goals], n=100)
        return net(used, idle, len(goals)) | {"p50": cuts[49], "p99": cuts[98]}

    def _prepare(self, streamers: dict[str, str]) -> None:
        """What a click finds: a goal that is on, its stage, its timer."""
        database = self.client["anchor_goals"]
        levels, context = [{"title": "Show", "target": 10}], {"perform_duration": 60, "ticket_product_id": "134"}
        rows = [
            {"_id": goal, "streamer_id": streamer, "session_id": str(ObjectId()), "active": True, "levels": levels,
             "context": context}
            for goal, streamer in streamers.items()
        ]  # fmt: skip
        database.goals.insert_many(rows)
        database.stages.insert_many([{"_id": row["session_id"], "goal_id": row["_id"], "version": 1} for row in rows])
        database.timers.insert_many([{"_id": f"ends:{goal}", "due": 0} for goal in streamers])

    async def _click(self, http: aiohttp.ClientSession, streamers: dict[str, str], rate: int) -> dict[str, float]:
        """End one goal every 1/rate seconds; when each was asked for."""
        sent: dict[str, float] = {}

        async def end(goal: str, streamer: str) -> None:
            sent[goal] = time.time()
            url, headers = f"http://127.0.0.1:{self.port}/goals/{goal}", {"authorization": f"Bearer {bearer(streamer)}"}
            async with http.delete(url, headers=headers) as answer:
                assert answer.status == 204, answer

        began, running = time.perf_counter(), []
        for number, (goal, streamer) in enumerate(streamers.items()):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))  # the rate is the experiment
            running.append(asyncio.create_task(end(goal, streamer)))
        await asyncio.gather(*running)
        return sent

    @asynccontextmanager
    async def _listening(self, streamers: list[str]) -> AsyncIterator[dict[str, float]]:
        """When each goal's push came."""
        pushed: dict[str, float] = {}
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{self.soketi}/app/{PUSHER_KEY}?protocol=7") as ws:
            for streamer in streamers:
                await ws.send_json({"event": "pusher:subscribe", "data": {"channel": channels(streamer)[0]}})

            async def listen() -> None:
                async for message in ws:
                    said = message.json()
                    if said["event"] == "goal.ended":
                        pushed[json.loads(said["data"])["goal_id"]] = time.time()

            task = asyncio.create_task(listen())
            yield pushed
            task.cancel()

    def cpu_seconds(self) -> dict[str, float]:
        """Processor seconds each process has used."""
        return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in self._pids.items()}


class Meter:
    """What the anchor has used between two moments."""

    def __init__(self, anchor: Anchor) -> None:
        """Begin now."""
        self._anchor = anchor
        self._began, self._cpu, self._commands = time.perf_counter(), anchor.cpu_seconds(), commands(anchor.client)

    def read(self) -> dict[str, Any]:
        """Seconds, processor seconds by process, commands by kind."""
        cpu = {name: used - self._cpu[name] for name, used in self._anchor.cpu_seconds().items()}
        asked = commands(self._anchor.client)
        asked.subtract(self._commands)
        return {"seconds": time.perf_counter() - self._began, "cpu": cpu, "commands": dict(asked)}


def main() -> None:
    """A line of standard input is a rate; the answer is a line of JSON."""
    with tempfile.TemporaryDirectory(prefix="footlights-bench-") as data, ExitStack() as exits:
        stack = exits.enter_context(Stack(Path(data), only=("mongod", "kafka", "soketi")))
        anchor = Anchor(stack, exits)
        asyncio.run(anchor.clicks_at(5))  # warm
        print("ready", flush=True)
        for line in sys.stdin:
            print(json.dumps(asyncio.run(anchor.clicks_at(int(line)))), flush=True)


if __name__ == "__main__":
    main()
