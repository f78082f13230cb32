"""Parking, on a real MongoDB: what cannot take effect waits with its reason, later ones of its key behind it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from fastapi import APIRouter

from chassis import ids
from chassis.clock import ManualClock, instant
from chassis.context import Outside, Runtime
from chassis.effects.vendor_client import VendorClient
from chassis.errors import Conflict, NotYet
from chassis.kafka.batch_writer import HaltError
from chassis.kafka.decoding import SYSTEM_CAUSE, Partition
from chassis.kafka.parking import ParkedKeys, parked_among
from chassis.kafka.positions import seek
from chassis.kafka.processor import ISOLATION_RECORDS, BatchProcessor
from chassis.runtime import parked_work
from chassis.runtime.migrate import create_collections
from chassis.service import Service, on
from chassis.storage.collection import Collection, Index
from chassis.storage.errors import StaleDocumentError
from chassis.storage.mongo import Mongo, Raw
from chassis.storage.tx import Tx
from chassis_testing.service import START_TIME, KafkaRecord
from chassis_testing.tallies import TALLIES, Tally, note
from contracts import Event, ViewerBlockedV1, ViewerUnblockedV1, WalletCreatedV1

SESSIONS = Partition("sessions", 3)
ESCROW = Partition("escrow", 5)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Something there is one of; `weight` may be more than BSON can hold."""

    id: str
    owner: str
    weight: int = 0


TICKETS = Collection("tickets", Ticket, indexes=(Index({"owner": 1}, unique=True),))


class Uncountable(Conflict, slug="uncountable"):
    """This viewer cannot be counted."""


class Death(BaseException):
    """Stands for the end of the process."""


@dataclass
class Desk:
    """One service whose events are handed in by the test instead of by Kafka, with a clock of its own."""

    runtime: Runtime
    clock: ManualClock
    processor: BatchProcessor
    service: Service
    refused: set[str] = field(default_factory=set)
    weights: dict[str, int] = field(default_factory=dict)
    doubled: set[str] = field(default_factory=set)
    deadly: set[str] = field(default_factory=set)
    meanwhile: Callable[[], Awaitable[None]] | None = None
    tried: list[str] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=dict)

    # -- the service

    async def count(self, event: ViewerBlockedV1, tx: Tx) -> None:
        viewer = event.viewer_id
        self.tried.append(viewer)
        if viewer in self.deadly:
            raise Death
        if self.meanwhile is not None:
            await self.meanwhile()
        await note(tx, event.streamer_id, viewer)
        if viewer in self.refused:
            raise Uncountable
        if viewer in self.weights:
            tx.insert(TICKETS, Ticket(ids.new_id(), viewer, self.weights[viewer]))
        if viewer in self.doubled:
            tx.insert(TICKETS, Ticket(ids.new_id(), "only-one"))

    async def uncount(self, event: ViewerUnblockedV1, tx: Tx) -> None:
        """Needs the viewer's wallet, of which another service tells."""
        self.tried.append(event.viewer_id)
        if await tx.get(TALLIES, event.viewer_id) is None:
            raise NotYet("wallet")
        await note(tx, event.streamer_id, f"-{event.viewer_id}")

    async def open(self, event: WalletCreatedV1, tx: Tx) -> None:
        tx.put(TALLIES, Tally(event.user_id))

    # -- the test

    def record(self, event: Event, partition: Partition = SESSIONS, id_: str | None = None) -> KafkaRecord:
        offset = self.offsets[partition.id] = self.offsets.get(partition.id, -1) + 1
        return KafkaRecord.of_event(offset, event, id_, instant(self.clock.micros()))

    async def deliver(self, *records: KafkaRecord, partition: Partition = SESSIONS) -> None:
        await self.processor.process({partition: list(records)})

    async def say(self, *events: Event, partition: Partition = SESSIONS) -> None:
        await self.deliver(*(self.record(event, partition) for event in events), partition=partition)

    async def wait(self, seconds: float) -> None:
        """Let time pass, then let the processor try what is due."""
        self.clock.advance(seconds)
        await self.processor.retry()

    async def give_up(self) -> None:
        """Let every attempt pass that is made without an operator."""
        for _ in range(10):
            await self.wait(2)

    async def heard(self, streamer: str) -> list[str]:
        raw = await self.runtime.database["tallies"].find_one({"_id": streamer})
        return list(raw["handled"]) if raw else []

    async def documents(self, name: str) -> list[Raw]:
        rows: list[Raw] = await self.runtime.database[name].find().sort("_id", 1).to_list(None)
        return rows

    async def take_over(self) -> "BatchProcessor":
        """Another process takes the partitions; the former has neither ended nor let go."""
        self.processor = BatchProcessor(self.service, self.runtime, ids.new_id())
        await claim(self.processor)
        return self.processor


