"""The client of BytePlus RTC against the vendor's sandbox, over HTTP."""

import asyncio
import json
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from byteplus import callbacks
from byteplus.client import Account, Patience, RtcClient
from byteplus.errors import NotAuthorized, NotNow, NoTurn, OutcomeUnknown, RateLimited, Refused, Unreachable
from byteplus.limits import Limits
from byteplus.signing import Credentials
from byteplus.snapshots import Snapshots, Start, Status, Stop
from devstack import byteplus_sandbox as sandbox
from devstack.stack import Stack

SNAPSHOTS = Snapshots(storage={"Type": 2, "CustomConfig": {"Bucket": "pictures"}}, users=("streamer-1",))
PATIENT = Patience(call_seconds=60.0, attempt_seconds=30.0, attempts=6, pause_seconds=0.01)
HASTY = Patience(call_seconds=60.0, attempt_seconds=0.3, attempts=2, pause_seconds=0.01)


class Clock:
    """The machine's, `behind` by so many seconds. Whenever a request is signed, it leaves."""

    def __init__(self, behind: float = 0.0) -> None:
        self.behind = behind
        self.departures: list[float] = []

    def micros(self) -> int:
        self.departures.append(self.monotonic())
        return round((time.time() - self.behind) * 1_000_000)

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class World:
    """A sandbox that listens, and clients of it."""

    url: str
    account: Account
    clients: list[RtcClient]
    http: aiohttp.ClientSession
    clock: Clock = field(default_factory=Clock)

    def client(self, patience: Patience = PATIENT, *, behind: float = 0.0, **changes: Any) -> RtcClient:
        self.clock = Clock(behind)
        client = RtcClient(replace(self.account, **changes), self.clock, patience)
        self.clients.append(client)
        return client

    async def told(self) -> dict[str, Any]:
        async with self.http.get(f"{self.url}/sandbox") as response:
            told: dict[str, Any] = await response.json()
            return told

    async def runs(self) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = (await self.told())["runs"]
        return runs

    async def do(self, method: str, path: str, **body: Any) -> tuple[int, Any]:
        async with self.http.request(method, f"{self.url}/sandbox/{path}", json=body) as response:
            text = await response.text()
            return response.status, json.loads(text) if text.startswith("{") else None

    async def behave(self, mode: str, **more: Any) -> None:
        assert (await self.do("PUT", "behaviour", mode=mode, **more))[0] == 204


