"""Vendor calls: in order per key, together across keys, again until answered, never after their time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi import APIRouter
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from chassis import ids
from chassis.clock import SystemClock
from chassis.context import Outside
from chassis.decision import Call, Effect
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis.runtime.faults import FaultError, plan_faults
from chassis.runtime.wakeup import POLL_SECONDS
from chassis.service import EffectRequest, EffectResult, Service, effect
from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from chassis_testing.service import ServiceHarness

HarnessOf = Callable[..., Awaitable[ServiceHarness]]


class Push(Effect, name="push"):
    number: int


class Slow(Effect, name="slow"):
    pass


@dataclass(frozen=True)
class Told:
    """What a handler has stored of an answer, or of the end of a call's time."""

    id: str
    number: int
    result: str


TOLD = Collection("told", Told)


@dataclass
class Vendor:
    """The outside world: remembers who called, and does as it is told."""

    calls: list[tuple[str, int]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)
    overlaps: int = 0
    refuses: Callable[[EffectRequest[Push]], str | None] = lambda _call: None
    silent: Callable[[EffectRequest[Push]], bool] = lambda _call: False
    takes_seconds: float = 0.0

    async def perform(self, calls: Sequence[EffectRequest[Push]], _outside: Outside) -> Sequence[EffectResult[Push]]:
        self.batches.append(len(calls))
        answers = []
        for one in calls:
            self.at_once[one.key] += 1
            self.overlaps += self.at_once[one.key] > 1
        await asyncio.sleep(self.takes_seconds)
        for one in calls:
            self.calls.append((one.key, one.effect.number))
            self.ids.append(one.id)
            self.at_once[one.key] -= 1
            if not self.silent(one):
                answers.append(EffectResult(one.effect, one.id, one.key, result="taken", retry=self.refuses(one)))
        return answers

    def of(self, key: str) -> list[int]:
        return [number for called, number in self.calls if called == key]


async def tell(answer: EffectResult[Push], tx: Tx) -> None:
    tx.put(TOLD, Told(f"{answer.key}-{answer.effect.number}", answer.effect.number, answer.result))


async def tell_late(push: Push, tx: Tx) -> None:
    tx.put(TOLD, Told(f"late-{push.number}", push.number, "late"))


def service_of(
    vendor: Vendor, *more: Any, done: Any = tell, deadline_seconds: float = 5.0, max_per_key: int = 1, **how: Any
) -> Service:
    times: dict[str, Any] = {"deadline_seconds": deadline_seconds, "batch": 50, "max_per_key": max_per_key}
    push = effect(Push, vendor.perform, done=done, expired=tell_late, **times, **how)
    return Service(name="notifier", router=APIRouter(), effects=(push, *more), collections=(TOLD,))


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


async def decide(harness: ServiceHarness, *pushes: tuple[str, int], not_after: datetime | None = None) -> None:
    async with harness.tx() as tx:
        for key, number in pushes:
            tx.schedule_effect(Call(Push(number=number), ids.derived_id(key, str(number)), key, not_after))


async def told(harness: ServiceHarness) -> dict[str, str]:
    rows = await harness.runtime.database[TOLD.name].find().to_list(None)
    return {row["_id"]: row["result"] for row in rows}


async def is_empty(harness: ServiceHarness) -> bool:
    return await harness.runtime.database[EFFECTS.name].count_documents({}) == 0


async def test_calls_of_a_key_are_made_one_at_a_time_and_in_order(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    keys = ["a", "b", "c"]
    vendor.takes_seconds = 0.002

    async with doing(EffectDispatcher(harness.runtime, service)):
        for number in range(20):
            await decide(harness, *((key, number) for key in keys))
        await eventually(lambda: is_empty(harness))

    assert [vendor.of(key) for key in keys] == [list(range(20))] * 3
    assert vendor.overlaps == 0
    assert len(await told(harness)) == 60


async def test_many_keys_are_one_call_of_the_vendor(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, *((f"key-{n}", n) for n in range(120)))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert vendor.batches == [50, 50, 20]


async def test_calls_in_a_row_of_one_key_come_together_and_in_order(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor, max_per_key=10)
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, *(("a", number) for number in range(25)), ("b", 1))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert (vendor.of("a"), vendor.of("b")) == (list(range(25)), [1])
    assert vendor.batches == [11, 10, 5]


async def test_of_calls_in_a_row_those_from_one_without_an_answer_on_are_made_again(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor, max_per_key=10)
    harness = await harness_of(service, clock=SystemClock())
    vendor.silent = lambda one: one.effect.number >= 3 and one.attempt == 1
    await decide(harness, *(("a", number) for number in range(6)))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert vendor.of("a") == [*range(6), *range(3, 6)]