async def claim(processor: BatchProcessor) -> None:
    for owned in await processor.ownership.claim([SESSIONS, ESCROW]):
        processor.ownership.owned[owned.partition.id] = owned
        if owned.position.crash_count >= 2:
            owned.isolated_until = owned.next + ISOLATION_RECORDS


@pytest.fixture
async def desk(mongo: Mongo, namespace: str) -> AsyncIterator[Desk]:
    clock = ManualClock(START_TIME)
    runtime = Runtime("tests", mongo, mongo.database(f"{namespace}-tests"), clock, Outside({}, VendorClient(), clock))
    desk = Desk(
        runtime, clock, BatchProcessor(Service("tests", APIRouter()), runtime, ""), Service("tests", APIRouter())
    )
    desk.service = Service(
        name="tests",
        router=APIRouter(),
        handlers=(
            on(ViewerBlockedV1, desk.count, needs=lambda event: [TALLIES.ref(event.streamer_id)]),
            on(ViewerUnblockedV1, desk.uncount),
            on(WalletCreatedV1, desk.open),
        ),
        collections=(TALLIES, TICKETS),
    )
    await create_collections(runtime.database, desk.service)
    await desk.take_over()
    yield desk
    await mongo.client.drop_database(runtime.database.name)


def blocks(count: int, streamer: str | None = None) -> list[ViewerBlockedV1]:
    key = streamer or ids.new_id()
    return [ViewerBlockedV1(streamer_id=key, viewer_id=ids.new_id()) for _ in range(count)]


def viewers(events: Sequence[ViewerBlockedV1]) -> list[str]:
    return [event.viewer_id for event in events]


def broken(record: KafkaRecord, value: bytes | None = None, **headers: str | None) -> KafkaRecord:
    """`record` with other headers (`None` leaves one out) and maybe another value."""
    changed = {name: text.encode() for name, text in headers.items() if text is not None}
    kept = [(name, text) for name, text in record.headers if name.replace("-", "_") not in headers]
    return replace(record, headers=[*kept, *changed.items()], value=record.value if value is None else value)


POISONS: dict[str, tuple[Callable[[KafkaRecord], KafkaRecord], str]] = {
    "no JSON": (lambda record: broken(record, b"{"), "Undecodable: "),
    "no UTF-8": (lambda record: broken(record, b'{"streamer_id": "\xff"}'), "Undecodable: "),
    "NaN": (lambda record: broken(record, b'{"streamer_id": NaN}'), "Undecodable: "),
    "wrong type": (lambda record: broken(record, b'{"streamer_id": 1, "viewer_id": []}'), "Undecodable: streamer_id"),
    "no value": (lambda record: replace(record, value=None), "Undecodable: the message has no value"),
    "deep": (lambda record: broken(record, b"[" * 100_000), "Undecodable: "),
    "huge": (lambda record: broken(record, b'{"streamer_id": "' + b"a" * 900_000 + b'"}'), "Undecodable: "),
    "no headers": (lambda record: replace(record, headers=[]), "Undecodable: ce_type is missing"),
    "no id": (lambda record: broken(record, ce_id=None), "Undecodable: ce_id is missing"),
    "no time": (lambda record: broken(record, ce_time="yesterday"), "Undecodable: ce_time"),
    "other key": (lambda record: broken(record, ce_partitionkey="0" * 24), "Undecodable: the key"),
    "unknown version": (lambda record: broken(record, ce_type="viewer.blocked.v9"), "UnknownVersion: "),
}


