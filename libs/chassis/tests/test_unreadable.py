"""A document that cannot be read fails one message, timer, event to publish or vendor call; everything else goes on."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import pytest
from fastapi import APIRouter

from chassis import ids
from chassis.clock import SystemClock
from chassis.context import Outside
from chassis.decision import At, Call, Effect, Timer
from chassis.effects import executor
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis.kafka.decoding import Partition
from chassis.kafka.inbox import INBOX
from chassis.kafka.parking import PARKED, PARKED_KEYS
from chassis.kafka.positions import POSITIONS
from chassis.kafka.processor import BatchProcessor
from chassis.runtime import parked_work
from chassis.service import EffectRequest, EffectResult, On, Service, effect, on, when
from chassis.storage.collection import Collection, Ref, UnreadableError
from chassis.storage.retry_policy import UNREADABLE_PATIENCE
from chassis.storage.tx import Tx
from chassis.timers import dispatcher as timers
from chassis.timers.dispatcher import TimerDispatcher
from chassis.timers.model import TIMERS
from chassis_testing.service import KafkaRecord, ServiceHarness
from contracts import ViewerBlockedV1

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

PARTITION = Partition("sessions", 0)
GOOD, BAD = ids.new_id(), ids.new_id()


@dataclass(frozen=True)
class Jar:
    """The next release knows one state more."""

    id: str
    state: Literal["open", "shut"] = "open"


JARS = Collection("jars", Jar)


class Shake(Timer, name="shake"):
    jar: str


class Push(Effect, name="push"):
    number: int


async def shut(jar_id: str, tx: Tx) -> None:
    jar = await tx.get(JARS, jar_id) or Jar(jar_id)
    tx.put(JARS, replace(jar, state="shut"))


async def shut_blocked(event: ViewerBlockedV1, tx: Tx) -> None:
    await shut(event.viewer_id, tx)


async def shut_shaken(timer: Shake, tx: Tx) -> None:
    await shut(timer.jar, tx)


def its_jar(event: ViewerBlockedV1) -> Iterable[Ref]:
    return [JARS.ref(event.viewer_id)]


def a_bug(event: ViewerBlockedV1) -> Iterable[Ref]:
    yield JARS.ref(event.viewer_id)
    if event.viewer_id == BAD:
        raise KeyError("a bug")


def service_of(*rows: On, timers: tuple[On, ...] = (), effects: tuple[Any, ...] = ()) -> Service:
    return Service("goals", APIRouter(), handlers=rows, timers=timers, effects=effects, collections=(JARS,))


NEEDING = service_of(on(ViewerBlockedV1, shut_blocked, needs=its_jar))
LOADING = service_of(on(ViewerBlockedV1, shut_blocked))
BROKEN = service_of(on(ViewerBlockedV1, shut_blocked, needs=a_bug))
TIMED = service_of(timers=(when(Shake, shut_shaken, needs=lambda timer: [JARS.ref(timer.jar)]),))
TIMED_BADLY = service_of(timers=(when(Shake, shut_shaken, needs=lambda timer: a_bug(_about(timer.jar))),))


def _about(viewer_id: str) -> ViewerBlockedV1:
    return ViewerBlockedV1(streamer_id=ids.new_id(), viewer_id=viewer_id)


def records(*jars: str, first: int = 0) -> list[KafkaRecord]:
    return [KafkaRecord.of_event(offset, _about(jar)) for offset, jar in enumerate(jars, first)]


async def spoil(harness: ServiceHarness, *jars: str) -> None:
    """As the next release leaves them."""
    await harness.runtime.database["jars"].insert_many([{"_id": jar, "state": "sealed", "_stamp": 1} for jar in jars])


async def states(harness: ServiceHarness) -> dict[str, str]:
    return {row["_id"]: row["state"] for row in await harness.runtime.database["jars"].find().to_list(None)}


async def worker_of(harness: ServiceHarness) -> BatchProcessor:
    processor = BatchProcessor(harness.service, harness.runtime, ids.new_id())
    processor.ownership.owned = {one.partition.id: one for one in await processor.ownership.claim([PARTITION])}
    return processor


@pytest.mark.parametrize("service", [NEEDING, LOADING, BROKEN], ids=["needs", "get", "needs that raise"])
async def test_an_event_is_parked_with_its_reason_and_the_others_of_its_batch_take_effect(
    harness_of: HarnessOf, service: Service
) -> None:
    harness = await harness_of(service)
    await spoil(harness, BAD)
    worker = await worker_of(harness)

    await worker.process({PARTITION: records(GOOD, BAD, GOOD)})

    assert await states(harness) == {GOOD: "shut", BAD: "sealed"}
    [key] = [one async for one in parked_work.MESSAGES.list(harness.runtime)]
    reason = (
        "KeyError: 'a bug'" if service is BROKEN else f"UnreadableError: {BAD} of jars cannot be read: state: Input"
    )
    assert key["reason"].startswith(reason)
    assert "sealed" not in key["reason"]
    assert (key["state"], key["attempts"]) == ("retrying", 1)


async def test_an_event_follows_by_itself_when_a_release_comes_that_can_read_and_calls_for_help_when_none_does(
    harness_of: HarnessOf,
) -> None:
    harness = await harness_of(NEEDING)
    await spoil(harness, BAD, GOOD)
    worker = await worker_of(harness)
    await worker.process({PARTITION: records(BAD, GOOD)})
    for _ in range(20):
        harness.clock.advance(31)
        await worker.retry()

    assert {key["state"] async for key in parked_work.MESSAGES.list(harness.runtime)} == {"retrying"}
    await harness.runtime.database["jars"].update_one({"_id": GOOD}, {"$set": {"state": "open"}})
    for _ in range(11):
        harness.clock.advance(31)
        await worker.retry()

    assert (await states(harness))[GOOD] == "shut"
    [key] = [one async for one in parked_work.MESSAGES.list(harness.runtime)]
    assert key["state"] == "parked"
    assert UNREADABLE_PATIENCE.total_seconds() < 31 * 31


async def test_a_parked_message_or_key_that_cannot_be_read_holds_up_its_key_alone(harness_of: HarnessOf) -> None:
    harness = await harness_of(LOADING)
    await spoil(harness, *(jars := [ids.new_id() for _ in range(3)]))
    worker = await worker_of(harness)
    await worker.process({PARTITION: records(*jars)})
    await harness.runtime.database["jars"].update_many({}, {"$set": {"state": "open"}})
    await harness.runtime.database[PARKED.name].update_one({"offset": 0}, {"$set": {"topic": 1}})
    await harness.runtime.database[PARKED_KEYS.name].update_one(
        {"head": "sessions:0:1"}, {"$set": {"attempts": "many"}}
    )

    harness.clock.advance(31)
    await worker.retry()
    await worker.process({PARTITION: records(GOOD, first=3)})

    assert await states(harness) == {jars[0]: "open", jars[1]: "open", jars[2]: "shut", GOOD: "shut"}
    kept = {key["head"]: key async for key in parked_work.MESSAGES.list(harness.runtime)}
    assert kept.keys() == {"sessions:0:0", "sessions:0:1"}
    assert [key["state"] for key in kept.values()] == ["parked", "parked"]
    assert "UnreadableError: sessions:0:0 of parked" in kept["sessions:0:0"]["reason"]
    assert "of parked_keys cannot be read: attempts: Input" in kept["sessions:0:1"]["reason"]

    await harness.runtime.database[PARKED.name].update_one({"offset": 0}, {"$set": {"topic": "sessions"}})
    assert await parked_work.MESSAGES.replay(harness.runtime.database, harness.clock) == 2
    await worker.retry()
    assert set((await states(harness)).values()) == {"shut"}


async def test_a_partition_whose_position_cannot_be_read_is_left_alone_until_it_can(harness_of: HarnessOf) -> None:
    harness = await harness_of(LOADING)
    worker = await worker_of(harness)
    await harness.runtime.database[POSITIONS.name].update_one({}, {"$set": {"offset": "far"}})

    await worker.ownership.checkpoint()
    other = Partition("sessions", 1)
    claimed = await worker.ownership.claim([PARTITION, other])

    assert [one.partition for one in worker.ownership.lost] == [PARTITION]
    assert [one.partition for one in claimed] == [other]
    await harness.runtime.database[POSITIONS.name].update_one({"_id": PARTITION.id}, {"$set": {"offset": 7}})
    assert [one.next for one in await worker.ownership.claim([PARTITION])] == [7]


async def test_a_row_of_the_inbox_that_cannot_be_read_says_what_it_says(harness_of: HarnessOf) -> None:
    harness = await harness_of(LOADING)
    [record] = records(GOOD)
    await (await worker_of(harness)).process({PARTITION: [record]})
    await harness.runtime.database[INBOX.name].update_one({}, {"$set": {"at": "then"}})
    await harness.runtime.database["jars"].delete_many({})

    await (await worker_of(harness)).process({PARTITION: [replace(record, offset=1)]})

    assert await states(harness) == {}


async def shake(harness: ServiceHarness, *jars: str) -> None:
    async with harness.tx() as tx:
        for jar in jars:
            tx.set_timer(At(Shake(jar=jar), jar, tx.now, "key"))


@pytest.mark.parametrize("service", [TIMED, TIMED_BADLY], ids=["a document", "needs that raise"])
async def test_a_timer_is_put_off_with_its_reason_and_the_others_ring(
    harness_of: HarnessOf, doing: Any, eventually: Any, service: Service
) -> None:
    harness = await harness_of(service, clock=SystemClock())
    if service is TIMED:
        await spoil(harness, BAD)
    await shake(harness, BAD, GOOD)
    stored = harness.runtime.database[TIMERS.name]

    async with doing(TimerDispatcher(harness.runtime, service)):
        await eventually(lambda: stored.count_documents({"attempts": {"$gt": 1}}))

    assert (await states(harness))[GOOD] == "shut"
    [bad] = await stored.find().to_list(None)
    assert bad["reason"].startswith("UnreadableError: " if service is TIMED else "KeyError: ")


async def test_a_timer_waits_for_a_release_that_can_read_as_long_as_one_takes_to_roll_out(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(TIMED, clock=SystemClock())
    await spoil(harness, BAD, GOOD)
    await shake(harness, BAD, GOOD)
    stored = harness.runtime.database[TIMERS.name]
    await stored.update_many({}, {"$set": {"attempts": timers.RETRIES.attempts_max}})
    old = harness.now - UNREADABLE_PATIENCE - timedelta(seconds=1)
    await stored.update_one({"_id": BAD}, {"$set": {"set_for": old}})

    async with doing(TimerDispatcher(harness.runtime, TIMED)):
        await eventually(
            lambda: stored.count_documents({"attempts": {"$gt": timers.RETRIES.attempts_max}, "_id": GOOD})
        )
        await eventually(lambda: stored.count_documents({"parked": True}))

    assert [one["_id"] async for one in parked_work.TIMERS.list(harness.runtime)] == [BAD]


async def test_a_timer_that_is_itself_unreadable_is_parked_and_the_others_ring(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    harness = await harness_of(TIMED, clock=SystemClock())
    await shake(harness, BAD, GOOD)
    stored = harness.runtime.database[TIMERS.name]
    await stored.update_one({"_id": BAD}, {"$set": {"attempts": "many"}})

    async with doing(TimerDispatcher(harness.runtime, TIMED)):
        await eventually(lambda: stored.count_documents({"parked": True}))
        await eventually(lambda: states(harness))

        [parked] = [one async for one in parked_work.TIMERS.list(harness.runtime)]
        assert parked["reason"].startswith(f"UnreadableError: {BAD} of timers cannot be read: attempts: Input")
        await stored.update_one({"_id": BAD}, {"$set": {"attempts": 0}})
        assert await parked_work.TIMERS.replay(harness.runtime.database, harness.runtime.clock) == 1
        await eventually(lambda: _is_empty(harness, TIMERS.name))

    assert await states(harness) == {GOOD: "shut", BAD: "shut"}


class Vendor:
    """Remembers who called."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    async def perform(self, calls: Sequence[EffectRequest[Push]], _outside: Outside) -> Sequence[EffectResult[Push]]:
        self.numbers += [one.effect.number for one in calls]
        return [EffectResult(one.effect, one.id, one.key, result="taken") for one in calls]


