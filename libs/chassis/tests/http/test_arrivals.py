"""Commands that came before the event they rest on: they go on once it is there, and cost next to nothing till then."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from pymongo import monitoring

from chassis import ids
from chassis.errors import NotYet
from chassis.http import Body, CallerDep, TxDep, TxRouter
from chassis.http.arrivals import LOOK_SECONDS, Arrivals
from chassis.http.edge import WAITING_MAX
from chassis.service import Service
from chassis.storage.collection import Collection
from chassis.storage.mongo import Driver, Mongo
from chassis_testing.service import ServiceHarness
from conftest import Servers

USER = "a" * 24
LONG_SECONDS = 10.0  # the most that may be set: nobody's time is up, however busy the machine is


@dataclass(frozen=True, slots=True)
class Album:
    """What another service tells of; its owner is known by it only."""

    id: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is stuck into one."""

    id: str
    album_id: str


ALBUMS, OWNERS, STAMPS = Collection("albums", Album), Collection("owners", Album), Collection("stamps", Stamp)


class NewStamp(Body):
    album_id: str


router = TxRouter()


@router.post("/stamps", status_code=201, group_commit=True)
async def stick(body: NewStamp, _caller: CallerDep, tx: TxDep) -> NewStamp:
    album = await tx.get(ALBUMS, body.album_id)
    if album is None:
        raise NotYet("album")
    if album.owner and await tx.get(OWNERS, album.owner) is None:
        raise NotYet("owner")
    tx.insert(STAMPS, Stamp(ids.new_id(), album.id))
    return body


SERVICE = Service(name="shop", router=router, collections=(ALBUMS, OWNERS, STAMPS))


class Asked(monitoring.CommandListener):
    """Commands to MongoDB, by their names."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.times[event.command_name] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def counting(servers: Servers, mongo_driver: Driver, asked: Asked) -> AsyncIterator[Mongo]:
    mongo = Mongo(servers.mongo_url, mongo_driver, listeners=[asked], patient=True)
    yield mongo
    await mongo.close()


@pytest.fixture
async def harness(counting: Mongo, namespace: str) -> AsyncIterator[ServiceHarness]:
    database = counting.database(namespace)
    harness = await ServiceHarness.start(SERVICE, counting, database, env={"UNKNOWN_WAIT_SECONDS": LONG_SECONDS})
    yield harness
    await harness.runtime.outside.http.close()
    await counting.client.drop_database(namespace)


async def store(harness: ServiceHarness, *albums: Album, collection: Collection[Album] = ALBUMS) -> None:
    async with harness.tx() as tx:
        for album in albums:
            tx.put(collection, album)


async def stick_into(harness: ServiceHarness, album_id: str) -> int:
    """By somebody new each time: one caller may not wait often."""
    answer = await harness.client(ids.new_id()).post("/stamps", json={"album_id": album_id})
    return answer.status_code


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


async def test_all_who_wait_ask_one_question_and_share_transactions(harness: ServiceHarness, asked: Asked) -> None:
    album_ids = [ids.new_id() for _ in range(WAITING_MAX)]
    sticking = [asyncio.create_task(stick_into(harness, album_id)) for album_id in album_ids]
    await until(lambda: asked.times["aggregate"] >= 5)
    looked = Counter(asked.times)
    await until(lambda: asked.times["aggregate"] >= looked["aggregate"] + 5)

    waited = asked.times - looked
    await store(harness, *map(Album, album_ids))
    statuses = await asyncio.gather(*sticking)

    assert statuses == [201] * WAITING_MAX
    assert waited.keys() == {"aggregate"}  # however many wait
    stamps = await harness.runtime.database["stamps"].find().to_list(None)
    assert {stamp["album_id"] for stamp in stamps} == set(album_ids)
    assert asked.times["commitTransaction"] < WAITING_MAX / 4


async def test_who_waits_goes_on_when_what_it_waits_for_is_there_and_nobody_else_does(harness: ServiceHarness) -> None:
    here, elsewhere = ids.new_id(), ids.new_id()
    going, staying = (asyncio.create_task(stick_into(harness, album_id)) for album_id in (here, elsewhere))
    await asyncio.sleep(0)
    await store(harness, Album(here))

    assert await going == 201
    assert not staying.done()

    await store(harness, Album(elsewhere))
    assert await staying == 201


async def test_what_shows_only_then_what_else_is_missing_is_waited_for_again(harness: ServiceHarness) -> None:
    album_id, owner = ids.new_id(), ids.new_id()
    sticking = asyncio.create_task(stick_into(harness, album_id))
    await store(harness, Album(album_id, owner))
    await asyncio.sleep(3 * LOOK_SECONDS)
    assert not sticking.done()

    await store(harness, Album(owner), collection=OWNERS)

    assert await sticking == 201


async def test_commands_that_share_a_transaction_load_together_what_they_read(
    harness: ServiceHarness, asked: Asked
) -> None:
    albums = [Album(ids.new_id(), ids.new_id()) for _ in range(40)]
    await store(harness, *albums)
    await store(harness, *(Album(album.owner) for album in albums), collection=OWNERS)
    await stick_into(harness, albums[0].id)
    asked.times.clear()

    statuses = await asyncio.gather(*(stick_into(harness, album.id) for album in albums))

    assert statuses == [201] * 40
    # One find for albums and one for their owners in each; besides, two lists that a process looks at once a second.
    assert asked.times["find"] <= 2 * asked.times["commitTransaction"] + 4
    assert asked.times["commitTransaction"] < 10


async def test_what_stays_unknown_costs_two_attempts(harness: ServiceHarness, asked: Asked) -> None:
    database = harness.runtime.database
    hasty = await ServiceHarness.start(SERVICE, harness.runtime.mongo, database, env={"UNKNOWN_WAIT_SECONDS": 0.5})
    asked.times.clear()

    answer = await hasty.client(USER).post("/stamps", json={"album_id": ids.new_id()})

    assert (answer.status_code, answer.json()["title"]) == (404, "No such album.")
    assert asked.times["abortTransaction"] == 2
    await hasty.runtime.outside.http.close()


async def test_what_has_come_before_the_wait_began_is_seen(harness: ServiceHarness) -> None:
    arrivals = Arrivals(harness.runtime.mongo, harness.runtime.database)
    one, other, never = ids.new_id(), ids.new_id(), ids.new_id()
    await store(harness, Album(one))
    await store(harness, Album(other), collection=OWNERS)

    async with asyncio.timeout(60):
        await asyncio.gather(
            arrivals.wait([ALBUMS.ref(one)], 1_000),
            arrivals.wait([STAMPS.ref(never), OWNERS.ref(other)], 1_000),
            arrivals.wait([ALBUMS.ref(never), OWNERS.ref(one)], 0.5),  # of another collection: until time is up
        )


async def test_a_database_that_fails_is_asked_again_until_time_is_up(counting: Mongo, asked: Asked) -> None:
    arrivals = Arrivals(counting, counting.database("no-name-of-over-63-bytes-" * 4))

    async with asyncio.timeout(60):
        waiting = asyncio.create_task(arrivals.wait([ALBUMS.ref(USER)], 1_000))
        await until(lambda: asked.times["aggregate"] >= 3)
        assert not waiting.done()
        waiting.cancel()
        await arrivals.wait([ALBUMS.ref(USER)], 0.2)
