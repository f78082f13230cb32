"""The life of a real process: its settings, its readiness, its end by a signal and by a crash."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from fastapi import APIRouter

from chassis import ids
from chassis.clock import SystemClock
from chassis.kafka.topics import create_topics
from chassis.runtime.migrate import create_collections, run_migrations
from chassis.runtime.settings import ChassisSettings
from chassis.service import Service
from chassis.storage.mongo import Driver, Mongo
from chassis_testing.service import DEMO, KEY, KID, NO_TLS

PAST = datetime(2026, 1, 31, tzinfo=UTC)
CRASH = json.dumps({"timers.in_run": {"action": "raise"}})

MAIN = """
import asyncio, json, os, structlog, time
from chassis.decision import Effect, Timer
from chassis.http import TxRouter
from chassis.runtime.backlog import BacklogMeter
from chassis.runtime.cli import run
from chassis.service import Command, Service, effect, when

router = TxRouter(tags=["test"])

@router.get("/slow", public=True)
async def slow() -> dict[str, bool]:
    structlog.get_logger().info("in hand")
    await asyncio.sleep(1)
    return {"slow": True}

@router.post("/keep", public=True)
async def keep() -> dict[str, bool]:
    structlog.get_logger().info("in hand")
    await asyncio.sleep(5.6)
    structlog.get_logger().info("kept")
    return {"kept": True}

@router.get("/hang", public=True)
async def hang(token: str = "") -> dict[str, bool]:
    structlog.get_logger().info("in hand")
    time.sleep(60)
    return {"hangs": True}

@router.get("/cling", public=True)
async def cling() -> dict[str, bool]:
    structlog.get_logger().info("in hand")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

left = []

async def fail_at_the_end():
    try:
        await asyncio.sleep(60)
    finally:
        raise ValueError("nobody waits for me")

@router.get("/leave", public=True)
async def leave() -> dict[str, bool]:
    left.append(asyncio.create_task(fail_at_the_end()))
    return {"left": True}

async def ends(meter):
    await asyncio.sleep(1)

if "PART_ENDS" in os.environ:
    BacklogMeter.run = ends

class Crash(Effect, name="crash"):
    pass

async def perform(calls, outside):
    return []

class Any(Timer, name="any"):
    pass

async def ring(timer, tx):
    pass

async def count(runtime, options):
    print(json.dumps({"event": "counted", "service": runtime.service, "options": list(options)}))
    return 2

commands = (Command("recount", "count anew", count, options=("--write",)),)
timers, effects = (when(Any, ring),), (effect(Crash, perform),)
run(Service(name="goals", router=router, effects=effects, timers=timers, commands=commands))
"""


class Life:
    """A process of a service that exists for this test only."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.errors = ""
        self.url = f"http://127.0.0.1:{port}"
        self._reading = asyncio.create_task(self._read())
        self._erring = asyncio.create_task(self._err())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))

    async def _err(self) -> None:
        assert self.process.stderr is not None
        self.errors = (await self.process.stderr.read()).decode()

    async def get(self, path: str) -> tuple[int, Any]:
        try:
            async with httpx.AsyncClient(verify=NO_TLS) as client:
                answer = await client.get(self.url + path, timeout=20)
        except httpx.TransportError:
            return 0, None
        return answer.status_code, answer.json() if "json" in answer.headers["content-type"] else answer.text

    async def reasons(self) -> list[str] | None:
        status, body = await self.get("/readyz")
        return body["reasons"] if status else None

    async def is_ready(self) -> bool:
        return (await self.get("/readyz"))[0] == 200

    def said(self, event: str) -> bool:
        return any(line["event"] == event for line in self.lines)

    async def end(self, *, seconds: float = 60) -> int:
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
            await asyncio.gather(self._reading, self._erring)
        return code


Start = Callable[..., Awaitable[Life]]


@pytest.fixture(scope="module")
async def migrated(servers: Any, mongo: Mongo) -> AsyncIterator[str]:
    """A namespace in which everything is there."""
    namespace = f"t{ids.new_id()[12:]}"
    service = Service(name="goals", router=APIRouter())
    database = mongo.database(f"{namespace}-goals")
    await create_collections(database, service)
    await run_migrations(database, service, SystemClock())
    settings = {**DEMO, "kafka_bootstrap": servers.kafka_bootstrap, "namespace": namespace}
    assert await create_topics(service, ChassisSettings(**settings)) == []
    yield namespace
    await mongo.client.drop_database(f"{namespace}-goals")


