"""What a batch costs, and what it takes for granted, on a real MongoDB."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from pymongo import monitoring

from chassis import ids
from chassis.clock import SystemClock
from chassis.delivery import Delivery
from chassis.errors import Conflict
from chassis.migrate import create_collections
from chassis.mongo import Driver, Mongo
from chassis.received import Partition
from chassis.runtime import Outside, Runtime
from chassis.service import Service, on
from chassis.testing import KafkaRecord
from chassis.tx import Tx
from contracts import Meta, ViewerBlockedV1, to_message

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
    """A service that listens to one event, and the delivery of one worker."""

    runtime: Runtime
    commands: Commands
    delivery: Delivery = field(init=False)
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
        self.delivery = Delivery(service, self.runtime, ids.new_id())
        await self.claim()

    async def claim(self) -> None:
        self.delivery.held = {PARTITION.id: (await self.delivery.claim([PARTITION]))[0]}

    def record(self, event: ViewerBlockedV1, id_: str | None = None) -> KafkaRecord:
        at = datetime(2026, 1, 31, 20, tzinfo=UTC)
        meta = Meta(id_ or ids.new_id(), event.TYPE, "/tests", event.subject, at, event.key, "c")
        message = to_message(event, meta)
        self.offset += 1
        return KafkaRecord.of(self.offset, message)

    async def deliver(self, *records: KafkaRecord) -> None:
        self.commands.names.clear()
        await self.delivery.deliver({PARTITION: records})

    async def documents(self, name: str) -> list[dict[str, Any]]:
        return await self.runtime.database[name].find().to_list(None)


@pytest.fixture
async def worker(servers: Any, mongo_driver: Driver, namespace: str) -> AsyncIterator[Worker]:
    commands, clock, http = Commands(), SystemClock(), httpx.AsyncClient()
    mongo = Mongo(servers.mongo_url, mongo_driver, listeners=[commands])
    runtime = Runtime("tests", mongo, mongo.database(f"{namespace}-tests"), clock, Outside({}, http, clock))
    worker = Worker(runtime, commands)
    await worker.start()
    yield worker
    await http.aclose()
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
    mine = worker.delivery
    await worker.start()  # another worker, who takes the partition
    await worker.deliver(worker.record(block()))
    late = worker.record(block())
    await mine.deliver({PARTITION: [late]})

    assert [held.partition for held in mine.lost] == [PARTITION]
    assert [row["offset"] for row in await worker.documents("positions")] == [2]
    assert len([id_ for row in await worker.documents("inbox") for id_ in row["ids"]]) == 2