@pytest.mark.parametrize("kind", POISONS)
async def test_what_cannot_be_read_is_parked_with_its_reason_and_other_keys_flow(desk: Desk, kind: str) -> None:
    spoil, reason = POISONS[kind]
    [poison, *behind], others = blocks(3), blocks(3)
    records = [desk.record(event) for event in (poison, *behind, *others)]
    await desk.deliver(spoil(records[0]), *records[1:])

    [key] = await desk.documents("parked_keys")
    rows = await desk.documents("parked")
    assert key["state"] == "parked"
    assert key["reason"].startswith(reason)
    assert [row["reason"] for row in rows] == [key["reason"], None, None]
    assert rows[0]["value"] == spoil(records[0]).value
    assert await desk.heard(poison.streamer_id) == []
    assert await desk.heard(others[0].streamer_id) == viewers(others)
    [copy] = await desk.documents("outbox")
    assert (copy["topic"], copy["key"]) == ("tests.dlq", poison.streamer_id)
    assert copy["headers"]["dlq_reason"].decode() == key["reason"]
    assert (copy["headers"]["dlq_topic"], copy["headers"]["dlq_partition"]) == (b"sessions", b"3")
    assert copy["headers"]["dlq_offset"] == b"0"


async def test_a_record_without_a_key_is_parked_too(desk: Desk) -> None:
    record = desk.record(blocks(1)[0])
    await desk.deliver(replace(record, key=None))

    [key] = await desk.documents("parked_keys")
    assert (key["key"], key["reason"]) == ("", "Undecodable: the key is not the data's streamer_id")


async def test_a_refused_message_is_tried_a_few_times_then_waits_for_an_operator(desk: Desk) -> None:
    [poison, *behind], others = blocks(4), blocks(3)
    desk.refused = {poison.viewer_id}
    await desk.say(poison, *behind, *others)

    [key] = await desk.documents("parked_keys")
    assert (key["state"], key["attempts"]) == ("retrying", 1)
    assert await desk.documents("outbox") == []
    await desk.give_up()

    [key] = await desk.documents("parked_keys")
    assert (key["state"], key["attempts"], key["reason"]) == (
        "parked",
        5,
        "Uncountable: This viewer cannot be counted.",
    )
    assert desk.tried.count(poison.viewer_id) == 5
    assert await desk.heard(poison.streamer_id) == []
    assert await desk.heard(others[0].streamer_id) == viewers(others)
    assert len(await desk.documents("outbox")) == 1


async def test_later_messages_of_a_parked_key_wait_and_follow_in_order_once_it_is_mended(desk: Desk) -> None:
    first, *rest = blocks(1_203)
    desk.refused = {first.viewer_id}
    for at in range(0, 1_203, 401):
        await desk.say(*[first, *rest][at : at + 401])
    await desk.give_up()
    assert await desk.heard(first.streamer_id) == []
    assert [line["waiting"] async for line in parked_work.MESSAGES.list(desk.runtime)] == [1_202]

    desk.refused = set()
    assert await parked_work.MESSAGES.replay(desk.runtime.database, desk.clock) == 1
    for _ in range(3):
        await desk.processor.retry()

    assert await desk.heard(first.streamer_id) == [first.viewer_id, *viewers(rest)]
    assert await desk.documents("parked") == []
    assert await desk.documents("parked_keys") == []
    last = blocks(1, first.streamer_id)
    await desk.say(*last)
    assert (await desk.heard(first.streamer_id))[-1] == last[0].viewer_id