@pytest.fixture
async def start(servers: Any, migrated: str, tmp_path: Path, unused_tcp_port_factory: Any) -> AsyncIterator[Start]:
    package = tmp_path / "goals"
    package.mkdir()
    (package / "__init__.py").touch()  # or the real one would be found
    (package / "__main__.py").write_text(MAIN)
    lives: list[Life] = []

    async def begin(*command: str, **env: str) -> Life:
        port = unused_tcp_port_factory()
        settings = {
            "PATH": os.environ["PATH"],
            "MONGO_URL": servers.mongo_url,
            "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
            "KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            "NAMESPACE": migrated,
            "DEVSTACK": "true",
            "JWT_KEYS": json.dumps({KID: {"alg": "HS256", "key": KEY}}),
            "HTTP_PORT": str(port),
        }
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "goals", *command, cwd=tmp_path, env=settings | env, stdout=pipe, stderr=pipe
        )
        lives.append(Life(process, port))
        return lives[-1]

    yield begin
    for life in lives:
        if life.process.returncode is None:
            life.process.kill()
            await life.end()


async def ends(start: Start, *commands: Sequence[str]) -> list[int]:
    """How commands end that are given at once: most of a process' time it waits."""
    return [await life.end() for life in [await start(*command) for command in commands]]


async def test_a_process_that_finds_nothing_migrated_says_what_and_how_to_mend_it(
    start: Start, mongo: Mongo, namespace: str
) -> None:
    for life in [await start(role, NAMESPACE=namespace) for role in ("api", "worker")]:
        assert await life.end() == 2
        [told] = [line for line in life.lines if line["event"] == "not migrated"]
        assert told["mend"] == "python -m goals migrate"
        assert "collection outbox does not exist" in told["problems"]

    plan = await start("migrate", "--plan", NAMESPACE=namespace)
    assert await plan.end() == 0
    would = [line["would"] for line in plan.lines if "would" in line]
    assert {"make collection outbox", f"make topic {namespace}-goals"} <= set(would)
    assert await mongo.database(f"{namespace}-goals").list_collection_names() == []

    assert await (await start("migrate", NAMESPACE=namespace)).end() == 0
    plan, mistaken = [await start("migrate", option, NAMESPACE=namespace) for option in ("--plan", "--dry-run")]
    assert (await plan.end(), await mistaken.end()) == (0, 1)
    assert [line for line in plan.lines if "would" in line] == []
    await mongo.client.drop_database(f"{namespace}-goals")


async def test_what_cannot_start_says_why(start: Start) -> None:
    wrong = await start("api", JWT_KEYS='{"demo": {}}', DEVSTACK="perhaps")
    no_json = await start("api", JWT_KEYS="{")
    demo = await start("api", DEVSTACK="false")
    unknown = await start("serve")

    assert [await life.end() for life in (wrong, no_json, demo, unknown)] == [2, 2, 2, 1]
    assert "DEVSTACK" in wrong.errors
    assert "JWT_KEYS" in wrong.errors
    assert "JWT_KEYS: is not JSON" in no_json.errors
    assert "demo key" in demo.errors
    assert "usage: python -m goals COMMAND" in unknown.errors
    for life in (wrong, no_json, demo, unknown):
        assert KEY not in life.errors
        assert "Traceback" not in life.errors


async def test_a_service_may_have_commands_of_its_own(start: Start) -> None:
    done, mistaken = await start("recount", "--write"), await start("recount", "--all")

    assert await done.end() == 2
    [said] = [line for line in done.lines if line["event"] == "counted"]
    assert said == {"event": "counted", "service": "goals", "options": ["--write"]}
    assert await mistaken.end() == 1
    assert "recount [--write]  count anew" in mistaken.errors


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_each_role_becomes_ready_and_ends_in_time_when_told(start: Start, eventually: Any, driver: str) -> None:
    for role in ("api", "worker", "all"):
        life = await start(role, MONGO_DRIVER=driver)
        await eventually(life.is_ready, seconds=60)
        assert (await life.get("/healthz"))[0] == 200
        assert f'footlights_outbox_rows{{role="{role}",service="goals"}}' in (await life.get("/metrics"))[1]
        assert (await life.get("/openapi.json"))[0] == (404 if role == "worker" else 200)

        told_at = time.monotonic()
        life.process.send_signal(signal.SIGTERM)

        assert await life.end() == 0
        assert time.monotonic() - told_at < 10
        assert life.said("stopping")
        assert not life.said("crashed")
        assert not life.said("not finished in time")


