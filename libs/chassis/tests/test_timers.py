"""Timers: never early, once, in the transaction of their handler; one that fails waits, then is parked."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi import APIRouter

from chassis.clock import SystemClock
from chassis.collection import Collection
from chassis.decision import At, Cancel, Timer
from chassis.errors import NotYet
from chassis.faults import FaultError, plan_faults
from chassis.parking import PARKED_KEYS, ParkedKey
from chassis.pending import TIMERS
from chassis.service import Service, when
from chassis.testing import Solo
from chassis.timers import ATTEMPTS_MAX, POLL_SECONDS, Timers, list_parked, replay
from chassis.tx import Tx

SoloOf = Callable[..., Awaitable[Solo]]


class Ring(Timer, name="ring"):
    """Counts a bell; may cancel or set another, or fail."""

    bell: str
    cancels: str | None = None
    moves: str | None = None
    fails: bool = False


@dataclass(frozen=True)
class Bell:
    """How often it rang, when that was due, and when it was."""

    id: str
    rang: int = 0
    due: datetime | None = None
    at: datetime | None = None


BELLS = Collection("bells", Bell)


async def ring(timer: Ring, tx: Tx) -> None:
    bell = await tx.get(BELLS, timer.bell) or Bell(timer.bell)
    tx.put(BELLS, replace(bell, rang=bell.rang + 1, due=tx.cause.at, at=tx.now))
    if timer.cancels:
        tx.cancel_timer(Cancel(timer.cancels))
    if timer.moves:
        tx.set_timer(At(Ring(bell=timer.moves), timer.moves, tx.now + timedelta(hours=1), "key"))
    if timer.fails:
        raise ValueError("the bell is cracked")


SERVICE = Service(name="goals", router=APIRouter(), timers=(when(Ring, ring),), collections=(BELLS,))


async def set_timers(solo: Solo, *bells: str, after_seconds: float = 0, key: str = "key", **how: Any) -> None:
    async with solo.tx() as tx:
        for bell in bells:
            tx.set_timer(At(Ring(bell=bell, **how), bell, tx.now + timedelta(seconds=after_seconds), key))


async def bells(solo: Solo) -> dict[str, Bell]:
    rows = await solo.runtime.database[BELLS.name].find().to_list(None)
    return {row["_id"]: BELLS.from_raw(row) for row in rows}


async def is_empty(solo: Solo) -> bool:
    return await solo.runtime.database[TIMERS.name].count_documents({}) == 0


def timers_of(solo: Solo) -> Timers:
    return Timers(solo.runtime, solo.service)


async def test_only_a_timer_that_is_due_soon_rings(solo_of: SoloOf) -> None:
    """The others are found by the next look, which costs nothing more."""
    solo = await solo_of(SERVICE)
    for seconds, rings in ((0, True), (1.9, True), (2.1, False), (3_600, False)):
        await set_timers(solo, "bell", after_seconds=seconds)
        assert bool(solo.runtime.bells.take_rung([TIMERS.name])) is rings, seconds
    async with solo.tx() as tx:
        tx.cancel_timer(Cancel("bell"))
    assert solo.runtime.bells.take_rung([TIMERS.name]) == []


async def test_a_timer_runs_at_its_moment_and_never_before(solo_of: SoloOf, doing: Any, eventually: Any) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    start = solo.now

    async with doing(timers_of(solo)):
        for n in range(20):
            await set_timers(solo, f"bell-{n}", after_seconds=0.05 * n)
        await eventually(lambda: is_empty(solo))

    rang = await bells(solo)
    lateness = [(bell.at - bell.due).total_seconds() for bell in rang.values() if bell.at and bell.due]
    assert len(lateness) == 20
    assert min(lateness) >= 0
    assert sorted(lateness)[10] < POLL_SECONDS / 2
    assert all(bell.due is not None and bell.due >= start for bell in rang.values())


async def test_two_leaders_run_each_timer_once(solo_of: SoloOf, doing: Any, eventually: Any) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    await set_timers(solo, *(f"bell-{n}" for n in range(300)))

    async with doing(timers_of(solo), timers_of(solo), timers_of(solo)):
        await eventually(lambda: is_empty(solo))

    assert {bell.rang for bell in (await bells(solo)).values()} == {1}
    assert len(await bells(solo)) == 300


async def test_a_timer_that_one_before_it_in_the_slice_cancels_or_moves_does_not_run(
    solo_of: SoloOf, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    await set_timers(solo, "first", after_seconds=-3, cancels="second", moves="third")
    await set_timers(solo, "second", after_seconds=-2)
    await set_timers(solo, "third", after_seconds=-1)

    async with doing(timers_of(solo)):
        await eventually(lambda: bells(solo))
        await eventually(lambda: _count(solo, 1))

    assert (await bells(solo)).keys() == {"first"}
    [left] = await solo.timers()
    assert left == Ring(bell="third")


async def test_a_timer_that_fails_keeps_its_moment_and_holds_up_nobody(
    solo_of: SoloOf, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    await set_timers(solo, "bad", after_seconds=-2, fails=True)
    await set_timers(solo, "good", after_seconds=-1)
    due = (await solo.runtime.database[TIMERS.name].find_one({"_id": "bad"}) or {})["due"]

    async with doing(timers_of(solo)):
        await eventually(lambda: _attempts(solo, "bad", 2))

    assert (await bells(solo)).keys() == {"good"}
    row = await solo.runtime.database[TIMERS.name].find_one({"_id": "bad"})
    assert row is not None
    stored = TIMERS.from_raw(row)
    assert stored.at == due
    assert stored.due > due
    assert stored.reason == "ValueError: the bell is cracked"


async def test_a_timer_that_keeps_failing_is_parked_until_somebody_replays_it(
    solo_of: SoloOf, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    await set_timers(solo, "bad", fails=True)
    timers = solo.runtime.database[TIMERS.name]
    await timers.update_one({}, {"$set": {"attempts": ATTEMPTS_MAX - 1}})

    async with doing(timers_of(solo)):
        await eventually(lambda: timers.count_documents({"parked": True}))
        [parked] = await list_parked(solo.runtime.database)
        assert parked["reason"] == "ValueError: the bell is cracked"
        await timers.update_one({}, {"$set": {"data.fails": False}})  # mended
        assert await replay(solo.runtime.database) == 1
        await eventually(lambda: is_empty(solo))

    assert (await bells(solo))["bad"].rang == 1


async def test_a_timer_that_nobody_knows_is_a_failing_one(solo_of: SoloOf, doing: Any, eventually: Any) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    await set_timers(solo, "strange", "good")
    await solo.runtime.database[TIMERS.name].update_one({"_id": "strange"}, {"$set": {"name": "gone"}})

    async with doing(timers_of(solo)):
        await eventually(lambda: _attempts(solo, "strange", 1))

    assert (await bells(solo)).keys() == {"good"}


async def test_a_timer_waits_behind_a_parked_message_of_its_key_without_counting(
    solo_of: SoloOf, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    async with solo.tx() as tx:
        tx.put(PARKED_KEYS, _parked("stuck", tx.now))
    await set_timers(solo, "behind", key="stuck")
    await set_timers(solo, "free", key="other")

    async with doing(timers_of(solo)):
        await eventually(lambda: bells(solo))
        assert (await bells(solo)).keys() == {"free"}
        async with solo.tx() as tx:
            tx.delete(PARKED_KEYS, "goals:stuck")
        await eventually(lambda: is_empty(solo))

    assert (await bells(solo)).keys() == {"free", "behind"}
    assert (await bells(solo))["behind"].due is not None


async def test_a_timer_that_comes_before_what_it_is_about_waits_without_counting(
    solo_of: SoloOf, doing: Any, eventually: Any
) -> None:
    known: list[str] = []

    async def ring_known(timer: Ring, tx: Tx) -> None:
        if timer.bell not in known:
            known.append(timer.bell)
            raise NotYet("bell")
        await ring(timer, tx)

    service = Service("goals", APIRouter(), timers=(when(Ring, ring_known),), collections=(BELLS,))
    solo = await solo_of(service, clock=SystemClock())
    await set_timers(solo, "early")

    async with doing(timers_of(solo)):
        await eventually(lambda: is_empty(solo))

    assert (await bells(solo))["early"].rang == 1


async def test_a_crash_in_the_middle_of_a_run_loses_and_repeats_nothing(
    solo_of: SoloOf, doing: Any, eventually: Any
) -> None:
    solo = await solo_of(SERVICE, clock=SystemClock())
    await set_timers(solo, *(f"bell-{n}" for n in range(300)))
    plan_faults(json.dumps({"timers.in_run": {"action": "raise"}}))
    try:
        with pytest.raises(FaultError):
            await timers_of(solo).run()
    finally:
        plan_faults(None)
    assert 0 < len(await bells(solo)) < 300

    async with doing(timers_of(solo)):
        await eventually(lambda: is_empty(solo))

    assert [bell.rang for bell in (await bells(solo)).values()] == [1] * 300


async def test_what_the_server_refuses_for_good_is_one_timers_fault_alone(
    solo_of: SoloOf, doing: Any, eventually: Any
) -> None:
    async def insert_twice(timer: Ring, tx: Tx) -> None:
        if timer.fails:
            tx.insert(BELLS, Bell("there already"))
        else:
            await ring(timer, tx)

    service = Service("goals", APIRouter(), timers=(when(Ring, insert_twice),), collections=(BELLS,))
    solo = await solo_of(service, clock=SystemClock())
    async with solo.tx() as tx:
        tx.put(BELLS, Bell("there already"))
    await set_timers(solo, "bad", after_seconds=-1, fails=True)
    await set_timers(solo, *(f"good-{n}" for n in range(10)))

    async with doing(timers_of(solo)):
        await eventually(lambda: _attempts(solo, "bad", 1))
        await eventually(lambda: _count(solo, 1))

    assert len(await bells(solo)) == 11


async def _attempts(solo: Solo, id_: str, at_least: int) -> bool:
    return bool(await solo.runtime.database[TIMERS.name].count_documents({"_id": id_, "attempts": {"$gte": at_least}}))


async def _count(solo: Solo, timers: int) -> bool:
    return await solo.runtime.database[TIMERS.name].count_documents({}) == timers


def _parked(key: str, now: datetime) -> ParkedKey:
    return ParkedKey(
        id=f"goals:{key}",
        position="goals:0",
        topic="goals",
        key=key,
        head="goals:0:1",
        type="goal.ended.v1",
        reason="a test",
        since=now,
        next_try_at=now,
    )
