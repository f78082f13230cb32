"""The whole of it against a vendor that is well, slow, down, or loses answers: real clock, real calls."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from chassis.clock import SystemClock
from chassis.effects.dispatcher import EffectDispatcher
from chassis.service import EffectRequest
from chassis.timers.dispatcher import TimerDispatcher
from chassis_testing.service import ServiceHarness
from contracts import Event, GoalCreatedV1, GoalEndedV1, RtcSnapshotOverdueV1, SessionEndedV1, SessionStartedV1
from contracts.sessions import Source
from rtc_control.domain.rooms import CutOff
from rtc_control.gateway.rooms import cut_off
from rtc_control.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
An = Callable[..., Event]

Vendor = Any  # of conftest.py, which nobody imports
STREAMER = "6" * 24
DEADLINE_SECONDS = 60.0
OVERDUE_SECONDS = 5.0
MARGIN_SECONDS = 1.0  # between an event's time and the vendor's history, on a busy machine
EVENING_SECONDS = 30.0


@dataclass(frozen=True)
class Alone:
    """An exclusive: in which session, when it began in the events' time and in the vendor's."""

    number: int
    goal: str
    began: datetime
    since: float


class Evening:
    """Sessions with one source each, and the vendor."""

    def __init__(self, an: An, harness: ServiceHarness, vendor: Vendor) -> None:
        self.an, self.harness, self.vendor = an, harness, vendor

    def session(self, number: int) -> str:
        return f"{number:024x}"

    def task(self, number: int) -> str:
        return f"snapshot_{self.session(number)}_room-{number}"

    async def start(self, *numbers: int) -> None:
        await self.harness.handle(*(self._state(SessionStartedV1, number) for number in numbers))

    async def end(self, number: int) -> None:
        await self.harness.handle(self._state(SessionEndedV1, number))

    async def exclusive(self, *numbers: int, goal: str = "9" * 24, began_before: float = 0.0) -> datetime:
        """Returns when they began."""
        at = self.harness.now - timedelta(seconds=began_before)
        await self.harness.handle(*(self._goal(GoalCreatedV1, number, goal) for number in numbers), at=at)
        return at

    async def over(self, *numbers: int, goal: str = "9" * 24) -> None:
        await self.harness.handle(*(self._goal(GoalEndedV1, number, goal) for number in numbers))

    def _state(self, of: type[Event], number: int) -> Event:
        session = self.session(number)
        source = Source(room_id=f"room-{number}", session_id=session, task_id=self.task(number), kind="obs")
        active = of is not SessionEndedV1
        return self.an(of, session_id=session, streamer_id=STREAMER, active=active, sources=(source,), exclusive_to=())

    def _goal(self, of: type[Event], number: int, goal: str) -> Event:
        ended = {"ended_at": self.harness.now} if of is GoalEndedV1 else {}
        return self.an(
            of, session_id=self.session(number), streamer_id=STREAMER, goal_id=goal, kind="ExclusiveGoal", **ended
        )

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Make the calls and run the timers."""
        parts: list[Any] = [part(self.harness.runtime, SERVICE) for part in (EffectDispatcher, TimerDispatcher)]
        running = [asyncio.create_task(part.run()) for part in parts]
        try:
            yield
        finally:
            for part in parts:
                part.stop()
            await asyncio.gather(*running)


