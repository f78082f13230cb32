"""What grows with what came before is noticed, and what does not is not."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from chassis import ids
from chassis.http import CallerDep, TxDep, TxRouter
from chassis.service import Service, on
from chassis.storage.collection import Collection, Index
from chassis.storage.mongo import Driver, Mongo
from chassis.storage.tx import Tx
from chassis_testing.costs import Clones, Commands, Counted, all_labels, counted, grown, plans
from conftest import Servers
from contracts import ViewerBlockedV1

FEW, MANY = 1, 300
USER = "a" * 24


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that somebody did, and what came of it."""

    id: str
    user_id: str
    outcome_id: str
    note: str = "as before"


DEEDS = Collection("deeds", Deed, indexes=(Index({"user_id": 1, "_id": 1}),))
OUTCOMES = Collection("outcomes", Deed)
router = TxRouter()


def do(tx: Tx, user_id: str) -> None:
    deed = Deed(ids.new_id(), user_id, ids.new_id())
    tx.insert(DEEDS, deed)
    tx.put(OUTCOMES, Deed(deed.outcome_id, user_id, deed.id))


@router.post("/deeds")
async def do_one(caller: CallerDep, tx: TxDep) -> None:
    do(tx, caller.user_id)


@router.post("/deeds/{hog}")
async def look_at_all(hog: str, caller: CallerDep, tx: TxDep) -> None:
    await tx.find(DEEDS, {"user_id": caller.user_id} if hog == "all" else {"note": "of which there is none"})


@router.get("/deeds")
async def last(caller: CallerDep, tx: TxDep) -> None:
    await tx.find(DEEDS, {"user_id": caller.user_id}, sort={"_id": -1}, limit=1)


async def block(event: ViewerBlockedV1, tx: Tx) -> None:
    do(tx, event.viewer_id)
    await tx.find(DEEDS, {"user_id": event.viewer_id})


SERVICE = Service("hogs", router, handlers=(on(ViewerBlockedV1, block),), collections=(DEEDS, OUTCOMES))


@pytest.fixture
async def harness(servers: Servers, mongo_driver: Driver) -> AsyncIterator[Counted]:
    commands = Commands()
    mongo = Mongo(servers.mongo_url, mongo_driver, listeners=[commands])
    harness = await counted(SERVICE, mongo, commands)
    yield harness
    await harness.runtime.outside.http.close()
    await mongo.client.drop_database(harness.runtime.database.name)
    await mongo.close()


async def play(harness: Counted) -> None:
    client = harness.client(USER)
    for method, path in (("POST", "/deeds"), ("POST", "/deeds/all"), ("POST", "/deeds/unindexed"), ("GET", "/deeds")):
        answer = await client.request(method, path)
        assert answer.is_success, answer.text
    await harness.handle(ViewerBlockedV1(streamer_id="b" * 24, viewer_id=USER))


async def test_what_loads_all_that_came_before_costs_more(harness: Counted, mongo: Mongo) -> None:
    await play(harness)
    harness.commands.take()
    await play(harness)
    few = harness.commands.take()
    await Clones(mongo).add(harness.commands.born, MANY, {USER})
    await play(harness)

    many = harness.commands.take()

    assert few.keys() == many.keys() == all_labels(SERVICE)
    assert [line.partition(": ")[2].partition(": ")[0] for line in grown([few, many])] == [
        "POST /deeds/{hog}",
        "viewer.blocked.v1",
    ]


async def test_what_no_index_leads_to_is_named(harness: Counted, mongo: Mongo) -> None:
    await play(harness)
    await Clones(mongo).add(harness.commands.born, MANY, {USER})
    harness.commands.queries.clear()
    await play(harness)

    asked = await plans(mongo, harness.commands.queries)

    assert [plan.query.label for plan in asked if plan.scans] == ["hogs: POST /deeds/{hog}"]
    looked_at = {plan.query.label: plan.looked_at for plan in asked if plan.query.command["find"] == "deeds"}
    assert looked_at["hogs: GET /deeds"] == 2  # a key and its document
    assert looked_at["hogs: viewer.blocked.v1"] > MANY


async def test_clones_keep_what_belongs_together(harness: Counted, mongo: Mongo) -> None:
    async with harness.tx() as tx:
        do(tx, USER)

    made = await Clones(mongo).add(harness.commands.born, MANY, {USER})

    name = harness.runtime.database.name
    assert made == {(name, "deeds"): MANY, (name, "outcomes"): MANY}
    async with harness.tx() as tx:
        deeds, outcomes = await tx.find(DEEDS, {}), await tx.find(OUTCOMES, {})
    assert len({deed.id for deed in deeds}) == MANY + 1
    assert {(deed.id, deed.outcome_id, deed.user_id) for deed in deeds} == {
        (outcome.outcome_id, outcome.id, USER) for outcome in outcomes
    }
