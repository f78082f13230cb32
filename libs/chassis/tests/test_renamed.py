"""What the release before has stored under other names: read right, believed while it may run, copied once (ADR 0008).

The documents are as that release has written them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from chassis.clock import SystemClock
from chassis.http import Body, CallerDep, TxDep, TxRouter
from chassis.http.idempotency import IDEMPOTENCY_RECORDS
from chassis.kafka.parking import PARKED, PARKED_KEYS, Parked, ParkedKey, measure_parked
from chassis.kafka.positions import POSITIONS, AttemptCount, Position
from chassis.runtime import parked_work
from chassis.runtime.migrate import check_collections, plan, run_migrations
from chassis.runtime.renamed import former_collections
from chassis.service import Service
from chassis.storage.collection import Collection
from chassis.storage.mongo import Raw
from chassis_testing.service import ServiceHarness
from contracts import ViewerBlockedV1

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
AT = datetime(2026, 11, 26, 20, 0, tzinfo=UTC)
USER = "a" * 24
KEY = {"Idempotency-Key": "k1"}
LANE = "goals:" + "b" * 24

POSITION: Raw = {
    "_id": "goals:3",
    "offset": 41,
    "parked": 1,
    "owner": "worker-1",
    "claimed": 41,
    "deaths": 2,
    "trying": {"offset": 41, "count": 1, "until": 66},
    "_stamp": 7,
}
MESSAGE: Raw = {
    "_id": "goals:3:40",
    "lane": LANE,
    "partition": 3,
    "offset": 40,
    "topic": "goals",
    "key": "b" * 24,
    "headers": [["ce_id", b"1"]],
    "value": b"{}",
    "at": AT,
    "reason": "ValueError: no",
    "_stamp": 7,
}
PARKED_KEY: Raw = {
    "_id": LANE,
    "position": "goals:3",
    "topic": "goals",
    "key": "b" * 24,
    "head": "goals:3:40",
    "type": "goal.ended",
    "reason": "ValueError: no",
    "since": AT,
    "next_try_at": AT,
    "state": "parked",
    "attempts": 5,
    "trying": 1,
    "alone": True,
    "copied": True,
    "_stamp": 7,
}


# -- the release before, as far as it matters --------------------------------------------------------------------------


@dataclass(frozen=True)
class FormerPosition:
    id: str
    offset: int = 0
    parked: int = 0
    owner: str | None = None
    claimed: int = 0
    deaths: int = 0
    trying: AttemptCount | None = None


FORMER_POSITIONS = Collection("positions", FormerPosition)


# -- this one ----------------------------------------------------------------------------------------------------------


class NoteView(Body):
    id: str


router = TxRouter()


@router.post("/notes", status_code=201)
async def write_note(caller: CallerDep, tx: TxDep) -> NoteView:
    tx.emit(ViewerBlockedV1(streamer_id=caller.user_id, viewer_id="c" * 24))
    return NoteView(id=caller.user_id)


SERVICE = Service(name="notes", router=router)


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    harness = await harness_of(SERVICE)
    database = harness.runtime.database  # of the tests before this one, too
    await database["migrations"].delete_many({})
    await database.drop_collection("answers")
    await database[POSITIONS.name].insert_one(dict(POSITION))
    await database[PARKED.name].insert_one(dict(MESSAGE))
    await database[PARKED_KEYS.name].insert_one(dict(PARKED_KEY))
    return harness


@pytest.fixture
async def client(harness: ServiceHarness) -> AsyncIterator[httpx.AsyncClient]:
    async with harness.client(USER) as client:
        yield client


async def _loaded(harness: ServiceHarness) -> tuple[Position | None, Parked | None, ParkedKey | None]:
    async with harness.tx() as tx:
        return (
            await tx.get(POSITIONS, "goals:3"),
            await tx.get(PARKED, "goals:3:40"),
            await tx.get(PARKED_KEYS, LANE),
        )


async def test_what_the_release_before_has_written_is_read_right_before_and_after_it_is_migrated(
    harness: ServiceHarness,
) -> None:
    before = await _loaded(harness)
    await run_migrations(harness.runtime.database, SERVICE, SystemClock())

    position, message, key = before
    assert position == Position("goals:3", 41, 1, "worker-1", 41, 2, AttemptCount(41, 1, 66))
    assert message is not None
    assert message.ordering_key == LANE
    assert key is not None
    assert key.unfinished_attempts == 1
    assert await _loaded(harness) == before


async def test_it_is_migrated_once_and_twice_does_no_harm(harness: ServiceHarness) -> None:
    database = harness.runtime.database
    await database["answers"].insert_one(
        {"_id": "1", "body_hash": b"", "status": 201, "headers": [], "body": b"", "at": AT}
    )
    (step,) = [step.does for step in await plan(database, SERVICE, SystemClock())]
    assert step.startswith("run migration chassis-1 ")

    await run_migrations(database, SERVICE, SystemClock())
    once = await _contents(harness)
    await database["migrations"].delete_many({})
    await run_migrations(database, SERVICE, SystemClock())

    assert await _contents(harness) == once
    assert await check_collections(database, SERVICE) == []
    assert once["positions"] == [{**POSITION, "crash_count": 2, "attempt_count": POSITION["trying"]}]
    assert once["parked"] == [{**MESSAGE, "ordering_key": LANE}]
    assert once["parked_keys"] == [{**PARKED_KEY, "unfinished_attempts": 1}]
    assert once["idempotency_records"] == once["answers"]


async def _contents(harness: ServiceHarness) -> dict[str, list[Raw]]:
    names = ("positions", "parked", "parked_keys", "answers", "idempotency_records")
    return {name: await harness.runtime.database[name].find().to_list(None) for name in names}


async def test_two_releases_in_turns_go_on_with_what_the_other_has_written(harness: ServiceHarness) -> None:
    for crashes in range(3, 9, 2):
        async with harness.tx() as tx:
            position = await tx.get(POSITIONS, "goals:3")
            assert position is not None
            assert position.crash_count == crashes - 1
            tx.put(POSITIONS, replace(position, crash_count=crashes, attempt_count=None))
        async with harness.tx() as tx:
            former = await tx.get(FORMER_POSITIONS, "goals:3")
            assert former == FormerPosition("goals:3", 41, 1, "worker-1", 41, crashes)
            tx.put(FORMER_POSITIONS, replace(former, deaths=crashes + 1))


async def test_what_the_release_before_has_parked_is_counted_and_tried_again(harness: ServiceHarness) -> None:
    [line] = [one async for one in parked_work.MESSAGES.list(harness.runtime)]
    assert line["waiting"] == 0

    await measure_parked(harness.runtime.database)
    assert await parked_work.MESSAGES.replay(harness.runtime.database, SystemClock()) == 1

    stored: Any = await harness.runtime.database["parked_keys"].find_one({})
    assert (stored["state"], stored["trying"], stored["unfinished_attempts"]) == ("retrying", 0, 0)


async def test_an_answer_of_the_release_before_is_given_again_and_that_finds_those_of_this_one(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    database = harness.runtime.database
    first = await client.post("/notes", headers=KEY)
    await database[IDEMPOTENCY_RECORDS.name].rename("answers")
    await database["answers"].update_one({}, {"$set": {"body": b'{"id":"its own"}'}})
    harness.runtime.former_collections.update(await former_collections(database))

    again = await client.post("/notes", headers=KEY)
    other = await client.post("/notes", headers={"Idempotency-Key": "k2"})

    assert (first.status_code, again.text, other.status_code) == (201, '{"id":"its own"}', 201)
    assert len(await harness.published()) == 2
    new = {raw["_id"] for raw in await database[IDEMPOTENCY_RECORDS.name].find().to_list(None)}
    assert len(new) == 1
    assert new < {raw["_id"] for raw in await database["answers"].find().to_list(None)}


async def test_where_no_release_was_before_nothing_is_written_for_it(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    await run_migrations(harness.runtime.database, SERVICE, SystemClock())
    assert await former_collections(harness.runtime.database) == set()

    await client.post("/notes", headers=KEY)

    assert "answers" not in await harness.runtime.database.list_collection_names()