async def decide(harness: ServiceHarness, *pushes: tuple[str, int]) -> None:
    async with harness.tx() as tx:
        for key, number in pushes:
            tx.schedule_effect(Call(Push(number=number), f"{key}-{number}", key))


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"data": {"number": "seven"}}, "UnreadableError: a-1 of effects cannot be read: number: Input"),
        ({"due": "soon"}, "UnreadableError: a-1 of effects cannot be read: due: Input"),
    ],
    ids=["what is called", "its row"],
)
async def test_a_vendor_call_that_cannot_be_read_is_parked_with_its_key_and_the_others_are_made(
    harness_of: HarnessOf, doing: Any, eventually: Any, spoilt: dict[str, Any], reason: str
) -> None:
    vendor = Vendor()
    service = service_of(effects=(effect(Push, vendor.perform),))
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, ("a", 1), ("b", 1), ("a", 2), ("c", 1))
    stored = harness.runtime.database[EFFECTS.name]
    old = harness.now - UNREADABLE_PATIENCE - timedelta(seconds=1)
    last = {"failures": executor.RETRIES.attempts_max - 1, "cause.at": old}
    await stored.update_one({"_id": "a-1"}, {"$set": last | spoilt})

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: stored.count_documents({"parked": True}))
        await eventually(lambda: _has(harness, EFFECTS.name, 2))

        [parked] = [one async for one in parked_work.EFFECTS.list(harness.runtime)]
        assert (parked["_id"], parked["key"]) == ("a-1", "a")
        assert parked["reason"].startswith(reason)
        await stored.update_one({"_id": "a-1"}, {"$set": {"data": {"number": 1}, "due": harness.now}})
        assert await parked_work.EFFECTS.replay(harness.runtime.database, harness.runtime.clock, "a") == 1
        await eventually(lambda: _is_empty(harness, EFFECTS.name))

    assert sorted(vendor.numbers) == [1, 1, 1, 2]


