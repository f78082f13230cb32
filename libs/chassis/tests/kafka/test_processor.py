"""What a batch costs, and what it takes for granted, on a real MongoDB."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import APIRouter
from pymongo import monitoring

from chassis import ids
from chassis.clock import SystemClock
from chassis.context import Outside, Runtime
from chassis.effects.vendor_client import VendorClient
from chassis.errors import Conflict
from chassis.kafka.decoding import Partition
from chassis.kafka.parking import CRASHES_MAX
from chassis.kafka.processor import ISOLATION_GROUP, BatchProcessor
from chassis.runtime.migrate import create_collections
from chassis.service import Service, on
from chassis.storage.mongo import Driver, Mongo
from chassis.storage.tx import Tx
from chassis_testing.service import KafkaRecord
from contracts import ViewerBlockedV1

PARTITION = Partition("sessions", 0)


class Commands(monitoring.CommandListener):
    """Remembers what MongoDB was asked to do."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        target = event.command[event.command_name]
        self.names.append(f"{event.command_name} {target}" if isinstance(target, str) else event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


class Refused(Conflict, slug="refused"):
    """Not this viewer."""


@dataclass
class Worker:
    """A service that listens to one event, and the processor of one worker."""

    runtime: Runtime
    commands: Commands
    processor: BatchProcessor = field(init=False)
    handled: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    offset: int = -1

    async def handle(self, event: ViewerBlockedV1, _tx: Tx) -> None:
        self.handled.append(event.viewer_id)
        if event.viewer_id in self.refused:
            raise Refused

    async def start(self) -> None:
        service = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, self.handle),))
        await create_collections(self.runtime.database, service)
        self.processor = BatchProcessor(service, self.runtime, ids.new_id())
        await self.claim()

    async def claim(self) -> None:
        [owned] = await self.processor.ownership.claim([PARTITION])
        self.processor.ownership.take_in_hand(owned)

    def record(self, event: ViewerBlockedV1, id_: str | None = None) -> KafkaRecord:
        self.offset += 1
        return KafkaRecord.of_event(self.offset, event, id_, datetime(2026, 1, 31, 20, tzinfo=UTC))

    async def deliver(self, *records: KafkaRecord) -> None:
        self.commands.names.clear()
        await self.processor.process({PARTITION: records})

    async def documents(self, name: str) -> list[dict[str, Any]]:
        return await self.runtime.database[name].find().to_list(None)


@pytest.fixture
async def worker(servers: Any, mongo_driver: Driver, namespace: str) -> AsyncIterator[Worker]:
    commands, clock = Commands(), SystemClock()
    mongo = Mongo(servers.mongo_url, mongo_driver, listeners=[commands])
    runtime = Runtime("tests", mongo, mongo.database(f"{namespace}-tests"), clock, Outside({}, VendorClient(), clock))
    worker = Worker(runtime, commands)
    await worker.start()
    yield worker
    await mongo.client.drop_database(runtime.database.name)
    await mongo.close()


def block(streamer: str | None = None) -> ViewerBlockedV1:
    return ViewerBlockedV1(streamer_id=streamer or ids.new_id(), viewer_id=ids.new_id())


TRUSTING = ["update positions", "insert inbox", "commitTransaction"]


async def test_a_batch_looks_at_nothing_but_what_its_handlers_need(worker: Worker) -> None:
    await worker.deliver(worker.record(block()))
    assert worker.commands.names == TRUSTING

    await worker.deliver(*(worker.record(block()) for _ in range(3)))
    assert worker.commands.names == TRUSTING
    assert [row["offset"] for row in await worker.documents("positions")] == [4]


async def test_an_event_that_came_before_is_noticed_by_writing_and_handled_once(worker: Worker) -> None:
    event = block()
    await worker.deliver(worker.record(event, "e1"))
    await worker.deliver(worker.record(block(), "e2"), worker.record(event, "e1"), worker.record(block(), "e3"))

    assert sorted(id_ for row in await worker.documents("inbox") for id_ in row["ids"]) == [
        "/tests e1",
        "/tests e2",
        "/tests e3",
    ]
    assert [row["offset"] for row in await worker.documents("positions")] == [4]
    await worker.deliver(worker.record(block()))
    assert worker.commands.names == TRUSTING