async def test_a_call_without_an_answer_is_made_again_with_the_same_id_before_those_behind_it(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    vendor.silent = lambda one: one.key == "a" and one.effect.number == 1 and one.attempt < 3
    await decide(harness, ("a", 1), ("a", 2), ("b", 1))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert vendor.of("a") == [1, 1, 1, 2]
    assert vendor.of("b") == [1]
    assert vendor.ids.count(ids.derived_id("a", "1")) == 3


async def test_a_blocked_key_with_many_calls_behind_it_holds_up_nobody(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    vendor.refuses = lambda one: "busy" if one.key == "blocked" else None
    await decide(harness, *(("blocked", number) for number in range(1_200)))
    await decide(harness, ("free", 1))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: vendor.of("free") == [1], seconds=3)

    assert set(vendor.of("blocked")) == {0}


async def test_a_slow_vendor_holds_up_no_other_kind(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    release = asyncio.Event()

    async def wait(calls: Sequence[EffectRequest[Slow]], _outside: Outside) -> Sequence[EffectResult[Slow]]:
        await release.wait()
        return [EffectResult(one.effect, one.id, one.key) for one in calls]

    service = service_of(vendor, effect(Slow, wait, batch=1))
    harness = await harness_of(service, clock=SystemClock())
    async with harness.tx() as tx:
        for n in range(700):  # more than are read at once
            tx.schedule_effect(Call(Slow(), f"slow-{n}", f"slow-{n}"))
    await decide(harness, ("a", 1))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: vendor.of("a") == [1], seconds=3)
        release.set()


async def test_a_call_that_never_ends_shows_in_when_the_dispatcher_last_came_round(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    hanging = asyncio.Event()

    async def hang(_answer: EffectResult[Push], _tx: Tx) -> None:
        await hanging.wait()

    service = service_of(vendor, done=hang, deadline_seconds=0.1)
    harness = await harness_of(service, clock=SystemClock())
    dispatcher = EffectDispatcher(harness.runtime, service)
    async with doing(dispatcher):
        await decide(harness, ("a", 1))
        await eventually(lambda: vendor.calls)
        await eventually(lambda: SystemClock().monotonic() - dispatcher.round_at > POLL_SECONDS + 0.5)
        hanging.set()
        await eventually(lambda: is_empty(harness))
        await eventually(lambda: SystemClock().monotonic() - dispatcher.round_at < POLL_SECONDS)


async def test_a_vendors_silence_is_told_once_and_is_trouble_unless_it_is_one_keys_alone(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.effects.silence.SECONDS_MAX", 0.5)
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    vendor.refuses = lambda _one: "away"
    dispatcher = EffectDispatcher(harness.runtime, service)
    with capture_logs() as lines:
        async with doing(dispatcher):
            await decide(harness, ("a", 1))
            await eventually(lambda: len(vendor.calls) >= 3)
            assert dispatcher.trouble is None
            await decide(harness, *((f"key-{n}", 1) for n in range(30)))
            await eventually(lambda: dispatcher.trouble)
            await eventually(lambda: len(vendor.calls) >= 60)

            vendor.refuses = lambda _one: None
            await eventually(lambda: is_empty(harness))
            assert dispatcher.trouble is None

    told = [line["event"] for line in lines if line["event"].startswith("vendor") and line["log_level"] != "debug"]
    assert told == ["vendor does not answer", "vendor answers again"]


async def test_a_vendor_that_asks_for_patience_is_given_it(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    async def perform(calls: Sequence[EffectRequest[Push]], outside: Outside) -> Sequence[EffectResult[Push]]:
        answers = await vendor.perform(calls, outside)
        return [EffectResult(a.effect, a.id, a.key, retry="too many", retry_after_seconds=60) for a in answers]

    service = Service("notifier", APIRouter(), effects=(effect(Push, perform),), collections=(TOLD,))
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, ("a", 1))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: vendor.calls)
        effects = harness.runtime.database[EFFECTS.name]
        await eventually(lambda: effects.count_documents({"attempts": 1}))

    row = await effects.find_one({})
    assert row is not None
    assert row["reason"] == "too many"
    assert timedelta(seconds=55) < row["due"] - harness.now < timedelta(seconds=61)


async def test_a_vendor_that_does_not_answer_in_time_or_throws_is_called_again(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    tries: list[str] = []

    async def perform(calls: Sequence[EffectRequest[Push]], outside: Outside) -> Sequence[EffectResult[Push]]:
        tries.append(calls[0].id)
        if len(tries) == 1:
            await asyncio.sleep(60)
        if len(tries) == 2:
            raise ConnectionError("the vendor hung up")
        return await vendor.perform(calls, outside)

    service = Service("notifier", APIRouter(), effects=(effect(Push, perform, deadline_seconds=0.05),))
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, ("a", 1))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert tries == [ids.derived_id("a", "1")] * 3


async def test_a_call_whose_time_is_over_is_not_made_and_the_service_hears_of_it(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    vendor.refuses = lambda one: "busy" if one.effect.number < 3 else None
    soon = harness.now + timedelta(milliseconds=300)
    await decide(harness, ("a", 1), ("a", 2), not_after=soon)
    await decide(harness, ("a", 3))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert set(vendor.of("a")) == {1, 3}
    assert vendor.of("a")[-1] == 3
    assert await told(harness) == {"late-1": "late", "late-2": "late", "a-3": "taken"}


async def test_a_handler_that_fails_leaves_the_call_to_be_made_again_and_the_others_recorded(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    failures = [1, 2]

    async def fail_first(answer: EffectResult[Push], tx: Tx) -> None:
        await tell(answer, tx)
        if answer.key == "a" and failures:
            failures.pop()
            raise ValueError("a bug")

    service = service_of(vendor, done=fail_first)
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, ("a", 1), ("b", 1), ("a", 2))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert vendor.of("a") == [1, 1, 1, 2]
    assert vendor.of("b") == [1]
    assert await told(harness) == {"a-1": "taken", "a-2": "taken", "b-1": "taken"}


async def test_in_a_row_what_is_behind_a_call_whose_handler_fails_is_made_again_too(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    failures = [1]

    async def fail_second(answer: EffectResult[Push], tx: Tx) -> None:
        await tell(answer, tx)
        if answer.effect.number == 2 and failures:
            failures.pop()
            raise ValueError("a bug")

    service = service_of(vendor, done=fail_second, max_per_key=5)
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, ("a", 1), ("a", 2), ("a", 3), ("b", 1))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert vendor.of("a") == [1, 2, 3, 2, 3]
    assert vendor.of("b") == [1]


async def test_a_death_between_answer_and_record_repeats_the_call_with_the_same_id(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, ("a", 1), ("a", 2))
    plan_faults('{"effects.after_vendor": {"action": "raise", "of": "push"}}')
    try:
        with pytest.raises(ExceptionGroup) as crash:
            await EffectDispatcher(harness.runtime, service).run()
    finally:
        plan_faults(None)
    assert crash.group_contains(FaultError)

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert vendor.of("a") == [1, 1, 2]
    assert vendor.ids[0] == vendor.ids[1]
    assert len(await told(harness)) == 2


async def test_two_leaders_at_once_may_repeat_a_call_but_record_it_once(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    async def count(answer: EffectResult[Push], tx: Tx) -> None:
        before = await tx.get(TOLD, answer.id)
        tx.put(TOLD, Told(answer.id, answer.effect.number, "once" if before is None else "twice"))

    service = service_of(vendor, done=count)
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, *(("a" if n % 2 else "b", n) for n in range(20)))

    async with doing(EffectDispatcher(harness.runtime, service), EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))

    assert set((await told(harness)).values()) == {"once"}


@pytest.mark.parametrize("every_answer", [False, True])
async def test_a_call_decided_anew_while_it_is_made_is_made_anew(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any, *, every_answer: bool
) -> None:
    service = service_of(vendor, every_answer=every_answer)
    harness = await harness_of(service, clock=SystemClock())
    vendor.takes_seconds = 0.2
    await decide(harness, ("a", 1))

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: vendor.batches)
        async with harness.tx() as tx:
            tx.schedule_effect(Call(Push(number=2), ids.derived_id("a", "1"), "a"))
        await eventually(lambda: is_empty(harness))

    assert vendor.of("a") == [1, 2]
    assert await told(harness) == {"a-2": "taken"} | ({"a-1": "taken"} if every_answer else {})


async def test_a_lonely_call_does_not_wait_for_the_next_poll(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    waits = []

    async with doing(EffectDispatcher(harness.runtime, service)):
        for n in range(10):
            await decide(harness, ("a", n))
            start = asyncio.get_running_loop().time()
            await eventually(lambda n=n: len(vendor.calls) > n)
            waits.append(asyncio.get_running_loop().time() - start)

    assert sorted(waits)[5] < POLL_SECONDS / 2


async def test_a_call_that_this_release_does_not_know_waits_with_its_key_for_one_that_does(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, ("a", 1), ("b", 1), ("a", 2))
    effects = harness.runtime.database[EFFECTS.name]
    await effects.update_one({"_id": ids.derived_id("a", "1")}, {"$set": {"name": "ring"}})
    before = await effects.find({"key": "a"}).to_list(None)

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: told(harness))
        await eventually(lambda: REGISTRY.get_sample_value("effects_unknown_keys") == 1)

    assert await effects.find().to_list(None) == before
    await effects.update_many({}, {"$set": {"name": Push.NAME}})  # as the next release knows it
    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: is_empty(harness))
    assert vendor.calls == [("b", 1), ("a", 1), ("a", 2)]


async def test_who_has_lost_the_lease_makes_no_call_that_it_has_read(
    harness_of: HarnessOf, vendor: Vendor, doing: Any, eventually: Any
) -> None:
    """As after a freeze: the first to learn of it is not the one that takes the next call from memory."""
    leads = True
    vendor.takes_seconds = 0.1

    def lose(_call: EffectRequest[Push]) -> None:
        nonlocal leads
        leads = False

    vendor.refuses = lose
    service = service_of(vendor)
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, *(("a", number) for number in range(5)))

    async with doing(EffectDispatcher(harness.runtime, service, lambda: leads)):
        await eventually(lambda: told(harness))

    assert vendor.of("a") == [0]