async def test_in_a_row_nothing_overtakes_a_vendor_call_that_cannot_be_read(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    vendor = Vendor()
    service = service_of(effects=(effect(Push, vendor.perform, max_per_key=5),))
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, ("a", 1), ("a", 2), ("a", 3), ("b", 9))
    stored = harness.runtime.database[EFFECTS.name]
    await stored.update_one({"_id": "a-2"}, {"$set": {"data": {"number": "two"}}})

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: stored.count_documents({"failures": {"$gt": 1}}))
        assert sorted(vendor.numbers) == [1, 9]
        await stored.update_one({"_id": "a-2"}, {"$set": {"data": {"number": 2}}})
        await eventually(lambda: _is_empty(harness, EFFECTS.name))

    assert [number for number in vendor.numbers if number < 9] == [1, 2, 3]


async def test_a_vendor_is_not_called_for_ever_for_a_handler_that_cannot_read(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    vendor = Vendor()

    async def done(answer: EffectResult[Push], tx: Tx) -> None:
        await shut(answer.key, tx)

    service = service_of(effects=(effect(Push, vendor.perform, done=done),))
    harness = await harness_of(service, clock=SystemClock())
    await spoil(harness, BAD)
    await decide(harness, (BAD, 1), (GOOD, 2))
    stored = harness.runtime.database[EFFECTS.name]
    await stored.update_one({"key": BAD}, {"$set": {"failures": executor.RETRIES.attempts_max - 2}})

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: stored.count_documents({"parked": True}))
        await eventually(lambda: _has(harness, EFFECTS.name, 1))
        await decide(harness, (BAD, 3), (GOOD, 4))  # what is behind it waits
        await eventually(lambda: _has(harness, EFFECTS.name, 2))

    assert vendor.numbers.count(1) == 2
    assert 3 not in vendor.numbers
    [parked] = [one async for one in parked_work.EFFECTS.list(harness.runtime)]
    assert parked["reason"].startswith("UnreadableError: ")