async def until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS) -> float:
    """Wait until `condition`; returns after how many seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, what
        await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
async def evening(harness_of: HarnessOf, an: An, vendor: Vendor) -> Evening:
    harness = await harness_of(SERVICE, clock=SystemClock(), byteplus_origin=vendor.url, byteplus_calls_per_second=100)
    return Evening(an, harness, vendor)


async def test_snapshots_run_stop_and_run_again_signed(evening: Evening, vendor: Vendor) -> None:
    async with evening.working():
        await evening.start(1)
        await until(lambda: vendor.running == {evening.task(1)}, "runs")
        await evening.exclusive(1)
        await until(lambda: not vendor.running, "stands still")
        await evening.over(1)
        await until(lambda: vendor.running == {evening.task(1)}, "runs again")
        await evening.end(1)
        await until(lambda: not vendor.running, "is over")

    assert [running for _, _, running in vendor.history] == [True, False, True, False]
    assert vendor.of("StartSnapshot")[0]["RoomId"] == "room-1"


@pytest.mark.parametrize("ill", ["down", "failing half", "losing"])
async def test_what_is_wanted_comes_true_within_10_s_of_the_vendors_return(
    evening: Evening, vendor: Vendor, ill: str
) -> None:
    many = range(20)
    async with evening.working():
        await evening.start(*many)
        await until(lambda: len(vendor.running) == len(many), "run")
        vendor.down, vendor.fails, vendor.loses = ill == "down", 0.5 * (ill == "failing half"), 0.5 * (ill == "losing")
        await evening.exclusive(*many)
        before = len(vendor.calls)
        await until(lambda: len(vendor.calls) > before + len(many), "tried")
        vendor.heal()

        took = await until(lambda: not vendor.running, "stand still")

    assert took < 10 + MARGIN_SECONDS


async def test_500_exclusives_at_once_stay_inside_the_rate_and_the_longest_comes_first(
    evening: Evening, vendor: Vendor
) -> None:
    many = range(500)
    await evening.start(*many)
    async with evening.working():
        await until(lambda: len(vendor.running) == len(many), "run")
    began = len(vendor.calls)
    for part in range(10):
        await evening.exclusive(*many[part * 50 : part * 50 + 50], began_before=part * 0.3)  # the last ones first

    async with evening.working():
        await until(lambda: not vendor.running, "stand still")

    stops = [at for at, action, _ in vendor.calls[began:] if action == "StopSnapshot"]
    assert all(later - earlier >= 0.95 - 0.2 for earlier, later in zip(stops, stops[100:], strict=False))
    first = [evening.task(number) for number in many[450:]]
    assert {said["TaskId"] for said in vendor.of("StopSnapshot")[:50]} == set(first)


def fall_ill(vendor: Vendor, chance: Random) -> None:
    """The vendor is well, or has one of its illnesses."""
    vendor.heal()
    match chance.randrange(5):
        case 0:
            vendor.down = True
        case 1:
            vendor.fails = 0.5
        case 2:
            vendor.loses = 0.3
        case 3:
            vendor.seconds = 1.5
        case _:
            pass


async def test_no_snapshot_runs_in_an_exclusive_after_5_s_untold(evening: Evening, vendor: Vendor) -> None:
    """A random evening: the vendor fails, is slow, loses answers, is down; the worker is stopped and started."""
    chance = Random(7)
    exclusives: list[tuple[Alone, float]] = []  # and until when
    on: dict[int, Alone] = {}
    await evening.start(*range(10))
    ends = time.monotonic() + EVENING_SECONDS
    while time.monotonic() < ends:
        async with evening.working():
            for _ in range(chance.randrange(3, 8)):
                fall_ill(vendor, chance)
                number = chance.randrange(10)
                if number in on:
                    alone = on.pop(number)
                    exclusives.append((alone, time.monotonic()))
                    await evening.over(number, goal=alone.goal)
                else:
                    goal, since = f"{chance.getrandbits(90):024x}", time.monotonic()
                    on[number] = Alone(number, goal, await evening.exclusive(number, goal=goal), since)
                await asyncio.sleep(chance.uniform(0.2, 2.0))
    vendor.heal()
    async with evening.working():
        calm = {evening.task(number) for number in range(10) if number not in on}
        took = await until(lambda: vendor.running == calm, "as wanted")
        await asyncio.sleep(6)  # what was lost may come late
        await until(lambda: vendor.running == calm, "as wanted for good", 15)
    told = await evening.harness.take()
    exclusives += [(alone, time.monotonic()) for alone in on.values()]

    overdue = [(event.task_id, event.since) for event in told if isinstance(event, RtcSnapshotOverdueV1)]
    assert len(overdue) == len(set(overdue))
    for alone, until_ in exclusives:
        task = evening.task(alone.number)
        if (task, alone.began) not in overdue:
            assert not ran(vendor, task, alone.since + OVERDUE_SECONDS + MARGIN_SECONDS, until_)
    assert took < 10 + MARGIN_SECONDS


def ran(vendor: Vendor, task: str, since: float, until_: float) -> bool:
    """Whether a task ran at any moment between these."""
    running = False
    for at, of, now_running in vendor.history:
        if of != task:
            continue
        if running and at > since and since < until_:
            return True
        if at >= until_:
            return False
        running = now_running
    return running and since < until_


@pytest.mark.parametrize(
    ("result", "error", "does"),
    [
        ("ok", None, True),
        ("The task has been started. Please do not call the startup task interface repeatedly", None, True),
        ("no", None, False),
        ("", "InvalidParameter.TaskAlreadyExists", True),
        ("", "InvalidParameter.NotExistAppId", False),
        ("", "FlowLimitExceeded.QPSOverLimit", False),
    ],
)
async def test_started_before_is_started(
    evening: Evening, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, result: str, error: str | None, *, does: bool
) -> None:
    answer = vendor.error("StartSnapshot", error) if error else vendor.result("StartSnapshot", result)
    monkeypatch.setattr(vendor, "do", lambda *_: answer)
    await evening.start(1)

    async with evening.working():
        await until(lambda: len(vendor.calls) >= (1 if does else 2), "asked")

    rows = await evening.harness.contents("effects")
    assert (rows["effects"] == []) is does


@pytest.mark.parametrize(("kept_out", "seconds"), [(True, 60), (False, 0)])
async def test_who_is_put_out_is_kept_out_for_a_minute_or_not_at_all(
    evening: Evening, vendor: Vendor, *, kept_out: bool, seconds: int
) -> None:
    call = CutOff(room_id="room-1", user_id=STREAMER, kept_out=kept_out)

    [answer] = await cut_off([EffectRequest("cut", "cut", call, 1)], evening.harness.runtime.outside)

    assert answer.retry is None
    assert [said["ForbiddenInterval"] for said in vendor.of("BanRoomUser")] == [seconds]