async def listen(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


def most_in_a_second(moments: list[float]) -> int:
    return max(bisect_left(moments, first + 1.0) - at for at, first in enumerate(moments))


async def eventually(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    runner, url = await listen(sandbox.Sandbox().app())
    credentials = Credentials(sandbox.ACCESS_KEY, sandbox.SECRET_KEY, sandbox.REGION)
    account = Account(sandbox.APP_ID, credentials, url)
    async with aiohttp.ClientSession() as http:
        world = World(url, account, [], http)
        yield world
        for client in world.clients:
            await client.close()
    await runner.cleanup()


async def test_who_gets_no_turn_in_time_has_asked_nothing(world: World) -> None:
    client = world.client(replace(PATIENT, turn_seconds=0.2), limits=Limits(snapshots=1.0))
    await client.stop_snapshot("room-1", "task-1")

    with pytest.raises(NoTurn):
        await client.stop_snapshot("room-1", "task-1")

    assert (await world.told())["peaks"] == {"snapshots": 1}


async def test_a_task_starts_once_and_stops_once(world: World) -> None:
    client = world.client()

    assert await client.start_snapshot("room-1", "task-1", SNAPSHOTS) is Start.STARTED
    assert await client.start_snapshot("room-1", "task-1", SNAPSHOTS) is Start.ALREADY
    assert await client.stop_snapshot("room-1", "task-1") is Stop.STOPPED
    assert await client.stop_snapshot("room-1", "task-1") is Stop.ALREADY
    assert await client.stop_snapshot("room-1", "never-started") is Stop.ALREADY

    (run,) = await world.runs()
    assert (run["room_id"], run["task_id"], run["users"]) == ("room-1", "task-1", ["streamer-1"])
    assert run["stop_reason"] == "StopByAPI"
    assert run["started_at"] <= run["ended_at"]


async def test_a_start_that_is_told_in_the_result_to_have_been_made_is_one_too(world: World) -> None:
    client = world.client(snapshots_version="2023-11-01")

    assert await client.start_snapshot("room-1", "task-1", SNAPSHOTS) is Start.STARTED
    assert await client.start_snapshot("room-1", "task-1", SNAPSHOTS) is Start.ALREADY


async def test_a_task_is_found_while_it_runs_and_after(world: World) -> None:
    client = world.client()

    assert await client.find_snapshot("room-1", "task@1.a-b_c") is None
    await client.start_snapshot("room-1", "task@1.a-b_c", SNAPSHOTS)
    running = await client.find_snapshot("room-1", "task@1.a-b_c")
    await client.stop_snapshot("room-1", "task@1.a-b_c")
    stopped = await client.find_snapshot("room-1", "task@1.a-b_c")

    assert running is not None
    assert (running.status, running.ended_at, running.may_run) == (Status.RUNNING, None, True)
    assert stopped is not None
    assert (stopped.status, stopped.stop_reason, stopped.may_run) == (Status.ENDED, "StopByAPI", False)


async def test_a_user_is_put_out_and_kept_out_until_the_ban_is_lifted(world: World) -> None:
    client = world.client()
    for user_id in ("user-1", "user-2"):
        assert (await world.do("POST", "join", room_id="room-1", user_id=user_id))[0] == 204
    assert (await client.users_in("room-1")).visible == ("user-1", "user-2")

    await client.ban_user("room-1", "user-1", seconds=3_600)
    await client.ban_user("room-1", "user-1", seconds=3_600)

    assert (await client.users_in("room-1")).visible == ("user-2",)
    assert (await world.do("POST", "join", room_id="room-1", user_id="user-1"))[0] == 403
    await client.lift_ban("room-1", "user-1")
    assert (await world.do("POST", "join", room_id="room-1", user_id="user-1"))[0] == 204


async def test_a_kick_keeps_nobody_out_and_a_room_is_emptied_at_once(world: World) -> None:
    client = world.client()
    for user_id in ("user-1", "user-2"):
        await world.do("POST", "join", room_id="room-1", user_id=user_id)

    await client.ban_room("room-1")

    assert (await client.users_in("room-1")).visible == ()
    assert (await world.do("POST", "join", room_id="room-1", user_id="user-1"))[0] == 204
    await client.ban_room("room-1", seconds=60)
    assert (await world.do("POST", "join", room_id="room-1", user_id="user-3"))[0] == 403


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("AKOTHER", sandbox.SECRET_KEY, sandbox.REGION),
        Credentials(sandbox.ACCESS_KEY, "another secret", sandbox.REGION),
        Credentials(sandbox.ACCESS_KEY, sandbox.SECRET_KEY, "another-region"),
    ],
)
async def test_wrong_keys_are_not_tried_again(world: World, credentials: Credentials) -> None:
    client = world.client(credentials=credentials)

    with pytest.raises(NotAuthorized):
        await client.stop_snapshot("room-1", "task-1")


@pytest.mark.parametrize("behind", [3_600.0, -3_600.0])
async def test_a_wrong_clock_is_not_authorized(world: World, behind: float) -> None:
    with pytest.raises(NotAuthorized, match="InvalidTimestamp"):
        await world.client(behind=behind).stop_snapshot("room-1", "task-1")


async def test_what_is_not_the_same_as_was_signed_is_refused(world: World) -> None:
    async with world.http.post(f"{world.url}/?Action=StopSnapshot&Version=2022-06-01", json={}) as response:
        answer = await response.json()

    assert answer["ResponseMetadata"]["Error"]["Code"] == "MissingSignature"


async def test_a_refusal_inside_http_200_is_a_refusal(world: World) -> None:
    with pytest.raises(Refused, match="InvalidParameter") as refused:
        await world.client().start_snapshot("room-1", "", SNAPSHOTS)

    assert refused.value.request_id