async def test_replaying_twice_and_with_nothing_mended_changes_nothing(desk: Desk) -> None:
    poison, good = blocks(2)
    desk.refused = {poison.viewer_id}
    await desk.say(poison, good)
    await desk.give_up()
    for _ in range(2):
        assert await parked_work.MESSAGES.replay(desk.runtime.database, desk.clock, poison.streamer_id) == 1
        await desk.give_up()
    assert await parked_work.MESSAGES.replay(desk.runtime.database, desk.clock, "another") == 0

    [line] = [one async for one in parked_work.MESSAGES.list(desk.runtime)]
    assert (line["state"], line["waiting"], line["attempts"]) == ("parked", 1, 5)
    assert len(await desk.documents("outbox")) == 1  # one copy is enough
    assert await desk.heard(poison.streamer_id) == []


async def test_two_poisons_of_one_key_are_met_one_after_the_other(desk: Desk) -> None:
    events = blocks(5)
    desk.refused = {events[1].viewer_id, events[3].viewer_id}
    await desk.say(*events)
    await desk.give_up()
    assert await desk.heard(events[0].streamer_id) == viewers(events[:1])

    desk.refused = {events[3].viewer_id}
    await parked_work.MESSAGES.replay(desk.runtime.database, desk.clock)
    await desk.give_up()
    assert await desk.heard(events[0].streamer_id) == viewers(events[:3])
    [line] = [one async for one in parked_work.MESSAGES.list(desk.runtime)]
    assert (line["head"], line["waiting"]) == ("sessions:3:3", 1)

    desk.refused = set()
    await parked_work.MESSAGES.replay(desk.runtime.database, desk.clock)
    await desk.give_up()
    assert await desk.heard(events[0].streamer_id) == viewers(events)


async def test_not_yet_waits_without_alarm_until_the_other_services_event_comes(desk: Desk) -> None:
    wallet = WalletCreatedV1(user_id=ids.new_id(), amount_diamonds=0, cause_id="gift")
    streamer = ids.new_id()
    early = ViewerUnblockedV1(streamer_id=streamer, viewer_id=wallet.user_id)
    later = blocks(2, streamer)
    await desk.say(early, *later)
    for _ in range(20):
        await desk.wait(30)
    [key] = await desk.documents("parked_keys")
    assert (key["state"], key["reason"]) == ("retrying", "NotYet: wallet is not known yet")
    assert await desk.heard(streamer) == []

    await desk.say(wallet, partition=ESCROW)
    await desk.wait(30)

    assert await desk.heard(streamer) == [f"-{wallet.user_id}", *viewers(later)]
    assert await desk.documents("parked_keys") == []
    assert await desk.documents("outbox") == []


async def test_not_yet_is_tried_after_a_tenth_of_a_second_then_ever_less_often(desk: Desk) -> None:
    await desk.say(ViewerUnblockedV1(streamer_id=ids.new_id(), viewer_id=ids.new_id()))
    waits = []
    for _ in range(12):
        [key] = await desk.documents("parked_keys")
        wait = key["next_try_at"] - instant(desk.clock.micros())
        waits.append(wait.total_seconds())
        await desk.wait(wait.total_seconds())
    assert waits == [0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]


async def test_not_yet_for_a_whole_day_is_an_alarm(desk: Desk) -> None:
    await desk.say(ViewerUnblockedV1(streamer_id=ids.new_id(), viewer_id=ids.new_id()))
    await desk.wait(timedelta(hours=25).total_seconds())

    [key] = await desk.documents("parked_keys")
    assert key["state"] == "parked"
    assert len(await desk.documents("outbox")) == 1


async def test_a_repeated_parked_message_takes_effect_once(desk: Desk) -> None:
    poison, good = blocks(2)
    desk.refused = {poison.viewer_id}
    id_ = ids.new_id()
    await desk.deliver(*(desk.record(poison, id_=id_) for _ in range(3)), desk.record(good))
    await desk.give_up()
    await desk.deliver(desk.record(poison, id_=id_))
    desk.refused = set()
    await parked_work.MESSAGES.replay(desk.runtime.database, desk.clock)
    await desk.give_up()

    assert await desk.heard(poison.streamer_id) == viewers([poison, good])
    assert await desk.documents("parked") == []