async def test_an_event_that_fails_because_it_came_before_is_not_parked_nor_is_what_follows_it(worker: Worker) -> None:
    first, second = block(), block()
    await worker.deliver(worker.record(first, "e1"))
    worker.refused = {first.viewer_id}
    again = ViewerBlockedV1(streamer_id=first.streamer_id, viewer_id=second.viewer_id)
    await worker.deliver(worker.record(first, "e1"), worker.record(again, "e2"))

    assert await worker.documents("parked") == []
    assert sorted(id_ for row in await worker.documents("inbox") for id_ in row["ids"]) == ["/tests e1", "/tests e2"]


async def test_an_event_that_fails_is_tried_once_in_its_batch_and_the_rest_is_kept(worker: Worker) -> None:
    await worker.deliver(worker.record(block()))
    bad = block()
    worker.refused = {bad.viewer_id}
    await worker.deliver(worker.record(block()), worker.record(bad), worker.record(block()))

    assert worker.handled.count(bad.viewer_id) == 1
    assert [row["offset"] for row in await worker.documents("positions")] == [4]
    assert len(await worker.documents("parked")) == 1


async def test_a_position_that_somebody_else_has_written_is_noticed_by_writing(worker: Worker) -> None:
    await worker.deliver(worker.record(block()))
    mine = worker.processor
    await worker.start()  # another worker, who takes the partition
    await worker.deliver(worker.record(block()))
    late = worker.record(block())
    await mine.process({PARTITION: [late]})

    assert [owned.partition for owned in mine.ownership.lost] == [PARTITION]
    assert [row["offset"] for row in await worker.documents("positions")] == [2]
    assert len([id_ for row in await worker.documents("inbox") for id_ in row["ids"]]) == 2


async def deaths(worker: Worker) -> int:
    [position] = await worker.documents("positions")
    return int(position["crash_count"])


def another(worker: Worker) -> BatchProcessor:
    """Another process's."""
    return BatchProcessor(Service("tests", APIRouter()), worker.runtime, ids.new_id())


async def test_a_claim_that_a_rebalance_interrupts_is_no_death_and_makes_none_forgotten(worker: Worker) -> None:
    await another(worker).ownership.claim([PARTITION])  # and the first one, who had it in hand, has died
    assert await deaths(worker) == 1

    for _ in range(3):
        interrupted = another(worker)
        await interrupted.ownership.claim([PARTITION])
        await interrupted.ownership.claim([PARTITION])
        await interrupted.ownership.release(interrupted.ownership.drop_all())

    assert await deaths(worker) == 2  # that of the other one above


async def die_in(worker: Worker, count: int) -> None:
    """The process ends in the middle of its next attempt at `count` records, and another claims the partition."""
    owned = worker.processor.ownership.owned[PARTITION.id]
    first = owned.position.offset
    await worker.processor._count_try(owned, first, first + count)  # noqa: SLF001 - the moment of its death
    worker.processor.ownership.owner = ids.new_id()
    await worker.claim()
    worker.processor.ownership.owned[PARTITION.id].isolated_until = 500


async def test_a_crash_costs_the_group_in_which_it_came_and_not_all_that_waits(worker: Worker) -> None:
    records = [worker.record(block()) for _ in range(200)]
    worker.processor.ownership.owned[PARTITION.id].isolated_until = 500
    await worker.deliver(*records[:100])
    in_groups = worker.commands.names.count("commitTransaction")

    await die_in(worker, ISOLATION_GROUP)
    await worker.deliver(*records[100:])
    after_a_crash = worker.commands.names.count("commitTransaction")

    assert len(worker.handled) == 200
    assert in_groups == 100 // ISOLATION_GROUP * 2
    assert after_a_crash == 75 // ISOLATION_GROUP * 2 + ISOLATION_GROUP * 2


async def test_a_record_of_a_group_in_which_a_process_died_is_parked_after_its_own_crashes_only(worker: Worker) -> None:
    records = [worker.record(block()) for _ in range(10)]
    await die_in(worker, 10)
    for _ in range(CRASHES_MAX):
        await die_in(worker, 1)

    await worker.deliver(*records)

    [key] = await worker.documents("parked_keys")
    assert key["reason"] == f"CrashedError: crashed the process {CRASHES_MAX} times"
    assert len(worker.handled) == 9


async def test_who_has_begun_and_lets_go_leaves_no_deaths(worker: Worker) -> None:
    await another(worker).ownership.claim([PARTITION])
    await worker.claim()
    assert await deaths(worker) == 2
    await worker.deliver(worker.record(block()))

    await worker.processor.ownership.release(worker.processor.ownership.drop_all())

    assert await deaths(worker) == 0