async def test_a_start_whose_reply_is_lost_is_unknown_and_was_made(world: World) -> None:
    client = world.client()
    await world.behave("lost", actions=["StartSnapshot"])

    with pytest.raises(OutcomeUnknown):
        await client.start_snapshot("room-1", "task-1", SNAPSHOTS)

    assert len(await world.runs()) == 1
    await world.behave("well")
    assert await client.start_snapshot("room-1", "task-1", SNAPSHOTS) is Start.ALREADY


async def test_a_stop_whose_reply_is_lost_is_unknown_and_was_made(world: World) -> None:
    client = world.client(HASTY)
    await world.client().start_snapshot("room-1", "task-1", SNAPSHOTS)
    await world.behave("lost", actions=["StopSnapshot"])

    with pytest.raises(OutcomeUnknown):
        await client.stop_snapshot("room-1", "task-1")

    assert [run["stop_reason"] for run in await world.runs()] == ["StopByAPI"]
    await world.behave("well")
    assert await client.stop_snapshot("room-1", "task-1") is Stop.ALREADY


async def test_a_start_is_asked_for_once_and_a_stop_until_it_is_answered(world: World) -> None:
    await world.behave("half")
    client = world.client(replace(PATIENT, attempts=20))
    started = 0

    for n in range(12):
        try:
            await client.start_snapshot("room-1", f"task-{n}", SNAPSHOTS)
            started += 1
        except OutcomeUnknown:
            continue

    assert 0 < started < 12  # by chance, always the same
    for n in range(12):
        await client.stop_snapshot("room-1", f"task-{n}")
    assert [run["stop_reason"] for run in await world.runs()] == ["StopByAPI"] * started


@pytest.mark.parametrize("mode", ["down", "hang", "slow"])
async def test_a_vendor_that_does_not_answer_leaves_the_outcome_unknown(world: World, mode: str) -> None:
    await world.behave(mode, seconds=20.0)

    with pytest.raises(OutcomeUnknown):
        await world.client(HASTY).stop_snapshot("room-1", "task-1")


async def test_a_call_that_was_given_up_may_still_be_done_later(world: World) -> None:
    await world.behave("late", seconds=1.0)

    with pytest.raises(OutcomeUnknown):
        await world.client(HASTY).start_snapshot("room-1", "task-1", SNAPSHOTS)

    await eventually(world.runs)


async def test_a_vendor_that_cannot_be_reached_has_done_nothing(world: World) -> None:
    runner, url = await listen(web.Application())
    await runner.cleanup()

    with pytest.raises(Unreachable):
        await world.client(replace(PATIENT, attempts=2), base_url=url).stop_snapshot("room-1", "task-1")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"ResponseMetadata": 7}', b"{", b"x" * 2_000_000])