@pytest.mark.parametrize("how", ["doubled", "weights"])
async def test_what_mongodb_refuses_for_good_is_parked_alone(desk: Desk, how: str) -> None:
    tx = desk.runtime.begin(SYSTEM_CAUSE)
    tx.put(TICKETS, Ticket("t", "only-one"))
    await tx.commit()
    events = [event for _ in range(20) for event in blocks(2)]
    poison = events[17]
    if how == "doubled":
        desk.doubled = {poison.viewer_id}
    else:
        desk.weights = {poison.viewer_id: 2**70}
    await desk.say(*events)
    await desk.give_up()

    [key] = await desk.documents("parked_keys")
    assert (key["key"], key["state"], key["attempts"]) == (poison.streamer_id, "parked", 5)
    assert ("E11000" if how == "doubled" else "8-byte ints") in key["reason"]
    heard = [viewer for event in events for viewer in await desk.heard(event.streamer_id)]
    assert set(heard) == set(viewers(events)) - {poison.viewer_id}
    assert sum(len(row["ids"]) for row in await desk.documents("inbox")) == 39


async def test_too_many_failures_in_a_row_halt_and_keep_nothing_of_the_batch(desk: Desk) -> None:
    events = [event for _ in range(150) for event in blocks(1)]
    desk.refused = set(viewers(events))
    with pytest.raises(HaltError, match=r"150 messages of type viewer\.blocked\.v1 in a row: Uncountable"):
        await desk.say(*events)

    assert await desk.documents("parked") == []
    assert {row["offset"] for row in await desk.documents("positions")} == {0}


@pytest.mark.parametrize("type_", [None, "foreign.event.v1", "goal.ended.v1"])
async def test_what_nobody_here_listens_to_does_not_halt_however_much_of_it_comes(
    desk: Desk, type_: str | None
) -> None:
    strange = [broken(desk.record(event), ce_type=type_) for _ in range(150) for event in blocks(1)]
    good = blocks(1)
    await desk.deliver(*strange)  # nothing that succeeds is among them
    await desk.deliver(desk.record(good[0]))

    assert await desk.heard(good[0].streamer_id) == viewers(good)
    assert not desk.processor.in_failure_burst
    assert len(await desk.documents("parked_keys")) == (150 if type_ is None else 0)


async def test_long_keys_and_huge_values_are_parked_in_little_room(desk: Desk) -> None:
    broad = [(f"x{number}", b"h" * 10_000) for number in range(2_000)]
    many = [(f"y{number}", b"") for number in range(200_000)]
    huge = b"v" * 17_000_000  # compressed it is little, and no document can hold it
    strange = [
        replace(desk.record(blocks(1)[0]), key=bytes([97 + number]) * 1_000_000, headers=headers, value=huge)
        for number, headers in enumerate((broad, many, *([[]] * 18)))
    ]
    await desk.deliver(*strange[:10])
    await desk.deliver(*strange[10:])
    await desk.give_up()

    rows, keys = await desk.documents("parked"), await desk.documents("parked_keys")
    assert len(rows) == len(keys) == 20
    assert all(len(key["_id"]) < 100 and key["state"] == "parked" for key in keys)
    assert all(len(row["value"] or b"") < 2_000_000 for row in rows)
    assert await parked_work.MESSAGES.replay(desk.runtime.database, desk.clock) == 20
    await desk.give_up()
    cached = ParkedKeys(desk.runtime.database, desk.clock)
    assert await cached.among(["k", keys[0]["key"]]) == {keys[0]["key"]}


async def test_with_too_many_parked_keys_to_remember_each_is_asked_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.kafka.parking.CACHED_KEYS_MAX", 2)
    poisons = [event for _ in range(3) for event in blocks(1)]
    desk.refused = set(viewers(poisons))
    await desk.say(*poisons)
    await desk.give_up()
    cached = ParkedKeys(desk.runtime.database, desk.clock)

    assert await cached.among([poisons[2].streamer_id, "other"]) == {poisons[2].streamer_id}