@pytest.mark.parametrize("role", ["api", "worker"])
async def test_each_process_measures_the_backlog_and_has_its_limit_from_the_environment(
    start: Start, eventually: Any, mongo: Mongo, migrated: str, role: str
) -> None:
    parked = mongo.database(f"{migrated}-goals")["parked"]
    await parked.insert_many([{"_id": f"p{number}"} for number in range(101)])
    life = await start(role, BACKLOG_MAX="100")

    async def is_full() -> bool:
        full = f'\nfootlights_backlog_full{{role="{role}",service="goals"}} 1.0'
        return full in str((await life.get("/metrics"))[1])

    await eventually(is_full, seconds=60)
    await parked.delete_many({})


async def test_a_request_in_hand_is_answered_after_the_signal(start: Start, eventually: Any) -> None:
    life = await start("api")
    await eventually(life.is_ready, seconds=60)
    in_hand = asyncio.create_task(life.get("/slow"))
    await eventually(lambda: life.said("in hand"))

    life.process.send_signal(signal.SIGTERM)

    assert await in_hand == (200, {"slow": True})
    assert await life.end() == 0


async def test_what_a_503_has_left_behind_is_carried_out_after_the_signal(start: Start, eventually: Any) -> None:
    life = await start("api")
    await eventually(life.is_ready, seconds=60)
    async with httpx.AsyncClient(verify=NO_TLS) as client:
        assert (await client.post(f"{life.url}/keep", timeout=20)).status_code == 503

    life.process.send_signal(signal.SIGTERM)

    assert await life.end() == 0
    assert life.said("kept")


async def test_what_a_library_leaves_behind_at_the_end_is_no_error(start: Start, eventually: Any) -> None:
    life = await start("api")
    await eventually(life.is_ready, seconds=60)
    assert await life.get("/leave") == (200, {"left": True})

    life.process.send_signal(signal.SIGTERM)

    assert await life.end() == 0
    assert [line for line in life.lines if line["level"] == "error"] == []
    assert life.errors == ""


async def test_a_process_that_hangs_ends_in_time_too_and_says_where(start: Start, eventually: Any) -> None:
    life = await start("api")
    await eventually(life.is_ready, seconds=60)
    hanging = asyncio.create_task(life.get("/hang"))
    await eventually(lambda: life.said("in hand"))

    told_at = time.monotonic()
    life.process.send_signal(signal.SIGTERM)

    assert await life.end() == 1
    assert time.monotonic() - told_at < 11
    assert "in hang" in life.errors
    assert await hanging == (0, None)


async def test_a_process_that_is_blocked_ends_by_itself_and_says_where_and_no_value(
    start: Start, eventually: Any
) -> None:
    life = await start("api", STUCK_SECONDS="4")
    await eventually(life.is_ready, seconds=60)
    hanging = asyncio.create_task(life.get("/hang?token=abc"))
    await eventually(lambda: life.said("in hand"))

    assert await life.end(seconds=10) == 1
    assert "in hang" in life.errors
    assert "abc" not in life.errors
    assert await hanging == (0, None)


async def crash_timers(mongo: Mongo, migrated: str) -> None:
    """Have `timers.in_run` be passed."""
    timer = {"_id": "t", "name": "any", "key": "k", "due": PAST, "parked": False, "data": {}, "attempts": 0,
             "cause": {"at": PAST, "correlation_id": "c"}}  # fmt: skip
    timers = mongo.database(f"{migrated}-goals")["timers"]
    await timers.replace_one({"_id": "t"}, timer, upsert=True)


async def test_a_part_that_crashes_ends_the_process_with_a_line_that_says_so(
    start: Start, eventually: Any, mongo: Mongo, migrated: str
) -> None:
    life = await start("worker", FAULT_PLAN=CRASH)
    await eventually(life.is_ready, seconds=60)

    await crash_timers(mongo, migrated)

    assert await life.end() == 1
    [crash] = [line for line in life.lines if line["event"] == "crashed"]
    assert "FaultError: timers.in_run" in crash["exception"]


