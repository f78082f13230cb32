"""The consumer on a real Kafka and MongoDB: once each, in order, whatever happens to the workers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.partitioner import murmur2
from fastapi import APIRouter
from prometheus_client import REGISTRY

from chassis import ids
from chassis.collection import Collection
from chassis.consumer import StuckError
from chassis.errors import Conflict
from chassis.mongo import Mongo
from chassis.received import Listens, Partition, Received
from chassis.service import Service, on
from chassis.tx import Tx
from chassis.wired import Wired, wired
from contracts import ViewerBlockedV1, ViewerUnblockedV1

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Tally:
    """What was heard of one streamer, in order."""

    id: str
    heard: tuple[str, ...] = ()


TALLIES = Collection("tallies", Tally)


class Uncountable(Conflict, slug="uncountable"):
    """This viewer cannot be counted."""


@dataclass
class Counting:
    """The handlers under test: count viewers per streamer, refuse some, be slow."""

    refused: set[str] = field(default_factory=set)
    refuses_all: bool = False
    seconds: float = 0.0
    slow: str | None = None
    """The only streamer who takes so long, if not all do."""
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def count(self, event: ViewerBlockedV1, tx: Tx) -> None:
        self.entered.set()
        tally = await tx.get(TALLIES, event.streamer_id) or Tally(event.streamer_id)
        tx.put(TALLIES, replace(tally, heard=(*tally.heard, event.viewer_id)))
        if self.seconds and self.slow in (None, event.streamer_id):
            await asyncio.sleep(self.seconds)
        if self.refuses_all or event.viewer_id in self.refused:
            raise Uncountable

    def service(self) -> Service:
        rows = (on(ViewerBlockedV1, self.count, needs=lambda event: [TALLIES.ref(event.streamer_id)]),)
        return Service(name="tests", router=APIRouter(), handlers=rows, collections=(TALLIES,))


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
async def rig(mongo: Mongo, servers: Any, namespace: str, counting: Counting) -> AsyncIterator[Wired]:
    async with wired(
        counting.service(), mongo, servers.kafka_bootstrap, namespace, kafka_session_timeout_seconds=6
    ) as rig:
        yield rig


def blocks(streamers: int, each: int) -> list[ViewerBlockedV1]:
    """Events of several streamers, taking turns."""
    keys = [ids.new_id() for _ in range(streamers)]
    return [ViewerBlockedV1(streamer_id=key, viewer_id=ids.new_id()) for _ in range(each) for key in keys]


def in_order(events: Iterable[ViewerBlockedV1]) -> dict[str, list[str]]:
    """What should have been heard of `events`."""
    heard: dict[str, list[str]] = {}
    for event in events:
        heard.setdefault(event.streamer_id, []).append(event.viewer_id)
    return heard


async def heard(rig: Wired) -> dict[str, list[str]]:
    return {row["_id"]: row["heard"] for row in await rig.documents(TALLIES.name)}


async def has_heard(rig: Wired, count: int) -> bool:
    return sum(len(of_one) for of_one in (await heard(rig)).values()) >= count


async def is_done(rig: Wired, count: int) -> bool:
    """Whether the stored positions have come to `count` records."""
    offsets: list[int] = [row["offset"] for row in await rig.documents("positions")]
    return sum(offsets) >= count


async def test_every_event_takes_effect_once_and_those_of_one_key_in_order(
    rig: Wired, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=20, each=50)
    await rig.publish(*events)

    async with doing(rig.consumer()):
        await eventually(lambda: has_heard(rig, 1_000), seconds=30)

    assert await heard(rig) == in_order(events)


async def test_an_event_delivered_five_times_takes_effect_once(
    rig: Wired, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=5, each=20)
    await rig.publish(*events, times=5)

    async with doing(rig.consumer()):
        await eventually(lambda: is_done(rig, 500), seconds=30)
        await rig.publish(*events[:1])
        await eventually(lambda: is_done(rig, 501), seconds=30)

    expected = in_order(events)
    expected[events[0].streamer_id].append(events[0].viewer_id)  # under a new id it is another event
    assert await heard(rig) == expected


async def test_a_topic_replayed_from_the_beginning_changes_nothing(
    rig: Wired, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=5, each=20)
    await rig.publish(*events)
    async with doing(rig.consumer()):
        await eventually(lambda: has_heard(rig, 100), seconds=30)
        await rig.database["positions"].delete_many({})  # while it runs
        await rig.publish(*blocks(streamers=20, each=1))
        await eventually(lambda: is_done(rig, 120), seconds=30)
    await rig.database["positions"].delete_many({})  # and between runs
    async with doing(rig.consumer()):
        await eventually(lambda: is_done(rig, 120), seconds=30)

    assert {key: of_one for key, of_one in (await heard(rig)).items() if key in in_order(events)} == in_order(events)


async def test_what_nobody_listens_to_is_passed_over(rig: Wired, doing: Doing, eventually: Eventually) -> None:
    events = blocks(streamers=3, each=3)
    others = [ViewerUnblockedV1(streamer_id=event.streamer_id, viewer_id=event.viewer_id) for event in events]
    await rig.publish(*others, *events, *others)

    async with doing(rig.consumer()):
        await eventually(lambda: is_done(rig, 27), seconds=30)

    assert await heard(rig) == in_order(events)
    assert await rig.documents("parked") == []


async def test_workers_that_come_and_go_share_the_work_without_doing_any_twice(
    rig: Wired, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=30, each=40)
    first, second, third = rig.consumer(), rig.consumer(), rig.consumer()
    async with doing(first):
        await rig.publish(*events[:400])
        await eventually(lambda: has_heard(rig, 200), seconds=30)
        async with doing(second):
            await eventually(lambda: second.progress().partitions == 6, seconds=30)
            await eventually(lambda: first.progress().partitions == 6, seconds=30)
            await rig.publish(*events[400:800])
            await eventually(lambda: has_heard(rig, 600), seconds=30)
    async with doing(third):
        await rig.publish(*events[800:])
        await eventually(lambda: has_heard(rig, 1_200), seconds=30)

    assert await heard(rig) == in_order(events)


async def test_partitions_are_handed_over_between_batches_not_within_one(
    rig: Wired, counting: Counting, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=12, each=20)
    counting.seconds = 0.01
    await rig.publish(*events)
    second = rig.consumer()
    async with doing(rig.consumer()):
        await asyncio.wait_for(counting.entered.wait(), 20)  # a batch is in hand
        async with doing(second):
            await eventually(lambda: second.progress().partitions == 6, seconds=30)
            counting.seconds = 0
            await eventually(lambda: has_heard(rig, 240), seconds=30)

    assert await heard(rig) == in_order(events)
    assert [row["deaths"] for row in await rig.documents("positions")] == [0] * 12


async def test_offsets_are_told_to_kafka_for_lag_tools(
    rig: Wired, doing: Doing, eventually: Eventually, servers: Any
) -> None:
    await rig.publish(*blocks(streamers=10, each=5))
    async with doing(rig.consumer()):
        await eventually(lambda: is_done(rig, 50), seconds=30)

    group = AIOKafkaConsumer(
        bootstrap_servers=servers.kafka_bootstrap, group_id=rig.settings.scoped("tests"), enable_auto_commit=False
    )
    await group.start()
    topic = rig.settings.scoped("sessions")
    offsets = [await group.committed(TopicPartition(topic, number)) or 0 for number in range(12)]
    await group.stop()
    assert sum(offsets) == 50


async def test_progress_tells_how_far_behind_it_is(
    rig: Wired, counting: Counting, doing: Doing, eventually: Eventually
) -> None:
    consumer = rig.consumer()
    assert consumer.progress().trouble == "not a member of the consumer group"
    async with doing(consumer):
        await eventually(lambda: consumer.progress().joined, seconds=30)
        assert consumer.progress().trouble is None
        assert consumer.progress().partitions == 12
        counting.seconds = 1
        await rig.publish(*blocks(streamers=1, each=8))
        await eventually(lambda: consumer.progress().lag == 8, seconds=30)
        counting.seconds = 0
        await eventually(lambda: consumer.progress().lag == 0, seconds=30)


async def test_a_fetcher_that_has_died_is_noticed_and_ends_the_process(
    rig: Wired, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("STUCK_SECONDS", 6.0), ("ENDS_SECONDS", 0.2), ("TICK_SECONDS", 0.1), ("TIDY_SECONDS", 0.2)):
        monkeypatch.setattr(f"chassis.consumer.{name}", seconds)
    consumer = rig.consumer()
    running = asyncio.create_task(consumer.run())
    await eventually(lambda: consumer.progress().joined, seconds=30)
    fetcher = consumer._kafka._fetcher  # noqa: SLF001 - it dies as in aiokafka #983 and #625: without a word
    for task in (fetcher._fetch_task, *fetcher._pending_tasks):  # noqa: SLF001 - as above
        task.cancel()
    await rig.publish(*blocks(streamers=1, each=5))

    await eventually(lambda: consumer.progress().trouble, seconds=30)
    with pytest.raises(StuckError):
        await asyncio.wait_for(running, 30)


async def test_what_kafka_has_removed_is_told_and_is_no_lag(
    rig: Wired, doing: Doing, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.consumer.TIDY_SECONDS", 0.2)
    first, lost, last = (blocks(streamers=1, each=4) for _ in range(3))
    key = first[0].streamer_id
    lost, last = ([replace_key(event, key) for event in events] for events in (lost, last))
    await rig.publish(*first)
    async with doing(rig.consumer()):
        await eventually(lambda: has_heard(rig, 4), seconds=30)
    before = told_lost()
    await rig.publish(*lost)
    await remove_before(rig, 8)

    consumer = rig.consumer()
    async with doing(consumer):
        await eventually(lambda: told_lost() == before + 4, seconds=30)
        await eventually(lambda: consumer.progress().joined and not consumer.progress().lag, seconds=30)
        await rig.publish(*last)
        await eventually(lambda: has_heard(rig, 8), seconds=30)
        await eventually(lambda: not consumer.progress().lag, seconds=30)

    assert told_lost() == before + 4
    assert await heard(rig) == in_order([*first, *last])


async def test_what_an_aborted_transaction_has_sent_takes_no_effect_and_is_no_lag(
    rig: Wired, doing: Doing, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.consumer.TIDY_SECONDS", 0.2)
    before = told_lost()
    aborted, kept, committed = (blocks(streamers=1, each=3) for _ in range(3))
    kept, committed = ([replace_key(event, aborted[0].streamer_id) for event in events] for events in (kept, committed))
    await in_transaction(rig, aborted, commit=False)
    consumer = rig.consumer()
    async with doing(consumer):
        await eventually(lambda: consumer.progress().joined, seconds=30)
        await rig.publish(*kept)
        await in_transaction(rig, committed, commit=True)
        await in_transaction(rig, aborted, commit=False)
        await eventually(lambda: has_heard(rig, 6), seconds=30)
        await eventually(lambda: is_done(rig, 12), seconds=30)  # with the marks of three transactions
        await eventually(lambda: consumer.progress().lag == 0, seconds=30)

    assert await heard(rig) == in_order([*kept, *committed])
    assert told_lost() == before


async def test_a_crash_outside_of_a_handler_counts_as_a_death_and_its_message_is_parked_in_the_end(
    rig: Wired, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *good = blocks(streamers=3, each=1)
    read = Listens.read

    def crash(self: Listens, partition: Partition, record: Any) -> Received:
        if record.key.decode() == bad.streamer_id:
            raise MemoryError
        return read(self, partition, record)

    monkeypatch.setattr(Listens, "read", crash)
    await rig.publish(bad, *good)
    ends = 0
    consumer = rig.consumer()
    running = asyncio.create_task(consumer.run())
    while not await rig.documents("parked"):
        assert ends < 10
        if running.done():
            ends += 1
            with pytest.raises(MemoryError):
                running.result()
            consumer = rig.consumer()
            running = asyncio.create_task(consumer.run())
        await asyncio.sleep(0.05)
    await eventually(lambda: has_heard(rig, 2), seconds=30)
    consumer.stop()
    await running

    [parked] = await rig.documents("parked_keys")
    assert (parked["key"], parked["reason"]) == (bad.streamer_id, "CrashedError: crashed the process 3 times")
    assert await heard(rig) == in_order(good)


async def test_a_slow_key_does_not_hold_up_the_other_partitions(
    rig: Wired, counting: Counting, doing: Doing, eventually: Eventually
) -> None:
    slow = blocks(streamers=1, each=400)
    counting.seconds, counting.slow = 0.05, slow[0].streamer_id
    await rig.publish(*slow)
    consumer = rig.consumer()
    async with doing(consumer):
        await eventually(lambda: has_heard(rig, 40), seconds=60)
        quick = [one for one in blocks(streamers=20, each=1) if partition(one) != partition(slow[0])]
        await rig.publish(*quick)
        await eventually(lambda: heard_all(rig, quick), seconds=8)
        assert not await has_heard(rig, 350)
        counting.seconds = 0
        await eventually(lambda: has_heard(rig, 400 + len(quick)), seconds=60)

    assert await heard(rig) == in_order([*slow, *quick])


def partition(event: ViewerBlockedV1) -> int:
    return int(murmur2(event.streamer_id.encode()) & 0x7FFFFFFF) % 12


async def heard_all(rig: Wired, events: list[ViewerBlockedV1]) -> bool:
    return (await heard(rig)).items() >= in_order(events).items()


def replace_key(event: ViewerBlockedV1, key: str) -> ViewerBlockedV1:
    return event.model_copy(update={"streamer_id": key})


def told_lost() -> float:
    return REGISTRY.get_sample_value("messages_lost_total", {"topic": "sessions"}) or 0


async def remove_before(rig: Wired, offset: int) -> None:
    """What retention does: the records below `offset` are gone, in the one partition with any."""
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.settings.kafka_bootstrap)
    await admin.start()
    try:
        [position] = [row["_id"] for row in await rig.documents("positions") if row["offset"]]
        tp = TopicPartition(rig.settings.scoped("sessions"), int(position.partition(":")[2]))
        await admin.delete_records({tp: RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def in_transaction(rig: Wired, events: list[ViewerBlockedV1], *, commit: bool) -> None:
    """Send `events` as somebody does who uses Kafka's transactions."""
    producer = AIOKafkaProducer(bootstrap_servers=rig.settings.kafka_bootstrap, transactional_id=ids.new_id())
    await producer.start()
    try:
        await producer.begin_transaction()
        for message in map(rig.message, events):
            topic = rig.settings.scoped(message.topic)
            await producer.send_and_wait(topic, message.value, key=message.key, headers=message.headers)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


