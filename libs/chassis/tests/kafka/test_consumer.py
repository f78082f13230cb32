"""The consumer on a real Kafka and MongoDB: once each, in order, whatever happens to the workers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.partitioner import murmur2
from fastapi import APIRouter
from prometheus_client import REGISTRY

from chassis import ids
from chassis.errors import Conflict, StuckError
from chassis.kafka.consumer import Consumer
from chassis.kafka.decoding import InboundMessage, Partition, Subscriptions
from chassis.kafka.gaps import accept_loss
from chassis.service import Service, on
from chassis.storage.mongo import Mongo
from chassis.storage.tx import Tx
from chassis_testing.kafka import KafkaHarness, kafka_harness
from chassis_testing.tallies import TALLIES, blocks, count, count_handled, handled, has_handled, in_order
from contracts import ViewerBlockedV1, ViewerUnblockedV1

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]

AHEAD = 600  # events of a load that may wait in Kafka


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
        await count(event, tx)
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
async def harness(mongo: Mongo, servers: Any, namespace: str, counting: Counting) -> AsyncIterator[KafkaHarness]:
    async with kafka_harness(
        counting.service(), mongo, servers.kafka_bootstrap, namespace, kafka_session_timeout_seconds=6
    ) as harness:
        yield harness


async def is_done(harness: KafkaHarness, count: int) -> bool:
    """Whether the stored positions have come to `count` records."""
    offsets: list[int] = [row["offset"] for row in await harness.documents("positions")]
    return sum(offsets) >= count


async def test_every_event_takes_effect_once_and_those_of_one_key_in_order(
    harness: KafkaHarness, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=20, each=50)
    await harness.publish(*events)

    async with doing(harness.consumer()):
        await eventually(has_handled(harness, 1_000), seconds=30)

    assert await handled(harness) == in_order(events)


async def test_an_event_delivered_five_times_takes_effect_once(
    harness: KafkaHarness, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=5, each=20)
    await harness.publish(*events, times=5)

    async with doing(harness.consumer()):
        await eventually(lambda: is_done(harness, 500), seconds=30)
        await harness.publish(*events[:1])
        await eventually(lambda: is_done(harness, 501), seconds=30)

    expected = in_order(events)
    expected[events[0].streamer_id].append(events[0].viewer_id)  # under a new id it is another event
    assert await handled(harness) == expected


async def test_a_topic_replayed_from_the_beginning_changes_nothing(
    harness: KafkaHarness, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=5, each=20)
    await harness.publish(*events)
    async with doing(harness.consumer()):
        await eventually(has_handled(harness, 100), seconds=30)
        await harness.database["positions"].delete_many({})  # while it runs
        await harness.publish(*blocks(streamers=20, each=1))
        await eventually(lambda: is_done(harness, 120), seconds=30)
    await harness.database["positions"].delete_many({})  # and between runs
    async with doing(harness.consumer()):
        await eventually(lambda: is_done(harness, 120), seconds=30)

    assert {key: of_one for key, of_one in (await handled(harness)).items() if key in in_order(events)} == in_order(
        events
    )


async def test_what_nobody_listens_to_is_passed_over(
    harness: KafkaHarness, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=3, each=3)
    others = [ViewerUnblockedV1(streamer_id=event.streamer_id, viewer_id=event.viewer_id) for event in events]
    await harness.publish(*others, *events, *others)

    async with doing(harness.consumer()):
        await eventually(lambda: is_done(harness, 27), seconds=30)

    assert await handled(harness) == in_order(events)
    assert await harness.documents("parked") == []


async def test_workers_that_come_and_go_under_load_share_the_work_without_doing_any_twice(
    harness: KafkaHarness, doing: Doing, eventually: Eventually, record_property: Any
) -> None:
    first, second, third = harness.consumer(), harness.consumer(), harness.consumer()
    published: list[ViewerBlockedV1] = []

    async def load(until: asyncio.Event) -> None:
        keys = [ids.new_id() for _ in range(30)]
        while not until.is_set():
            events = [ViewerBlockedV1(streamer_id=key, viewer_id=ids.new_id()) for key in keys]
            await harness.publish(*events)
            published.extend(events)
            await eventually(has_handled(harness, len(published) - AHEAD))

    async def share(*workers: Consumer) -> None:
        """Wait until they have equal parts, and have handled what is published then."""
        parts = [12 // len(workers)] * len(workers)
        await eventually(lambda: [worker.progress().partitions for worker in workers] == parts)
        await eventually(has_handled(harness, len(published) + 1))

    enough = asyncio.Event()
    async with doing(first), asyncio.TaskGroup() as group:
        loading = group.create_task(load(enough))
        await share(first)
        async with doing(second):
            await share(first, second)
            async with doing(third):
                await share(first, second, third)
            await share(first, second)
        await share(first)
        enough.set()
        await loading
        await eventually(has_handled(harness, len(published)))

    assert await handled(harness) == in_order(published)
    assert {row["crash_count"] for row in await harness.documents("positions")} == {0}
    record_property("figures", f"workers come and go: {len(published)} events, each once and in order")


async def test_partitions_are_handed_over_between_batches_not_within_one(
    harness: KafkaHarness, counting: Counting, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(streamers=12, each=20)
    counting.seconds = 0.01
    await harness.publish(*events)
    second = harness.consumer()
    async with doing(harness.consumer()):
        await asyncio.wait_for(counting.entered.wait(), 20)  # a batch is in hand
        async with doing(second):
            await eventually(lambda: second.progress().partitions == 6, seconds=30)
            counting.seconds = 0
            await eventually(has_handled(harness, 240), seconds=30)

    assert await handled(harness) == in_order(events)
    assert [row["crash_count"] for row in await harness.documents("positions")] == [0] * 12


async def test_offsets_are_told_to_kafka_for_lag_tools(
    harness: KafkaHarness, doing: Doing, eventually: Eventually, servers: Any
) -> None:
    await harness.publish(*blocks(streamers=10, each=5))
    async with doing(harness.consumer()):
        await eventually(lambda: is_done(harness, 50), seconds=30)

    group = AIOKafkaConsumer(
        bootstrap_servers=servers.kafka_bootstrap, group_id=harness.settings.scoped("tests"), enable_auto_commit=False
    )
    await group.start()
    topic = harness.settings.scoped("sessions")
    offsets = [await group.committed(TopicPartition(topic, number)) or 0 for number in range(12)]
    await group.stop()
    assert sum(offsets) == 50


async def test_progress_tells_how_far_behind_it_is(
    harness: KafkaHarness, counting: Counting, doing: Doing, eventually: Eventually
) -> None:
    consumer = harness.consumer()
    assert consumer.progress().trouble == "not a member of the consumer group"
    async with doing(consumer):
        await eventually(lambda: consumer.progress().joined, seconds=30)
        assert consumer.progress().trouble is None
        assert consumer.progress().partitions == 12
        counting.seconds = 1
        await harness.publish(*blocks(streamers=1, each=8))
        await eventually(lambda: consumer.progress().lag == 8, seconds=30)
        counting.seconds = 0
        await eventually(lambda: consumer.progress().lag == 0, seconds=30)


async def test_while_too_much_waits_events_stay_in_kafka_and_the_worker_in_its_group(
    harness: KafkaHarness, doing: Doing, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.kafka.consumer.FULL_SECONDS", 0.1)
    backlog, events = harness.runtime.backlog, blocks(streamers=5, each=20)
    consumer = harness.consumer()
    async with doing(consumer):
        await eventually(lambda: consumer.progress().trouble is None and consumer.progress().joined, seconds=30)
        backlog.full = "too many events wait"
        await eventually(lambda: consumer.progress().trouble == "nothing more is taken: too many events wait")
        await harness.publish(*events)
        await eventually(lambda: consumer.progress().lag == 100, seconds=30)
        assert await handled(harness) == {}

        backlog.full = None
        await eventually(has_handled(harness, 100), seconds=30)
        await eventually(lambda: consumer.progress().trouble is None)

    assert await handled(harness) == in_order(events)


async def test_a_fetcher_that_has_died_is_noticed_and_ends_the_process(
    harness: KafkaHarness, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.kafka.lag.ENDS_SECONDS", 0.2)
    for name, seconds in (("TICK_SECONDS", 0.1), ("CHECKPOINT_SECONDS", 0.2)):
        monkeypatch.setattr(f"chassis.kafka.consumer.{name}", seconds)
    consumer = Consumer(harness.service, harness.runtime, harness.settings.model_copy(update={"stuck_seconds": 6.0}))
    running = asyncio.create_task(consumer.run())
    await eventually(lambda: consumer.progress().joined, seconds=30)
    fetcher = consumer._member._kafka._fetcher  # noqa: SLF001 - it dies as in aiokafka #983 and #625: without a word
    for task in (fetcher._fetch_task, *fetcher._pending_tasks):  # noqa: SLF001 - as above
        task.cancel()
    await harness.publish(*blocks(streamers=1, each=5))

    await eventually(lambda: consumer.progress().trouble, seconds=30)
    with pytest.raises(StuckError):
        await asyncio.wait_for(running, 30)


async def test_what_kafka_has_removed_halts_its_partition_alone_until_the_loss_is_accepted(
    harness: KafkaHarness, doing: Doing, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.kafka.consumer.CHECKPOINT_SECONDS", 0.2)
    first, lost, last = (blocks(streamers=1, each=4) for _ in range(3))
    key = first[0].streamer_id
    lost, last = ([replace_key(event, key) for event in events] for events in (lost, last))
    await harness.publish(*first)
    async with doing(harness.consumer()):
        await eventually(has_handled(harness, 4), seconds=30)
    before = told_lost()
    [halted] = [row["_id"] for row in await harness.documents("positions") if row["offset"]]
    await harness.publish(*lost)
    await remove_before(harness, 8)
    await harness.publish(*last)
    elsewhere = [one for one in blocks(streamers=20, each=1) if partition(one) != partition(first[0])]

    consumer = harness.consumer()
    async with doing(consumer):
        reason = f"{halted} is halted: 4 messages from 4 on are gone"
        await eventually(lambda: consumer.progress().trouble == reason, seconds=30)
        await harness.publish(*elsewhere)
        await eventually(lambda: handled_all(harness, elsewhere), seconds=30)
        assert REGISTRY.get_sample_value("partitions_halted", {"topic": "sessions"}) == 1
        assert not await handled_any(harness, last)
        assert told_lost() == before + 4

        assert await accept_loss(harness.runtime, harness.settings, halted) == (4, 8)
        await eventually(has_handled(harness, 8 + len(elsewhere)), seconds=30)
        await eventually(lambda: consumer.progress().trouble is None and not consumer.progress().lag, seconds=30)
        assert await accept_loss(harness.runtime, harness.settings, halted) == (12, 12), (
            "there is nothing more to accept"
        )

    assert REGISTRY.get_sample_value("partitions_halted", {"topic": "sessions"}) == 0
    assert told_lost() == before + 4
    assert await handled(harness) == in_order([*first, *last, *elsewhere])


async def test_a_position_that_cannot_be_read_stops_its_partition_alone_and_is_named(
    harness: KafkaHarness, doing: Doing, eventually: Eventually
) -> None:
    events = blocks(24, 1)
    partitions = {event.streamer_id: (int(murmur2(event.key.encode())) & 0x7FFFFFFF) % 12 for event in events}
    strange = partitions[events[0].streamer_id]
    behind = [event for event in events if partitions[event.streamer_id] == strange]
    stored = {"_id": f"sessions:{strange}", "offset": "far", "_stamp": 1}
    await harness.database["positions"].insert_one(stored)
    await harness.publish(*events)
    consumer = harness.consumer()

    async with doing(consumer):
        await eventually(has_handled(harness, len(events) - len(behind)))
        await eventually(lambda: f"sessions:{strange}" in (consumer.progress().trouble or ""))
        assert (await handled(harness)).keys() == {event.streamer_id for event in events if event not in behind}

        await harness.database["positions"].update_one({"_id": stored["_id"]}, {"$set": {"offset": 0}})
        await eventually(has_handled(harness, len(events)), seconds=20)
        await eventually(lambda: consumer.progress().trouble is None)

    assert await handled(harness) == in_order(events)


async def test_what_an_aborted_transaction_has_sent_takes_no_effect_and_is_no_lag(
    harness: KafkaHarness, doing: Doing, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.kafka.consumer.CHECKPOINT_SECONDS", 0.2)
    before = told_lost()
    aborted, kept, committed = (blocks(streamers=1, each=3) for _ in range(3))
    kept, committed = ([replace_key(event, aborted[0].streamer_id) for event in events] for events in (kept, committed))
    await in_transaction(harness, aborted, commit=False)
    consumer = harness.consumer()
    async with doing(consumer):
        await eventually(lambda: consumer.progress().joined, seconds=30)
        await harness.publish(*kept)
        await in_transaction(harness, committed, commit=True)
        await in_transaction(harness, aborted, commit=False)
        await eventually(has_handled(harness, 6), seconds=30)
        await eventually(lambda: is_done(harness, 12), seconds=30)  # with the marks of three transactions
        await eventually(lambda: consumer.progress().lag == 0, seconds=30)

    assert await handled(harness) == in_order([*kept, *committed])
    assert told_lost() == before


async def test_a_crash_outside_of_a_handler_counts_as_a_death_and_its_message_is_parked_in_the_end(
    harness: KafkaHarness, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *good = blocks(streamers=3, each=1)
    read = Subscriptions.decode

    def crash(self: Subscriptions, partition: Partition, record: Any) -> InboundMessage:
        if record.key.decode() == bad.streamer_id:
            raise MemoryError
        return read(self, partition, record)

    monkeypatch.setattr(Subscriptions, "decode", crash)
    await harness.publish(bad, *good)
    ends = 0
    consumer = harness.consumer()
    running = asyncio.create_task(consumer.run())
    while not await harness.documents("parked"):
        assert ends < 10
        if running.done():
            ends += 1
            with pytest.raises(MemoryError):
                running.result()
            consumer = harness.consumer()
            running = asyncio.create_task(consumer.run())
        await asyncio.sleep(0.05)
    await eventually(has_handled(harness, 2), seconds=30)
    consumer.stop()
    await running

    [parked] = await harness.documents("parked_keys")
    assert (parked["key"], parked["reason"]) == (bad.streamer_id, "CrashedError: crashed the process 3 times")
    assert await handled(harness) == in_order(good)


async def test_a_slow_key_does_not_hold_up_the_other_partitions(
    harness: KafkaHarness, counting: Counting, doing: Doing, eventually: Eventually
) -> None:
    slow = blocks(streamers=1, each=400)
    counting.seconds, counting.slow = 0.05, slow[0].streamer_id
    await harness.publish(*slow)
    consumer = harness.consumer()
    async with doing(consumer):
        await eventually(has_handled(harness, 40), seconds=60)
        quick = [one for one in blocks(streamers=20, each=1) if partition(one) != partition(slow[0])]
        await harness.publish(*quick)
        await eventually(lambda: handled_all(harness, quick), seconds=8)
        assert await count_handled(harness) < 350
        counting.seconds = 0
        await eventually(has_handled(harness, 400 + len(quick)), seconds=60)

    assert await handled(harness) == in_order([*slow, *quick])


def partition(event: ViewerBlockedV1) -> int:
    return int(murmur2(event.streamer_id.encode()) & 0x7FFFFFFF) % 12


async def handled_all(harness: KafkaHarness, events: list[ViewerBlockedV1]) -> bool:
    return (await handled(harness)).items() >= in_order(events).items()


async def handled_any(harness: KafkaHarness, events: list[ViewerBlockedV1]) -> bool:
    found = await handled(harness)
    return any(viewer in found.get(key, []) for key, viewers in in_order(events).items() for viewer in viewers)


def replace_key(event: ViewerBlockedV1, key: str) -> ViewerBlockedV1:
    return event.model_copy(update={"streamer_id": key})


def told_lost() -> float:
    return REGISTRY.get_sample_value("messages_lost_total", {"topic": "sessions"}) or 0


async def remove_before(harness: KafkaHarness, offset: int) -> None:
    """What retention does: the records below `offset` are gone, in the one partition with any."""
    admin = AIOKafkaAdminClient(bootstrap_servers=harness.settings.kafka_bootstrap)
    await admin.start()
    try:
        [position] = [row["_id"] for row in await harness.documents("positions") if row["offset"]]
        tp = TopicPartition(harness.settings.scoped("sessions"), int(position.partition(":")[2]))
        await admin.delete_records({tp: RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def in_transaction(harness: KafkaHarness, events: list[ViewerBlockedV1], *, commit: bool) -> None:
    """Send `events` as somebody does who uses Kafka's transactions."""
    producer = AIOKafkaProducer(bootstrap_servers=harness.settings.kafka_bootstrap, transactional_id=ids.new_id())
    await producer.start()
    try:
        await producer.begin_transaction()
        for message in map(harness.message, events):
            topic = harness.settings.scoped(message.topic)
            await producer.send_and_wait(topic, message.value, key=message.key, headers=message.headers)
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    finally:
        await producer.stop()


