"""What waits for an operator: shown, tried again with its outcome, or given up with a reason that stays."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import APIRouter

from chassis import ids
from chassis.clock import SystemClock
from chassis.context import Outside
from chassis.decision import At, Call, Effect, Timer
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis.kafka.decoding import Partition
from chassis.kafka.parking import PARKED, PARKED_KEYS
from chassis.kafka.processor import BatchProcessor
from chassis.outbox.model import OUTBOX
from chassis.outbox.relay import OUTBOX_PARKED, ParkedKey
from chassis.runtime import parked_work
from chassis.runtime.parked_work import DISCARDED
from chassis.service import EffectRequest, EffectResult, Service, effect, on, when
from chassis.storage.batch import AbortedError
from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from chassis.timers.dispatcher import TimerDispatcher
from chassis.timers.model import TIMERS
from chassis_testing.service import KafkaRecord, ServiceHarness
from contracts import ViewerBlockedV1

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
PARTITION = Partition("sessions", 0)


@dataclass(frozen=True)
class Bell:
    id: str


BELLS = Collection("bells", Bell)


class Ring(Timer, name="ring"):
    bell: str


class Push(Effect, name="push"):
    number: int


async def ring(timer: Ring, tx: Tx) -> None:
    if timer.bell == "cracked":
        raise AbortedError("the bell is cracked")  # which nothing can mend
    tx.put(BELLS, Bell(timer.bell))


async def ring_for(event: ViewerBlockedV1, tx: Tx) -> None:
    if await tx.get(BELLS, "quiet"):
        raise ValueError("be quiet")
    tx.put(BELLS, Bell(event.viewer_id))


async def perform(calls: Sequence[EffectRequest[Push]], _outside: Outside) -> Sequence[EffectResult[Push]]:
    return [EffectResult(one.effect, one.id, one.key) for one in calls]


SERVICE = Service(
    "goals",
    APIRouter(),
    handlers=(on(ViewerBlockedV1, ring_for),),
    timers=(when(Ring, ring),),
    effects=(effect(Push, perform),),
    collections=(BELLS,),
)


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE, clock=SystemClock())


async def worker_of(harness: ServiceHarness) -> BatchProcessor:
    worker = BatchProcessor(harness.service, harness.runtime, ids.new_id())
    worker.ownership.owned = {one.partition.id: one for one in await worker.ownership.claim([PARTITION])}
    return worker


async def park_messages(harness: ServiceHarness, worker: BatchProcessor, count: int) -> list[str]:
    """Messages of one key, of which the first is parked; returns whom they are about."""
    streamer, viewers = ids.new_id(), [ids.new_id() for _ in range(count)]
    async with harness.tx() as tx:
        tx.put(BELLS, Bell("quiet"))
    records = []
    for offset, viewer in enumerate(viewers):
        event = ViewerBlockedV1(streamer_id=streamer, viewer_id=viewer)
        records.append(KafkaRecord.of_event(offset, event))
    await worker.process({PARTITION: records})
    await harness.runtime.database[PARKED_KEYS.name].update_one({}, {"$set": {"state": "parked"}})
    async with harness.tx() as tx:
        tx.delete(BELLS, "quiet")
    return viewers


async def park_timer(harness: ServiceHarness, bell: str) -> None:
    async with harness.tx() as tx:
        tx.set_timer(At(Ring(bell=bell), bell, tx.now, "key"))
    await harness.runtime.database[TIMERS.name].update_one({"_id": bell}, {"$set": {"parked": True, "reason": "why"}})


async def park_call(harness: ServiceHarness) -> None:
    async with harness.tx() as tx:
        tx.schedule_effect(Call(Push(number=1), "call", "key"))
    await harness.runtime.database[EFFECTS.name].update_one({}, {"$set": {"parked": True, "reason": "why"}})


async def park_event(harness: ServiceHarness) -> str:
    async with harness.tx() as tx:
        tx.publish_raw("goals", "key", b'{"a":1}', {"ce_type": b"goal.ended.v1"})
        parked = ParkedKey("goals:key", "goals", "key", "", "too large", tx.now)
    row = await harness.runtime.database[OUTBOX.name].find_one({})
    assert row is not None
    raw = OUTBOX_PARKED.to_raw(parked, 1) | {"row_id": row["_id"]}
    await harness.runtime.database[OUTBOX_PARKED.name].insert_one(raw)
    return str(row["_id"])


async def bells(harness: ServiceHarness) -> set[str]:
    return {row["_id"] for row in await harness.runtime.database["bells"].find().to_list(None)}


async def discarded(harness: ServiceHarness) -> list[tuple[str, str, Any]]:
    rows = await harness.runtime.database[DISCARDED.name].find().to_list(None)
    return [(row["kind"], row["reason"], row["work"]["_id"]) for row in rows]


async def test_a_message_is_shown_with_its_headers_and_body(harness: ServiceHarness) -> None:
    [viewer] = await park_messages(harness, await worker_of(harness), 1)
    [line] = [one async for one in parked_work.list_all(harness.runtime)]

    shown = await parked_work.KINDS[line["waits"]].show(harness.runtime.database, line["head"])

    assert shown is not None
    assert shown["value"]["viewer_id"] == viewer
    assert ["ce_type", "viewer.blocked.v1"] in shown["headers"]
    assert await parked_work.MESSAGES.show(harness.runtime.database, "another") is None


async def test_however_many_there_are_they_are_read_some_at_a_time_the_oldest_first(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.runtime.parked_work.LIST_BATCH", 2)
    streamers = [ids.new_id() for _ in range(5)]
    keys = [key for number, key in enumerate(streamers) for _ in range(number + 1)]
    events = [ViewerBlockedV1(streamer_id=key, viewer_id=ids.new_id()) for key in keys]
    for number in range(5):
        await park_timer(harness, f"bell {number}")
    async with harness.tx() as tx:
        tx.put(BELLS, Bell("quiet"))
    await (await worker_of(harness)).process(
        {PARTITION: [KafkaRecord.of_event(offset, event) for offset, event in enumerate(events)]}
    )

    listed = [line async for line in parked_work.list_all(harness.runtime)]

    waiting = {line["key"]: line["waiting"] for line in listed if line["waits"] == "messages"}
    assert waiting == {key: number for number, key in enumerate(streamers)}
    assert [line["_id"] for line in listed if line["waits"] == "timers"] == [f"bell {number}" for number in range(5)]


async def test_of_very_many_that_are_tried_again_some_are_told_and_the_others_counted(
    harness: ServiceHarness, monkeypatch: pytest.MonkeyPatch, doing: Any
) -> None:
    monkeypatch.setattr("chassis.runtime.parked_work.OUTCOMES_MAX", 2)
    for number in range(5):
        await park_timer(harness, f"bell {number}")

    async with doing(TimerDispatcher(harness.runtime, SERVICE)):
        *told, more = await parked_work.replay_all(harness.runtime.database, harness.runtime.clock)

    assert [line["outcome"] for line in told] == ["done", "done"]
    assert more == {"tried": "timers", "more": 3}


async def test_what_is_tried_again_says_what_has_become_of_it(harness: ServiceHarness, doing: Any) -> None:
    await park_timer(harness, "good")
    await park_timer(harness, "cracked")
    await park_call(harness)
    row_id = await park_event(harness)

    async with doing(TimerDispatcher(harness.runtime, SERVICE), EffectDispatcher(harness.runtime, SERVICE)):
        outcomes = await parked_work.replay_all(harness.runtime.database, harness.runtime.clock, seconds=7)

    by_id = {(outcome["tried"], outcome["id"]): outcome["outcome"] for outcome in outcomes}
    assert by_id == {
        ("timers", "good"): "done",
        ("timers", "cracked"): "parked",
        ("effects", "call"): "done",
        ("outbox", row_id): "waits",  # nobody publishes here
    }
    assert [outcome["reason"] for outcome in outcomes if "reason" in outcome] == ["AbortedError: the bell is cracked"]


async def test_a_message_that_is_given_up_is_kept_and_those_behind_it_follow(harness: ServiceHarness) -> None:
    worker = await worker_of(harness)
    first, second, third = await park_messages(harness, worker, 3)
    [line] = [one async for one in parked_work.MESSAGES.list(harness.runtime)]

    assert await parked_work.MESSAGES.discard(harness.runtime, line["head"], "sent again by hand")
    await worker.retry()

    assert await bells(harness) == {second, third}
    assert await discarded(harness) == [("messages", "sent again by hand", "sessions:0:0")]
    assert await harness.runtime.database[PARKED.name].count_documents({}) == 0
    assert [one async for one in parked_work.MESSAGES.list(harness.runtime)] == []
    [kept] = await harness.runtime.database[DISCARDED.name].find().to_list(None)
    assert first.encode() in kept["work"]["value"]


async def test_timers_calls_and_events_are_given_up_and_kept(harness: ServiceHarness) -> None:
    await park_timer(harness, "cracked")
    await park_call(harness)
    row_id = await park_event(harness)

    assert await parked_work.TIMERS.discard(harness.runtime, "cracked", "mended by hand")
    assert await parked_work.EFFECTS.discard(harness.runtime, "call", "told by phone")
    assert await parked_work.OUTBOX.discard(harness.runtime, row_id, "nobody needs it")

    assert await discarded(harness) == [
        ("timers", "mended by hand", "cracked"),
        ("effects", "told by phone", "call"),
        ("outbox", "nobody needs it", row_id),
    ]
    left = [await harness.runtime.database[name].count_documents({}) for name in ("timers", "effects", "outbox")]
    assert left == [0, 0, 0]
    assert [one async for one in parked_work.list_all(harness.runtime)] == []


async def test_only_what_is_parked_can_be_given_up(harness: ServiceHarness) -> None:
    async with harness.tx() as tx:
        tx.set_timer(At(Ring(bell="good"), "good", tx.now, "key"))

    assert not await parked_work.TIMERS.discard(harness.runtime, "good", "no reason")
    assert not await parked_work.MESSAGES.discard(harness.runtime, "sessions:0:7", "no reason")

    assert await harness.runtime.database[TIMERS.name].count_documents({}) == 1
    assert await discarded(harness) == []