async def test_when_everything_fails_the_consumer_halts_and_keeps_the_messages(
    rig: Wired, counting: Counting, doing: Doing, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.consumer.HALT_SECONDS", 0.2)
    events = blocks(streamers=300, each=1)
    counting.refuses_all = True
    await rig.publish(*events)
    consumer = rig.consumer()
    async with doing(consumer):
        await eventually(lambda: consumer.progress().halted, seconds=30)
        trouble = consumer.progress().trouble
        parked = len(await rig.documents("parked"))
        await asyncio.sleep(1)  # it tries again meanwhile
        assert len(await rig.documents("parked")) == parked
        counting.refuses_all = False
        await eventually(lambda: has_heard(rig, 300), seconds=30)
        await eventually(lambda: consumer.progress().halted is None, seconds=10)

    assert trouble is not None
    assert "viewer.blocked.v1 in a row: Uncountable" in trouble
    assert parked < 100
    assert await heard(rig) == in_order(events)


async def test_stopping_waits_for_what_is_in_hand(rig: Wired, counting: Counting) -> None:
    events = blocks(streamers=1, each=4)
    counting.seconds = 0.3
    await rig.publish(*events)
    consumer = rig.consumer()
    running = asyncio.create_task(consumer.run())
    await asyncio.wait_for(counting.entered.wait(), 20)
    consumer.stop()
    await asyncio.wait_for(running, 8)

    assert await is_done(rig, 4)
    assert await heard(rig) == in_order(events)
    assert {row["owner"] for row in await rig.documents("positions")} == {None}


async def test_it_stops_at_any_moment_also_while_it_talks_to_kafka(
    rig: Wired, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.consumer.TICK_SECONDS", 0.0005)  # it talks all the time
    monkeypatch.setattr("chassis.consumer.ENDS_SECONDS", 0.0)
    for round_ in range(8):
        consumer = rig.consumer()
        running = asyncio.create_task(consumer.run())
        await eventually(lambda consumer=consumer: consumer.progress().partitions, seconds=30)
        await rig.publish(*blocks(streamers=10, each=2))
        await asyncio.sleep(0.02 + 0.005 * round_)
        consumer.stop()
        await asyncio.wait_for(running, 8)
