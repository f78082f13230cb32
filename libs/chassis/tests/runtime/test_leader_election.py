"""The lease: one leader at a time by the server's clock; a clean stop hands over at once, a death after a lease."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from chassis.clock import ManualClock, MovedClock, SystemClock
from chassis.errors import StuckError
from chassis.runtime.health import mongo_answers
from chassis.runtime.leader_election import LEASES, Leader, Lease
from chassis.service import Service
from chassis_testing.service import ServiceHarness

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

SERVICE = Service(name="goals", router=APIRouter())


class Duty:
    """Runs until it is stopped, or fails."""

    def __init__(
        self, log: list[str], name: str, *, fails: bool = False, hangs: bool = False, clings: bool = False
    ) -> None:
        self._log = log
        self._name = name
        self._fails = fails
        self._hangs = hangs
        self._clings = clings
        self._begun_at = time.monotonic()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        self._log.append(f"{self._name} leads")
        if self._fails:
            raise ValueError("a bug")
        if self._clings:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        if self._hangs or self._clings:
            await asyncio.Event().wait()
        await self._stopping.wait()
        self._log.append(f"{self._name} ends")

    def stop(self) -> None:
        self._stopping.set()

    @property
    def trouble(self) -> str | None:
        return None

    @property
    def round_at(self) -> float:
        return self._begun_at if self._hangs or self._clings else time.monotonic()


def leader(harness: ServiceHarness, log: list[str], name: str, seconds: float = 1.0, **how: Any) -> Leader:
    return Leader(Lease(harness.runtime, seconds), lambda: [Duty(log, name, **how)], SystemClock(), stuck_seconds=1.5)


async def test_only_one_holds_the_lease_and_the_token_grows_with_every_owner(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    first, second = Lease(harness.runtime, 5), Lease(harness.runtime, 5)

    assert [await first.take(), await second.take(), await first.take()] == [True, False, True]
    assert (first.held, second.held) == (True, False)
    assert first.token == 1

    await first.release()

    assert not first.held
    assert await second.take()
    assert second.token == 2


async def test_a_lease_that_is_not_renewed_is_anybodys_by_the_servers_clock(
    harness_of: HarnessOf, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    slow = replace(harness.runtime, clock=ManualClock(harness.now))  # this machine's clock stands still
    first, second = Lease(slow, 0.5), Lease(slow, 0.5)
    assert await first.take()

    await eventually(second.take, seconds=2)

    assert not await first.take()
    assert second.token == 2


class Clock(SystemClock):
    """This machine's clock, set wrong by so much."""

    def __init__(self, ahead_seconds: float = 0.0) -> None:
        self.ahead_seconds = ahead_seconds

    def machine_micros(self) -> int:
        return super().machine_micros() + int(self.ahead_seconds * 1_000_000)


@pytest.mark.parametrize("ahead_seconds", [-600.0, -2.0, 0.0, 2.0, 600.0])
async def test_the_lease_tells_how_far_the_clock_is_apart_from_the_servers(
    harness_of: HarnessOf, ahead_seconds: float
) -> None:
    harness = await harness_of(SERVICE, clock=Clock(ahead_seconds))
    lease = Lease(harness.runtime, 5)

    assert lease.clock_ahead_seconds == 0
    assert await lease.take()

    assert lease.clock_ahead_seconds == pytest.approx(ahead_seconds, abs=0.9)


async def test_a_clock_that_is_set_is_noticed_at_once(harness_of: HarnessOf) -> None:
    clock = Clock()
    harness = await harness_of(SERVICE, clock=clock)
    lease = Lease(harness.runtime, 5)
    assert await lease.take()

    clock.ahead_seconds = 600.0

    assert lease.clock_ahead_seconds == pytest.approx(600, abs=0.9)


async def test_a_local_stacks_clock_that_was_moved_is_not_wrong(harness_of: HarnessOf, tmp_path: Path) -> None:
    ahead = tmp_path / "clock-ahead"
    ahead.write_bytes((3_600 * 1_000_000).to_bytes(8, sys.byteorder))
    harness = await harness_of(SERVICE, clock=MovedClock(ahead))
    lease = Lease(harness.runtime, 5)

    assert await lease.take()

    assert harness.now - timedelta(hours=1) == pytest.approx(datetime.now(UTC), abs=timedelta(minutes=5))
    assert lease.clock_ahead_seconds == pytest.approx(0, abs=0.9)
    assert await mongo_answers(harness.runtime.database, harness.runtime.clock)() == []


async def test_clocks_that_are_a_minute_apart_are_no_ready_process(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    database = harness.runtime.database
    assert await mongo_answers(database, Clock(50))() == []
    assert await mongo_answers(database, Clock(90_000))() == ["this machine's clock is 90000 s ahead of MongoDB's"]
    assert await mongo_answers(database, Clock(-90_000))() == ["this machine's clock is 90000 s behind MongoDB's"]


async def test_many_that_ask_at_once_make_one_leader(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    leases = [Lease(harness.runtime, 5) for _ in range(10)]

    took = await asyncio.gather(*(lease.take() for lease in leases), return_exceptions=True)

    assert [answer for answer in took if answer is True] == [True]


async def test_a_clean_stop_hands_over_at_once(harness_of: HarnessOf, eventually: Any) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    log: list[str] = []
    old, new = leader(harness, log, "old", 3.0), leader(harness, log, "new", 3.0)
    leading = asyncio.create_task(old.run())
    await eventually(lambda: log == ["old leads"])
    waiting = asyncio.create_task(new.run())

    old.stop()
    await leading
    await eventually(lambda: log == ["old leads", "old ends", "new leads"], seconds=1.9)

    new.stop()
    await waiting


async def test_a_leader_that_cannot_renew_stops_before_another_begins(harness_of: HarnessOf, eventually: Any) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    log: list[str] = []
    old = leader(harness, log, "old")
    leading = asyncio.create_task(old.run())
    await eventually(lambda: log == ["old leads"])

    leases = harness.runtime.database[LEASES.name]
    await leases.update_one({}, {"$set": {"owner": "another"}})  # as if it had been frozen for long

    await eventually(lambda: log == ["old leads", "old ends"])
    await eventually(lambda: log == ["old leads", "old ends", "old leads"])  # the other one does not renew either
    old.stop()
    await leading


async def test_a_duty_that_fails_ends_the_leader_with_its_error_and_frees_the_lease(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())

    with pytest.raises(ValueError, match="a bug"):
        await leader(harness, [], "bad", 3.0, fails=True).run()

    assert await Lease(harness.runtime, 3).take()


@pytest.mark.parametrize("how", ["hangs", "clings"])
async def test_a_duty_that_does_not_come_round_ends_the_leader_and_frees_the_lease(
    harness_of: HarnessOf, eventually: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("chassis.runtime.leader_election.STOP_SECONDS", 0.2)
    harness = await harness_of(SERVICE, clock=SystemClock())
    bad = leader(harness, [], "bad", **{how: True})
    leading = asyncio.create_task(bad.run())

    await eventually(bad.trouble, seconds=1.4)
    with pytest.raises(StuckError, match=r"Duty (has not come round|does not end)"):
        await asyncio.wait_for(leading, 5)

    assert await Lease(harness.runtime, 3).take()