async def test_a_message_whose_transaction_is_always_aborted_is_parked_and_the_rest_flows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.storage.batch.ALONE_SECONDS_MAX", 0.5)
    slow, *others = [event for _ in range(3) for event in blocks(1)]

    async def overtaken() -> None:
        if desk.tried[-1] == slow.viewer_id:
            raise StaleDocumentError("as MongoDB says of a transaction that took over 5 s")

    desk.meanwhile = overtaken
    await desk.say(slow, *others)

    [key] = await desk.documents("parked_keys")
    assert (key["key"], key["state"]) == (slow.streamer_id, "parked")
    assert key["reason"].startswith("AbortedError: aborted")
    assert [await desk.heard(other.streamer_id) for other in others] == [[other.viewer_id] for other in others]


async def test_partitions_take_turns_and_what_takes_long_is_left_for_the_next_turn(desk: Desk) -> None:
    many = blocks(20)
    few = WalletCreatedV1(user_id=ids.new_id(), amount_diamonds=1, cause_id="c")
    desk.processor.ownership._runner._size = 4  # noqa: SLF001 - as slow batches leave it

    async def slowly() -> None:
        desk.clock.advance(0.3)

    desk.meanwhile = slowly
    records = {SESSIONS: [desk.record(event) for event in many], ESCROW: [desk.record(few, ESCROW)]}
    await desk.processor.process(records)

    assert await desk.documents("tallies") != []
    assert few.user_id in {row["_id"] for row in await desk.documents("tallies")}
    left = desk.processor.ownership.owned[SESSIONS.id].next
    assert 0 < left < 20
    desk.meanwhile = None
    await desk.processor.process({SESSIONS: records[SESSIONS][left:]})
    assert await desk.heard(many[0].streamer_id) == viewers(many)


async def test_failures_between_successes_do_not_halt(desk: Desk) -> None:
    events = [event for _ in range(150) for event in blocks(1)]
    desk.refused = set(viewers(events[:149]))
    await desk.say(*events)

    assert len(await desk.documents("parked_keys")) == 149


async def test_messages_that_wait_for_another_service_do_not_halt(desk: Desk) -> None:
    await desk.say(*(ViewerUnblockedV1(streamer_id=ids.new_id(), viewer_id=ids.new_id()) for _ in range(150)))

    assert len(await desk.documents("parked_keys")) == 150


async def test_a_position_is_moved_while_a_worker_has_it_in_hand(desk: Desk) -> None:
    events = blocks(3)
    first, passed_over, last = (desk.record(event) for event in events)
    await desk.deliver(first)

    assert await seek(desk.runtime, SESSIONS.id, 2) == 1
    await desk.deliver(passed_over)
    assert [owned.partition for owned in desk.processor.ownership.lost] == [SESSIONS]
    await claim(desk.processor)
    await desk.deliver(last)

    assert await desk.heard(events[0].streamer_id) == viewers([events[0], events[2]])


async def test_what_is_parked_is_found_by_key_whatever_the_topic(desk: Desk) -> None:
    poison, good = blocks(1)[0], blocks(1)[0]
    cached = ParkedKeys(desk.runtime.database, desk.clock)
    keys = [poison.streamer_id, good.streamer_id]
    assert await cached.among(keys) == set()
    desk.refused = {poison.viewer_id}
    await desk.say(poison, good)

    assert await parked_among(desk.runtime.begin(SYSTEM_CAUSE, read_only=True), keys) == {poison.streamer_id}
    assert await cached.among(keys) == set()  # it is tried again by itself
    await desk.give_up()
    desk.clock.advance(1)  # at most so late
    assert await cached.among(keys) == {poison.streamer_id}


