"""Workers as processes of their own, killed and frozen: every event takes effect once all the same, and in order."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from chassis import ids
from chassis.collection import Collection
from chassis.mongo import Driver, Mongo
from chassis.service import Service, on
from chassis.tx import Tx
from chassis.wired import Wired, wired
from contracts import ViewerBlockedV1

Eventually = Callable[..., Awaitable[None]]
WORKER = Path(__file__).with_name("counting_worker.py")
SESSION_SECONDS = 2


async def _elsewhere(_event: ViewerBlockedV1, _tx: Tx) -> None:
    raise AssertionError("handled by the worker's process")


@pytest.fixture
async def rig(mongo: Mongo, mongo_driver: Driver, servers: Any, namespace: str) -> AsyncIterator[Wired]:
    tallies: Collection[Any] = Collection("tallies", object)
    service = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, _elsewhere),), collections=(tallies,))
    async with wired(service, mongo, servers.kafka_bootstrap, namespace, mongo_driver=mongo_driver) as rig:
        yield rig


class Worker:
    """One worker process, started again when it dies, as a supervisor would."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.deaths = 0
        self.process: asyncio.subprocess.Process | None = None
        self._env = env

    async def run(self) -> None:
        while True:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, str(WORKER), env=self._env, stdout=asyncio.subprocess.DEVNULL
            )
            if await self.process.wait() == 0:
                return
            self.deaths += 1

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@asynccontextmanager
async def working(rig: Wired, servers: Any, **env: str) -> AsyncIterator[Worker]:
    """A worker runs meanwhile; at the end it is stopped, and must end by itself."""
    settings = {
        "MONGO_URL": servers.mongo_url, "MONGO_DRIVER": rig.settings.mongo_driver,
        "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "NAMESPACE": rig.settings.namespace, "DEVSTACK": "true", "KAFKA_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
        "JWT_KEYS": json.dumps({"demo": {"alg": "HS256", "key": "k" * 32}}),
    }  # fmt: skip
    worker = Worker(os.environ | settings | env)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.send(signal.SIGTERM)
        await asyncio.wait_for(running, 15)
    finally:
        running.cancel()
        if worker.process is not None and worker.process.returncode is None:
            worker.process.kill()
            await worker.process.wait()


def blocks(streamers: int, each: int) -> list[ViewerBlockedV1]:
    keys = [ids.new_id() for _ in range(streamers)]
    return [ViewerBlockedV1(streamer_id=key, viewer_id=ids.new_id()) for _ in range(each) for key in keys]


def in_order(events: list[ViewerBlockedV1]) -> dict[str, list[str]]:
    heard: dict[str, list[str]] = {}
    for event in events:
        heard.setdefault(event.streamer_id, []).append(event.viewer_id)
    return heard


async def heard(rig: Wired) -> dict[str, list[str]]:
    return {row["_id"]: row["heard"] for row in await rig.documents("tallies")}


async def count(rig: Wired) -> int:
    return sum(len(of_one) for of_one in (await heard(rig)).values())


async def test_a_worker_killed_at_each_point_does_everything_once(
    rig: Wired, servers: Any, eventually: Eventually, tmp_path: Path
) -> None:
    log = tmp_path / "hits"
    points = {"consumer.after_claim": 1, "consumer.in_transaction": 2, "consumer.after_commit": 2}
    plan = {name: {"action": "kill", "nth": nth, "log": str(log)} for name, nth in points.items()}
    events = blocks(streamers=20, each=100)
    async with working(rig, servers, FAULT_PLAN=json.dumps(plan)) as worker:
        for at in range(0, 2_000, 200):
            await rig.publish(*events[at : at + 200])
            await eventually(_has(rig, at + 200), seconds=60)

    assert sorted(log.read_text().split()) == sorted(points)
    assert worker.deaths == 3
    assert await heard(rig) == in_order(events)


async def test_a_worker_that_was_frozen_while_another_took_over_does_nothing_twice(
    rig: Wired, servers: Any, eventually: Eventually
) -> None:
    events = blocks(streamers=20, each=60)
    async with working(rig, servers) as frozen:
        await rig.publish(*events[:400])
        await eventually(_has(rig, 400), seconds=60)
        frozen.send(signal.SIGSTOP)
        async with working(rig, servers):
            await rig.publish(*events[400:800])
            await eventually(_has(rig, 800), seconds=60)
            frozen.send(signal.SIGCONT)
            await rig.publish(*events[800:])
            await eventually(_has(rig, 1_200), seconds=60)
        assert frozen.deaths == 0

    assert await heard(rig) == in_order(events)


async def test_an_event_that_kills_every_worker_is_parked_in_the_end(
    rig: Wired, servers: Any, eventually: Eventually
) -> None:
    events = blocks(streamers=5, each=4)
    deadly = events[6]
    await rig.publish(*events)
    async with working(rig, servers, DEADLY=deadly.viewer_id) as worker:
        await eventually(lambda: rig.documents("parked_keys"), seconds=90)
        await eventually(_has(rig, 17), seconds=30)

    [key] = await rig.documents("parked_keys")
    assert (key["key"], key["reason"]) == (deadly.streamer_id, "CrashedError: crashed the process 3 times")
    assert worker.deaths <= 6
    expected = in_order(events)
    expected[deadly.streamer_id] = expected[deadly.streamer_id][:1]
    assert await heard(rig) == expected


async def test_a_worker_killed_before_it_tries_a_parked_event_again_leaves_it_to_the_next(
    rig: Wired, servers: Any, eventually: Eventually, tmp_path: Path
) -> None:
    log, refusing = tmp_path / "hits", tmp_path / "refusing"
    refusing.touch()
    events = blocks(streamers=5, each=4)
    plan = {"parking.after_count": {"action": "kill", "log": str(log)}}
    refused = {"REFUSED": events[6].viewer_id, "REFUSED_WHILE": str(refusing)}
    async with working(rig, servers, FAULT_PLAN=json.dumps(plan), **refused) as worker:
        await rig.publish(*events)
        await eventually(log.exists, seconds=60)
        refusing.unlink()
        await eventually(_has(rig, 20), seconds=60)

    assert log.read_text().split() == ["parking.after_count"]
    assert worker.deaths == 1
    assert await heard(rig) == in_order(events)
    assert [await rig.documents(name) for name in ("parked_keys", "parked")] == [[], []]


def _has(rig: Wired, wanted: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await count(rig) >= wanted

    return holds
