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

from chassis.service import Service, on
from chassis.storage.mongo import Driver, Mongo
from chassis.storage.tx import Tx
from chassis_testing.kafka import KafkaHarness, kafka_harness
from chassis_testing.tallies import TALLIES, blocks, handled, has_handled, in_order
from contracts import ViewerBlockedV1

Eventually = Callable[..., Awaitable[None]]
WORKER = Path(__file__).with_name("counting_worker.py")
SESSION_SECONDS = 2


async def _elsewhere(_event: ViewerBlockedV1, _tx: Tx) -> None:
    raise AssertionError("handled by the worker's process")


@pytest.fixture
async def harness(mongo: Mongo, mongo_driver: Driver, servers: Any, namespace: str) -> AsyncIterator[KafkaHarness]:
    service = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, _elsewhere),), collections=(TALLIES,))
    async with kafka_harness(service, mongo, servers.kafka_bootstrap, namespace, mongo_driver=mongo_driver) as harness:
        yield harness


class Worker:
    """One worker process, started again when it dies, as a supervisor would."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.crash_count = 0
        self.process: asyncio.subprocess.Process | None = None
        self._env = env

    async def run(self) -> None:
        while True:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, str(WORKER), env=self._env, stdout=asyncio.subprocess.DEVNULL
            )
            if await self.process.wait() == 0:
                return
            self.crash_count += 1

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@asynccontextmanager
async def working(harness: KafkaHarness, servers: Any, **env: str) -> AsyncIterator[Worker]:
    """A worker runs meanwhile; at the end it is stopped, and must end by itself."""
    settings = {
        "MONGO_URL": servers.mongo_url, "MONGO_DRIVER": harness.settings.mongo_driver,
        "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "NAMESPACE": harness.settings.namespace, "DEVSTACK": "true",
        "KAFKA_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
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


async def test_a_worker_killed_at_each_point_does_everything_once(
    harness: KafkaHarness, servers: Any, eventually: Eventually, tmp_path: Path
) -> None:
    log = tmp_path / "hits"
    second = {"nth": 2, "of": ViewerBlockedV1.TYPE}
    points = {"consumer.after_claim": {}, "consumer.in_transaction": second, "consumer.after_commit": second}
    plan = {name: {"action": "kill", "log": str(log), **when} for name, when in points.items()}
    events = blocks(streamers=20, each=100)
    async with working(harness, servers, FAULT_PLAN=json.dumps(plan)) as worker:
        for at in range(0, 2_000, 200):
            await harness.publish(*events[at : at + 200])
            await eventually(has_handled(harness, at + 200), seconds=60)

    assert sorted(log.read_text().split()) == sorted(points)
    assert worker.crash_count == 3
    assert await handled(harness) == in_order(events)


async def test_a_worker_that_was_frozen_while_another_took_over_does_nothing_twice(
    harness: KafkaHarness, servers: Any, eventually: Eventually
) -> None:
    events = blocks(streamers=20, each=60)
    async with working(harness, servers) as frozen:
        await harness.publish(*events[:400])
        await eventually(has_handled(harness, 400), seconds=60)
        frozen.send(signal.SIGSTOP)
        async with working(harness, servers):
            await harness.publish(*events[400:800])
            await eventually(has_handled(harness, 800), seconds=60)
            frozen.send(signal.SIGCONT)
            await harness.publish(*events[800:])
            await eventually(has_handled(harness, 1_200), seconds=60)
        assert frozen.crash_count == 0

    assert await handled(harness) == in_order(events)


async def test_an_event_that_kills_every_worker_is_parked_in_the_end(
    harness: KafkaHarness, servers: Any, eventually: Eventually
) -> None:
    events = blocks(streamers=5, each=4)
    deadly = events[6]
    await harness.publish(*events)
    async with working(harness, servers, DEADLY=deadly.viewer_id) as worker:
        await eventually(lambda: harness.documents("parked_keys"), seconds=90)
        await eventually(has_handled(harness, 17), seconds=30)

    [key] = await harness.documents("parked_keys")
    assert (key["key"], key["reason"]) == (deadly.streamer_id, "CrashedError: crashed the process 3 times")
    assert worker.crash_count <= 6
    expected = in_order(events)
    expected[deadly.streamer_id] = expected[deadly.streamer_id][:1]
    assert await handled(harness) == expected


async def test_a_worker_killed_before_it_tries_a_parked_event_again_leaves_it_to_the_next(
    harness: KafkaHarness, servers: Any, eventually: Eventually, tmp_path: Path
) -> None:
    log, refusing = tmp_path / "hits", tmp_path / "refusing"
    refusing.touch()
    events = blocks(streamers=5, each=4)
    plan = {"parking.after_count": {"action": "kill", "log": str(log)}}
    refused = {"REFUSED": events[6].viewer_id, "REFUSED_WHILE": str(refusing)}
    async with working(harness, servers, FAULT_PLAN=json.dumps(plan), **refused) as worker:
        await harness.publish(*events)
        await eventually(log.exists, seconds=60)
        refusing.unlink()
        await eventually(has_handled(harness, 20), seconds=60)

    assert log.read_text().split() == ["parking.after_count"]
    assert worker.crash_count == 1
    assert await handled(harness) == in_order(events)
    assert [await harness.documents(name) for name in ("parked_keys", "parked")] == [[], []]