async def test_parked_keys_outlive_the_worker(desk: Desk) -> None:
    poison, good = blocks(2)
    desk.refused = {poison.viewer_id}
    await desk.say(poison)
    await desk.take_over()
    await desk.say(good)
    assert await desk.heard(poison.streamer_id) == []

    desk.refused = set()
    await desk.wait(1)

    assert await desk.heard(poison.streamer_id) == viewers([poison, good])


async def test_a_message_that_kills_the_process_again_and_again_is_parked(desk: Desk) -> None:
    events = [event for _ in range(20) for event in blocks(1)]
    deadly, same_key = events[7], blocks(1, events[7].streamer_id)[0]
    records = [desk.record(event) for event in (*events, same_key)]
    desk.deadly = {deadly.viewer_id}
    deaths = 0
    while (begin := desk.processor.ownership.owned[SESSIONS.id].next) < len(records):
        try:
            await desk.deliver(*records[begin:])
        except Death:
            deaths += 1
            await desk.take_over()

    assert deaths == 2 + 1 + 3  # twice with others, once with its group, then alone
    [line] = [one async for one in parked_work.MESSAGES.list(desk.runtime)]
    assert (line["reason"], line["state"]) == ("CrashedError: crashed the process 3 times", "parked")
    assert line["waiting"] == 1
    heard = [viewer for event in events for viewer in await desk.heard(event.streamer_id)]
    assert heard == [viewer for viewer in viewers(events) if viewer != deadly.viewer_id]


async def test_a_process_that_dies_once_makes_nobody_careful(desk: Desk) -> None:
    await desk.say(*blocks(3))
    for _ in range(4):
        await desk.take_over()
        await desk.say(*blocks(3))
        [position] = [row for row in await desk.documents("positions") if row["_id"] == SESSIONS.id]
        assert position["crash_count"] == 1


async def test_a_parked_message_that_kills_the_process_is_told_apart_from_those_around_it(desk: Desk) -> None:
    events, others = blocks(4), blocks(3)
    desk.refused = {events[0].viewer_id, others[0].viewer_id}
    await desk.say(*events, *others)
    desk.refused = set()
    desk.deadly = {events[2].viewer_id}
    deaths = 0
    for _ in range(20):
        try:
            await desk.wait(2)
        except Death:
            deaths += 1
            await desk.take_over()

    assert deaths == 1 + 3  # once with the others, then alone
    [line] = [one async for one in parked_work.MESSAGES.list(desk.runtime)]
    assert (line["reason"], line["head"]) == ("CrashedError: crashed the process 3 times", "sessions:3:2")
    assert await desk.heard(events[0].streamer_id) == viewers(events[:2])
    assert await desk.heard(others[0].streamer_id) == viewers(others)


async def test_who_has_lost_a_partition_changes_nothing(desk: Desk) -> None:
    former, events = desk.processor, blocks(4)
    records = [desk.record(event) for event in events]
    await desk.deliver(*records[:2])
    await desk.take_over()
    await former.process({SESSIONS: records[2:]})
    assert await desk.heard(events[0].streamer_id) == viewers(events[:2])
    assert [owned.partition for owned in former.ownership.lost] == [SESSIONS]

    await desk.deliver(*records[2:])

    assert await desk.heard(events[0].streamer_id) == viewers(events)


async def test_who_loses_a_partition_in_the_middle_of_a_batch_changes_nothing(desk: Desk) -> None:
    former, events = desk.processor, blocks(4)
    records = [desk.record(event) for event in events]

    async def take_over() -> None:
        desk.meanwhile = None
        await desk.take_over()
        await desk.deliver(*records)

    desk.meanwhile = take_over
    await former.process({SESSIONS: records})

    assert await desk.heard(events[0].streamer_id) == viewers(events)
    assert sum(len(row["ids"]) for row in await desk.documents("inbox")) == 4


async def test_a_partition_that_ends_before_its_position_halts(desk: Desk) -> None:
    await desk.say(*blocks(3))
    desk.offsets.clear()  # the topic was made anew
    with pytest.raises(HaltError, match="sessions:3 ends before 3, where it was left"):
        await desk.say(*blocks(1))