async def test_when_everything_fails_the_consumer_halts_and_keeps_the_messages(
    harness: KafkaHarness, counting: Counting, doing: Doing, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.kafka.consumer.HALT_SECONDS", 0.2)
    events = blocks(streamers=300, each=1)
    counting.refuses_all = True
    await harness.publish(*events)
    consumer = harness.consumer()
    async with doing(consumer):
        await eventually(lambda: consumer.progress().halted, seconds=30)
        trouble = consumer.progress().trouble
        parked = len(await harness.documents("parked"))
        await asyncio.sleep(1)  # it tries again meanwhile
        assert len(await harness.documents("parked")) == parked
        counting.refuses_all = False
        await eventually(has_handled(harness, 300), seconds=30)
        await eventually(lambda: consumer.progress().halted is None, seconds=10)

    assert trouble is not None
    assert "viewer.blocked.v1 in a row: Uncountable" in trouble
    assert parked < 100
    assert await handled(harness) == in_order(events)


async def test_stopping_waits_for_what_is_in_hand(harness: KafkaHarness, counting: Counting) -> None:
    events = blocks(streamers=1, each=1)  # of several, a slow batch leaves the last ones to the next process
    counting.seconds = 0.3
    await harness.publish(*events)
    consumer = harness.consumer()
    running = asyncio.create_task(consumer.run())
    await asyncio.wait_for(counting.entered.wait(), 60)
    consumer.stop()
    await asyncio.wait_for(running, 60)

    assert await is_done(harness, 1)
    assert await handled(harness) == in_order(events)
    assert {row["owner"] for row in await harness.documents("positions")} == {None}


async def test_it_stops_at_any_moment_also_while_it_talks_to_kafka(
    harness: KafkaHarness, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.kafka.consumer.TICK_SECONDS", 0.0005)  # it talks all the time
    monkeypatch.setattr("chassis.kafka.lag.ENDS_SECONDS", 0.0)
    for round_ in range(8):
        consumer = harness.consumer()
        running = asyncio.create_task(consumer.run())
        await eventually(lambda consumer=consumer: consumer.progress().partitions, seconds=30)
        await harness.publish(*blocks(streamers=10, each=2))
        await asyncio.sleep(0.02 + 0.005 * round_)
        consumer.stop()
        await asyncio.wait_for(running, 8)