async def test_a_part_that_crashes_ends_the_process_in_time_whatever_clings(
    start: Start, eventually: Any, mongo: Mongo, migrated: str
) -> None:
    life = await start("all", FAULT_PLAN=CRASH)
    await eventually(life.is_ready, seconds=60)
    clinging = asyncio.create_task(life.get("/cling"))
    await eventually(lambda: life.said("in hand"))

    await crash_timers(mongo, migrated)
    crashed_at = time.monotonic()

    assert await life.end() == 1
    assert time.monotonic() - crashed_at < 15
    status, _ = await clinging
    assert status in (0, 500)  # cut off: what it was doing has come to nothing


async def test_a_part_that_ends_by_itself_ends_the_process(start: Start) -> None:
    life = await start("api", PART_ENDS="1")

    assert await life.end() == 1
    [crash] = [line for line in life.lines if line["event"] == "crashed"]
    assert "BacklogMeter ended by itself" in crash["exception"]


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_servers_that_are_away_at_the_start_are_waited_for(start: Start, eventually: Any, driver: str) -> None:
    away = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "MONGO_URL": "mongodb://127.0.0.1:1/?directConnection=true"}
    life = await start("worker", MONGO_DRIVER=driver, **away)

    await eventually(lambda: life.said("waiting"), seconds=60)
    assert await life.reasons() == ["waiting for MongoDB"]

    life.process.send_signal(signal.SIGTERM)
    assert await life.end() == 0


async def test_a_port_that_is_taken_is_named(start: Start, eventually: Any) -> None:
    first = await start("api")
    await eventually(first.is_ready, seconds=60)

    second = await start("api", HTTP_PORT=first.url.rpartition(":")[2])

    assert await second.end() == 1
    assert "cannot be listened on" in second.errors


async def test_what_is_parked_is_listed_shown_tried_again_and_given_up_by_command(
    start: Start, mongo: Mongo, migrated: str
) -> None:
    timers = mongo.database(f"{migrated}-goals")["timers"]
    await timers.insert_one({"_id": "t1", "name": "ring", "key": "k", "parked": True, "reason": "why", "due": 1})
    listed, shown = await start("parked"), await start("show", "timers", "t1")
    assert (await listed.end(), await shown.end()) == (0, 0)
    assert [(line["service"], line["waits"], line["_id"]) for line in listed.lines] == [("goals", "timers", "t1")]
    assert shown.lines[0]["reason"] == "why"

    mistakes = (("show", "timers", "t2"), ("show", "songs", "t1"), ("discard", "timers", "t1", "--why", "so"))
    assert await ends(start, *mistakes) == [1, 1, 1]
    assert await (await start("discard", "timers", "t1", "--reason", "told by phone")).end() == 0
    again = await start("replay")

    assert await again.end() == 0
    assert [line["works"] for line in again.lines if line["event"] == "tried again"] == [0]
    [kept] = await mongo.database(f"{migrated}-goals")["discarded"].find({}).to_list(None)
    assert (kept["reason"], kept["work"]["_id"]) == ("told by phone", "t1")
    assert await timers.count_documents({}) == 0


async def test_a_token_is_denied_by_command(start: Start, mongo: Mongo, migrated: str) -> None:
    assert await ends(start, ("deny", "j1"), ("deny",)) == [0, 1]

    denied = await mongo.database(f"{migrated}-goals")["denied_tokens"].find({}).to_list(None)
    assert [row["_id"] for row in denied] == ["j1"]


async def test_only_a_partition_that_a_service_listens_to_can_be_moved(start: Start) -> None:
    mistakes = (("seek", "sessions:0", "7"), ("seek", "sessions", "7"), ("seek", "sessions:0", "-1"))
    assert await ends(start, *mistakes) == [1, 1, 1]


async def test_what_is_parked_is_listed_and_replayed_by_command(start: Start) -> None:
    listed = await start("parked")
    replayed = await start("replay", ids.new_id())

    assert await listed.end() == 0
    assert listed.lines == []
    assert await replayed.end() == 0
    assert replayed.said("tried again")
