"""Timers: never early, once, in the transaction of their handler; one that fails waits, then is parked."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi import APIRouter
from prometheus_client import REGISTRY

from chassis.clock import SystemClock
from chassis.decision import At, Cancel, Timer
from chassis.errors import NotYet
from chassis.kafka.parking import PARKED_KEYS, ParkedKey
from chassis.runtime import parked_work
from chassis.runtime.faults import FaultError, plan_faults
from chassis.runtime.wakeup import POLL_SECONDS
from chassis.service import Service, when
from chassis.storage.collection import Collection
from chassis.storage.errors import StaleDocumentError
from chassis.storage.tx import Tx
from chassis.timers.dispatcher import RETRIES, SLICE_MAX, TimerDispatcher
from chassis.timers.model import TIMERS
from chassis_testing.service import ServiceHarness

HarnessOf = Callable[..., Awaitable[ServiceHarness]]


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


async def set_timers(
    harness: ServiceHarness, *bells: str, after_seconds: float = 0, key: str = "key", **how: Any
) -> None:
    async with harness.tx() as tx:
        for bell in bells:
            tx.set_timer(At(Ring(bell=bell, **how), bell, tx.now + timedelta(seconds=after_seconds), key))


async def bells(harness: ServiceHarness) -> dict[str, Bell]:
    rows = await harness.runtime.database[BELLS.name].find().to_list(None)
    return {row["_id"]: BELLS.from_raw(row) for row in rows}


async def is_empty(harness: ServiceHarness) -> bool:
    return await harness.runtime.database[TIMERS.name].count_documents({}) == 0


async def due(harness: ServiceHarness) -> datetime:
    """When the only timer is due."""
    [timer] = await harness.runtime.database[TIMERS.name].find().to_list(None)
    when: datetime = timer["due"]
    return when


def timers_of(harness: ServiceHarness) -> TimerDispatcher:
    return TimerDispatcher(harness.runtime, harness.service)


async def test_only_a_timer_that_is_due_soon_rings(harness_of: HarnessOf) -> None:
    """The others are found by the next look, which costs nothing more."""
    harness = await harness_of(SERVICE)
    for seconds, rings in ((0, True), (5.9, True), (6.1, False), (3_600, False)):
        await set_timers(harness, "bell", after_seconds=seconds)
        assert bool(harness.runtime.wakeups.take_notified([TIMERS.name])) is rings, seconds
    async with harness.tx() as tx:
        tx.cancel_timer(Cancel("bell"))
    assert harness.runtime.wakeups.take_notified([TIMERS.name]) == []


async def test_a_timer_runs_at_its_moment_and_never_before(harness_of: HarnessOf, doing: Any, eventually: Any) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    start = harness.now

    async with doing(timers_of(harness)):
        for n in range(20):
            await set_timers(harness, f"bell-{n}", after_seconds=0.05 * n)
        await eventually(lambda: is_empty(harness))

    rang = await bells(harness)
    lateness = [(bell.at - bell.due).total_seconds() for bell in rang.values() if bell.at and bell.due]
    assert len(lateness) == 20
    assert min(lateness) >= 0
    assert sorted(lateness)[10] < POLL_SECONDS / 2
    assert all(bell.due is not None and bell.due >= start for bell in rang.values())


@pytest.mark.parametrize("ahead_seconds", [-1.5, 1.5])
async def test_timers_are_held_while_the_clock_is_wrong(
    harness_of: HarnessOf, doing: Any, eventually: Any, ahead_seconds: float
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    apart = ahead_seconds
    dispatcher = TimerDispatcher(harness.runtime, harness.service, lambda: apart)
    await set_timers(harness, "bell")

    async with doing(dispatcher):
        first = dispatcher.round_at
        await eventually(lambda: dispatcher.round_at > first + POLL_SECONDS)  # it is no hang
        assert await bells(harness) == {}
        apart = 0.9
        await eventually(lambda: is_empty(harness))

    assert (await bells(harness)).keys() == {"bell"}


async def test_two_leaders_run_each_timer_once(harness_of: HarnessOf, doing: Any, eventually: Any) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    await set_timers(harness, *(f"bell-{n}" for n in range(300)))

    async with doing(timers_of(harness), timers_of(harness), timers_of(harness)):
        await eventually(lambda: is_empty(harness))

    assert {bell.rang for bell in (await bells(harness)).values()} == {1}
    assert len(await bells(harness)) == 300


async def test_a_timer_that_one_before_it_in_the_slice_cancels_or_moves_does_not_run(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    await set_timers(harness, "first", after_seconds=-3, cancels="second", moves="third")
    await set_timers(harness, "second", after_seconds=-2)
    await set_timers(harness, "third", after_seconds=-1)

    async with doing(timers_of(harness)):
        await eventually(lambda: bells(harness))
        await eventually(lambda: _count(harness, 1))

    assert (await bells(harness)).keys() == {"first"}
    [left] = await harness.timers()
    assert left == Ring(bell="third")


async def test_a_timer_that_fails_keeps_its_moment_and_holds_up_nobody(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    await set_timers(harness, "bad", after_seconds=-2, fails=True)
    await set_timers(harness, "good", after_seconds=-1)
    due = (await harness.runtime.database[TIMERS.name].find_one({"_id": "bad"}) or {})["due"]

    async with doing(timers_of(harness)):
        await eventually(lambda: _attempts(harness, "bad", 2))

    assert (await bells(harness)).keys() == {"good"}
    row = await harness.runtime.database[TIMERS.name].find_one({"_id": "bad"})
    assert row is not None
    stored = TIMERS.from_raw(row)
    assert stored.at == due
    assert stored.due > due
    assert stored.reason == "ValueError: the bell is cracked"


async def test_a_timer_that_keeps_failing_is_parked_until_somebody_replays_it(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    await set_timers(harness, "bad", fails=True)
    timers = harness.runtime.database[TIMERS.name]
    await timers.update_one({}, {"$set": {"attempts": RETRIES.attempts_max - 1}})

    async with doing(timers_of(harness)):
        await eventually(lambda: timers.count_documents({"parked": True}))
        [parked] = [one async for one in parked_work.TIMERS.list(harness.runtime)]
        assert parked["reason"] == "ValueError: the bell is cracked"
        await timers.update_one({}, {"$set": {"data.fails": False}})  # mended
        assert await parked_work.TIMERS.replay(harness.runtime.database, harness.runtime.clock) == 1
        await eventually(lambda: is_empty(harness))

    assert (await bells(harness))["bad"].rang == 1


async def test_a_timer_that_this_release_does_not_know_waits_untouched_for_one_that_does(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    await set_timers(harness, *(f"new-{n}" for n in range(2 * SLICE_MAX)), after_seconds=-60)
    timers = harness.runtime.database[TIMERS.name]
    await timers.update_many({}, {"$set": {"name": "chime"}})
    await set_timers(harness, "good")
    before = await timers.find({"name": "chime"}).to_list(None)

    async with doing(timers_of(harness)):
        await eventually(lambda: bells(harness))
        await eventually(lambda: REGISTRY.get_sample_value("timers_unknown") == 2 * SLICE_MAX)

    assert (await bells(harness)).keys() == {"good"}
    assert await timers.find({"name": "chime"}).to_list(None) == before
    await timers.update_many({}, {"$set": {"name": Ring.NAME}})  # as the next release knows it
    async with doing(timers_of(harness)):
        await eventually(lambda: is_empty(harness))
    assert REGISTRY.get_sample_value("timers_unknown") == 0


async def test_who_leads_no_more_measures_no_timers(
    harness_of: HarnessOf, doing: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.timers.dispatcher.GAUGE_SECONDS", 0.0)
    harness = await harness_of(SERVICE, clock=SystemClock())
    await set_timers(harness, "parked", "unknown", after_seconds=-1)
    timers = harness.runtime.database[TIMERS.name]
    await timers.update_one({"_id": "parked"}, {"$set": {"parked": True}})
    await timers.update_one({"_id": "unknown"}, {"$set": {"name": "chime"}})

    def told() -> list[float | None]:
        return [REGISTRY.get_sample_value(f"timers_{what}") for what in ("parked", "unknown")]

    async with doing(timers_of(harness)):
        await eventually(lambda: told() == [1, 1])

    assert told() == [0, 0]


async def test_a_timer_waits_behind_a_parked_message_of_its_key_without_counting(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    async with harness.tx() as tx:
        tx.put(PARKED_KEYS, _parked("stuck", tx.now))
    await set_timers(harness, "behind", key="stuck")
    await set_timers(harness, "free", key="other")

    async with doing(timers_of(harness)):
        await eventually(lambda: bells(harness))
        assert (await bells(harness)).keys() == {"free"}
        async with harness.tx() as tx:
            tx.delete(PARKED_KEYS, "goals:stuck")
        await eventually(lambda: is_empty(harness))

    assert (await bells(harness)).keys() == {"free", "behind"}
    assert (await bells(harness))["behind"].due is not None


async def test_timers_behind_a_parked_key_come_ever_less_often(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE)
    async with harness.tx() as tx:
        tx.put(PARKED_KEYS, _parked("stuck", tx.now))
    await set_timers(harness, "behind", key="stuck")
    moment, waits = await due(harness), []

    async def is_put_off() -> bool:
        return await due(harness) > harness.now

    async with doing(timers_of(harness)):
        for _ in range(7):
            await eventually(is_put_off)
            waits.append((await due(harness) - harness.now).total_seconds())
            harness.clock.advance(waits[-1])
            harness.runtime.wakeups.notify([TIMERS.name])

    assert waits == [1, 2, 4, 8, 16, 30, 30]
    stored = await harness.runtime.database[TIMERS.name].find_one({})
    assert stored is not None
    assert (stored["set_for"], stored["attempts"]) == (moment, 0)


async def test_a_timer_that_comes_before_what_it_is_about_waits_without_counting(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    known: list[str] = []

    async def ring_known(timer: Ring, tx: Tx) -> None:
        if timer.bell not in known:
            known.append(timer.bell)
            raise NotYet("bell")
        await ring(timer, tx)

    service = Service("goals", APIRouter(), timers=(when(Ring, ring_known),), collections=(BELLS,))
    harness = await harness_of(service, clock=SystemClock())
    await set_timers(harness, "early")

    async with doing(timers_of(harness)):
        await eventually(lambda: is_empty(harness))

    assert (await bells(harness))["early"].rang == 1


async def test_a_crash_in_the_middle_of_a_run_loses_and_repeats_nothing(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(SERVICE, clock=SystemClock())
    await set_timers(harness, *(f"bell-{n}" for n in range(300)))
    plan_faults(json.dumps({"timers.in_run": {"action": "raise", "of": "ring"}}))
    try:
        with pytest.raises(FaultError):
            await timers_of(harness).run()
    finally:
        plan_faults(None)
    assert 0 < len(await bells(harness)) < 300

    async with doing(timers_of(harness)):
        await eventually(lambda: is_empty(harness))

    assert [bell.rang for bell in (await bells(harness)).values()] == [1] * 300


async def test_what_the_server_refuses_for_good_is_one_timers_fault_alone(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    async def insert_twice(timer: Ring, tx: Tx) -> None:
        if timer.fails:
            tx.insert(BELLS, Bell("there already"))
        else:
            await ring(timer, tx)

    service = Service("goals", APIRouter(), timers=(when(Ring, insert_twice),), collections=(BELLS,))
    harness = await harness_of(service, clock=SystemClock())
    async with harness.tx() as tx:
        tx.put(BELLS, Bell("there already"))
    await set_timers(harness, "bad", after_seconds=-1, fails=True)
    await set_timers(harness, *(f"good-{n}" for n in range(10)))

    async with doing(timers_of(harness)):
        await eventually(lambda: _attempts(harness, "bad", 1))
        await eventually(lambda: _count(harness, 1))

    assert len(await bells(harness)) == 11


async def test_a_timer_whose_transaction_is_always_aborted_is_parked_and_the_others_run(
    harness_of: HarnessOf, doing: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.storage.batch.ALONE_SECONDS_MAX", 0.3)

    async def overtaken(timer: Ring, tx: Tx) -> None:
        if timer.fails:
            raise StaleDocumentError("as MongoDB says of a transaction that took over 5 s")
        await ring(timer, tx)

    service = Service("goals", APIRouter(), timers=(when(Ring, overtaken),), collections=(BELLS,))
    harness = await harness_of(service, clock=SystemClock())
    await set_timers(harness, "slow", after_seconds=-1, fails=True)
    await set_timers(harness, *(f"good-{n}" for n in range(10)))

    async with doing(timers_of(harness)):
        await eventually(lambda: _count(harness, 1))

    [slow] = await harness.runtime.database[TIMERS.name].find().to_list(None)
    assert (slow["_id"], slow["parked"], slow["attempts"]) == ("slow", True, 1)
    assert slow["reason"].startswith("AbortedError: aborted")


async def _attempts(harness: ServiceHarness, id_: str, at_least: int) -> bool:
    return bool(
        await harness.runtime.database[TIMERS.name].count_documents({"_id": id_, "attempts": {"$gte": at_least}})
    )


async def _count(harness: ServiceHarness, timers: int) -> bool:
    return await harness.runtime.database[TIMERS.name].count_documents({}) == timers


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


async def test_a_handler_that_hangs_shows_in_when_the_dispatcher_last_came_round(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    entered, hanging = asyncio.Event(), asyncio.Event()

    async def hang(_timer: Ring, _tx: Tx) -> None:
        entered.set()
        await hanging.wait()

    service = Service("goals", APIRouter(), timers=(when(Ring, hang),), collections=(BELLS,))
    harness = await harness_of(service, clock=SystemClock())
    dispatcher = timers_of(harness)
    async with doing(dispatcher):
        first = dispatcher.round_at
        await eventually(lambda: dispatcher.round_at > first)
        await set_timers(harness, "bell")
        await entered.wait()
        last = dispatcher.round_at
        assert SystemClock().monotonic() - last < POLL_SECONDS + 1

        harness.runtime.wakeups.notify([TIMERS.name])  # it does not help
        await asyncio.sleep(0.1)
        assert dispatcher.round_at == last
        hanging.set()
        await eventually(lambda: dispatcher.round_at > last)