async def test_a_vendor_that_refuses_is_asked_for_as_long_as_it_takes(
    harness_of: HarnessOf, doing: Any, eventually: Any
) -> None:
    async def refuse(calls: Sequence[EffectRequest[Push]], _outside: Outside) -> Sequence[EffectResult[Push]]:
        return [EffectResult(one.effect, one.id, one.key, retry="busy") for one in calls]

    service = service_of(effects=(effect(Push, refuse),))
    harness = await harness_of(service, clock=SystemClock())
    await decide(harness, ("a", 1))
    stored = harness.runtime.database[EFFECTS.name]
    await stored.update_one({}, {"$set": {"attempts": 50}})

    async with doing(EffectDispatcher(harness.runtime, service)):
        await eventually(lambda: stored.count_documents({"attempts": 51}))

    assert await stored.count_documents({"parked": True}) == 0


async def test_a_command_that_finds_what_cannot_be_read_fails_alone(harness_of: HarnessOf) -> None:
    harness = await harness_of(LOADING)
    await spoil(harness, BAD)

    async with harness.tx() as tx:
        assert (await tx.split(JARS, [BAD, GOOD]))[1].keys() == {BAD}
        with pytest.raises(UnreadableError):
            await tx.get_many(JARS, [BAD, GOOD])
        with pytest.raises(UnreadableError):
            await tx.find(JARS, {})
        unreadable: dict[str, UnreadableError] = {}
        assert await tx.find(JARS, {}, unreadable=unreadable) == []
        assert unreadable.keys() == {BAD}
        tx.delete(JARS, BAD)

    assert await states(harness) == {}


async def test_what_cannot_be_read_is_put_back_when_what_was_saved_over_it_is_rolled_back(
    harness_of: HarnessOf,
) -> None:
    harness = await harness_of(LOADING)
    await spoil(harness, BAD)

    async with harness.tx() as tx:
        await tx.prefetch([JARS.ref(BAD)])
        before = tx.savepoint()
        tx.put(JARS, Jar(BAD))
        assert await tx.find(JARS, {}) == [Jar(BAD)]
        tx.rollback(before)
        with pytest.raises(UnreadableError):
            await tx.get(JARS, BAD)
        tx.put(JARS, Jar(GOOD))

    assert await states(harness) == {BAD: "sealed", GOOD: "open"}


async def _is_empty(harness: ServiceHarness, name: str) -> bool:
    return await _has(harness, name, 0)


async def _has(harness: ServiceHarness, name: str, count: int) -> bool:
    return await harness.runtime.database[name].count_documents({}) == count