@pytest.mark.parametrize("status", [200, 302, 502])
async def test_an_answer_that_cannot_be_read_is_none(world: World, body: bytes, status: int) -> None:
    app = web.Application()

    async def nonsense(_request: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    app.router.add_post("/", nonsense)
    runner, url = await listen(app)

    with pytest.raises(Refused if status == 302 and len(body) < 1_000 else OutcomeUnknown):
        await world.client(replace(PATIENT, attempts=2), base_url=url).stop_snapshot("room-1", "task-1")
    await runner.cleanup()


async def test_no_turn_within_the_time_is_a_rate_limit_and_nothing_was_asked(world: World) -> None:
    client = world.client(Patience(call_seconds=0.3), limits=Limits(snapshots=2.0))

    outcomes = await asyncio.gather(
        *(client.stop_snapshot("room-1", "task-1") for _ in range(20)), return_exceptions=True
    )

    assert sum(isinstance(outcome, RateLimited) for outcome in outcomes) >= 16
    assert (await world.told())["refused_for_rate"] == 0


async def test_who_calls_too_often_for_the_vendor_gets_through_in_the_end(world: World) -> None:
    eager = world.client(replace(PATIENT, attempts=30), limits=Limits(user_queries=400.0))

    await asyncio.gather(*(eager.users_in("room-1") for _ in range(100)))

    assert (await world.told())["refused_for_rate"] > 0


async def test_five_hundred_stops_stay_inside_the_limit_and_the_longest_go_first(world: World) -> None:
    client = world.client()
    await asyncio.gather(*(client.start_snapshot(f"room-{n}", "task", SNAPSHOTS) for n in range(500)))
    began = time.time()

    await asyncio.gather(*(client.stop_snapshot(f"room-{n}", "task", priority=-((n * 7919) % 500)) for n in range(500)))

    told = await world.told()
    assert most_in_a_second(world.clock.departures) <= 150
    assert told["refused_for_rate"] <= 50  # none, unless a busy machine lets those arrive together that left apart
    runs = told["runs"]
    assert all(run["ended_at"] >= began for run in runs)
    length = {f"room-{n}": (n * 7919) % 500 for n in range(500)}
    stopped = [length[run["room_id"]] for run in sorted(runs, key=lambda run: run["ended_at"])]
    late = sum(length > 350 for length in stopped[250:])
    assert late == 0  # the longest have all been stopped before the first half was over


async def test_five_hundred_stops_converge_though_the_vendor_fails_half_of_them(world: World) -> None:
    client = world.client(replace(PATIENT, attempts=30))
    await asyncio.gather(*(client.start_snapshot(f"room-{n}", "task", SNAPSHOTS) for n in range(500)))
    await world.behave("half")

    await asyncio.gather(*(client.stop_snapshot(f"room-{n}", "task") for n in range(500)))

    told = await world.told()
    assert all(run["ended_at"] for run in told["runs"])
    assert most_in_a_second(world.clock.departures) <= 150


async def test_who_joins_and_leaves_is_told_with_a_signature(world: World) -> None:
    seen: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/notify", take)
    runner, url = await listen(app)
    await world.do("PUT", "callbacks", url=f"{url}/notify")

    await world.do("POST", "join", room_id="room-1", user_id="user-1")
    await world.do("POST", "leave", room_id="room-1", user_id="user-1")
    _, sent = await world.do("POST", "callbacks", type="SnapshotRealTimeData", data={"RoomId": "room-1"}, times=2)

    read = [callbacks.read(body, sandbox.CALLBACK_SECRET) for body in seen]
    assert [callback.event_type for callback in read] == [
        "UserJoinRoom",
        "UserLeaveRoom",
        "SnapshotRealTimeData",
        "SnapshotRealTimeData",
    ]
    assert sent["statuses"] == [200, 200]
    assert read[2] == read[3]
    assert len({callback.event_id for callback in read}) == 3
    await runner.cleanup()


async def test_an_event_that_nobody_takes_is_sent_three_times(world: World) -> None:
    seen: list[bytes] = []
    app = web.Application()

    async def refuse(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.Response(status=500)

    app.router.add_post("/notify", refuse)
    runner, url = await listen(app)
    await world.do("PUT", "callbacks", url=f"{url}/notify")

    await world.do("POST", "join", room_id="room-1", user_id="user-1")

    assert len(seen) == 3
    assert len(set(seen)) == 1
    await runner.cleanup()


async def test_a_stack_has_the_sandbox_as_a_part(tmp_path: Path) -> None:
    with Stack(tmp_path, only=("byteplus",)) as stack:
        credentials = Credentials(sandbox.ACCESS_KEY, sandbox.SECRET_KEY, sandbox.REGION)
        url = f"http://127.0.0.1:{stack.settings.port('byteplus')}"
        client = RtcClient(Account(sandbox.APP_ID, credentials, url), Clock(), PATIENT)

        assert await client.start_snapshot("room-1", "task-1", SNAPSHOTS) is Start.STARTED
        await client.close()


async def test_an_unknown_behaviour_is_refused(world: World) -> None:
    status, said = await world.do("PUT", "behaviour", mode="badly")

    assert status == 400
    assert said["modes"] == sandbox.MODES


def test_every_failure_says_whether_to_ask_again() -> None:
    assert all(issubclass(kind, NotNow) for kind in (Unreachable, RateLimited, OutcomeUnknown))
    assert not issubclass(Refused, NotNow)
