"""The lease: one leader at a time by the server's clock; a clean stop hands over at once, a death after a lease."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from fastapi import APIRouter

from chassis.clock import ManualClock, SystemClock
from chassis.lease import LEASES, Leader, Lease
from chassis.service import Service
from chassis.testing import Solo

SoloOf = Callable[..., Awaitable[Solo]]

SERVICE = Service(name="goals", router=APIRouter())


class Duty:
    """Runs until it is stopped, or fails."""

    def __init__(self, log: list[str], name: str, *, fails: bool = False) -> None:
        self._log = log
        self._name = name
        self._fails = fails
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        self._log.append(f"{self._name} leads")
        if self._fails:
            raise ValueError("a bug")
        await self._stopping.wait()
        self._log.append(f"{self._name} ends")

    def stop(self) -> None:
        self._stopping.set()


def leader(solo: Solo, log: list[str], name: str, seconds: float = 1.0, **how: Any) -> Leader:
    return Leader(Lease(solo.runtime, seconds), lambda: [Duty(log, name, **how)])


async def test_only_one_holds_the_lease_and_the_token_grows_with_every_owner(solo_of: SoloOf) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    first, second = Lease(solo.runtime, 5), Lease(solo.runtime, 5)

    assert [await first.take(), await second.take(), await first.take()] == [True, False, True]
    assert (first.held, second.held) == (True, False)
    assert first.token == 1

    await first.release()

    assert not first.held
    assert await second.take()
    assert second.token == 2


async def test_a_lease_that_is_not_renewed_is_anybodys_by_the_servers_clock(solo_of: SoloOf, eventually: Any) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    slow = replace(solo.runtime, clock=ManualClock(solo.now))  # this machine's clock stands still
    first, second = Lease(slow, 0.5), Lease(slow, 0.5)
    assert await first.take()

    await eventually(second.take, seconds=2)

    assert not await first.take()
    assert second.token == 2


async def test_many_that_ask_at_once_make_one_leader(solo_of: SoloOf) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    leases = [Lease(solo.runtime, 5) for _ in range(10)]

    took = await asyncio.gather(*(lease.take() for lease in leases), return_exceptions=True)

    assert [answer for answer in took if answer is True] == [True]


async def test_a_clean_stop_hands_over_at_once(solo_of: SoloOf, eventually: Any) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    log: list[str] = []
    old, new = leader(solo, log, "old", 3.0), leader(solo, log, "new", 3.0)
    leading = asyncio.create_task(old.run())
    await eventually(lambda: log == ["old leads"])
    waiting = asyncio.create_task(new.run())

    old.stop()
    await leading
    await eventually(lambda: log == ["old leads", "old ends", "new leads"], seconds=1.9)

    new.stop()
    await waiting


async def test_a_leader_that_cannot_renew_stops_before_another_begins(solo_of: SoloOf, eventually: Any) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    log: list[str] = []
    old = leader(solo, log, "old")
    leading = asyncio.create_task(old.run())
    await eventually(lambda: log == ["old leads"])

    leases = solo.runtime.database[LEASES.name]
    await leases.update_one({}, {"$set": {"owner": "another"}})  # as if it had been frozen for long

    await eventually(lambda: log == ["old leads", "old ends"])
    await eventually(lambda: log == ["old leads", "old ends", "old leads"])  # the other one does not renew either
    old.stop()
    await leading


async def test_a_duty_that_fails_ends_the_leader_with_its_error_and_frees_the_lease(solo_of: SoloOf) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())

    with pytest.raises(ValueError, match="a bug"):
        await leader(solo, [], "bad", 3.0, fails=True).run()

    assert await Lease(solo.runtime, 3).take()
