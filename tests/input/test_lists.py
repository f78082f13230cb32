"""Every list, however long, is read off an index in its order: MongoDB looks at what is shown, and sorts nothing.

The questions are those that the services really ask, when one of their users has hundreds of what the list is of.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chassis.service import Service
from chassis.storage.mongo import Driver, Mongo
from chassis_testing.costs import Clones, Commands, Counted, Plan, counted, plans
from conftest import Servers

if TYPE_CHECKING:
    from tests.input.conftest import Deed, Way

CountedOf = Callable[[Service], Awaitable[Counted]]

ROWS, LIMIT = 300, 20
SECONDS = 60
ID = re.compile("[0-9a-f]{24}")
PAGING = frozenset({"limit", "after", "order"})
OTHERWISE: Mapping[str, tuple[Mapping[str, str], ...]] = {
    "GET /goals": ({"mine": "true"}, {"mine": "true", "active": "true"})
}
"""Which other lists there are at the same address."""
ONE_EACH: Mapping[str, frozenset[str]] = {"GET /sessions": frozenset({"streamer_id"})}
"""Of whom there is one at a time: many are many people's."""
WHOLE = frozenset({"GET /ledger/proof"})
"""Sums over everything besides, for OPS alone (SPEC §2)."""
FIXED = frozenset({"GET /shop/products"})
"""Are in no database."""


@pytest.fixture
async def commands() -> Commands:
    return Commands()


@pytest.fixture
async def counted_of(commands: Commands, servers: Servers, mongo_driver: Driver) -> AsyncIterator[CountedOf]:
    """A service on a connection on which every question to MongoDB is heard."""
    listening = Mongo(servers.mongo_url, mongo_driver, listeners=[commands])
    harnesses: list[Counted] = []

    async def start(service: Service) -> Counted:
        harnesses.append(await counted(service, listening, commands))
        return harnesses[-1]

    yield start
    for harness in harnesses:
        await listening.client.drop_database(harness.runtime.database.name)
    await listening.close()


async def test_every_list_is_read_off_one_index_in_its_order(
    ways: "list[Way]", counted_of: CountedOf, commands: Commands, mongo: Mongo
) -> None:
    harness, clones = await counted_of(ways[0].service), Clones(mongo)
    for way in ways:
        if way.method != "GET" or way.label in WHOLE | FIXED:
            continue
        commands.born.clear()
        deed = await way.prepare(harness)
        if "limit" not in deed.query:
            continue
        await lengthen(harness, way, deed, commands, clones)
        commands.queries.clear()

        pages = [page async for page in asked(harness.client(deed.user, *deed.scopes), way, deed)]

        assert max(pages) == LIMIT, f"{way.label} shows {pages}"
        of_list = [plan for plan in await plans(mongo, commands.queries) if "limit" in plan.query.command]
        assert of_list
        assert [f"{way.label}: {why}, in {plan.query}" for plan in of_list for why in wrong(plan)] == []


async def lengthen(harness: Counted, way: "Way", deed: "Deed", commands: Commands, clones: Clones) -> None:
    """Many more of what is there already, of the same people and of whatever the list is of."""
    filters = {name: value for name, value in deed.query.items() if name not in PAGING}
    kept = {deed.user, *deed.path.values(), *(filters[name] for name in filters.keys() - ONE_EACH.get(way.label, ()))}
    born = {
        place: more
        for place, ids in commands.born.items()
        if (more := [id_ for id_ in ids if isinstance(id_, str) and set(ID.findall(id_)) - kept])
    }
    numbered = {"notifications": lambda row, number: {**row, "seq": 100 + number}}
    database = harness.runtime.database
    there = {name: await database[name].count_documents({}) for _, name in born}
    deadline = time.monotonic() + SECONDS
    for _, name in await clones.add(born, ROWS, kept, numbered):
        while await database[name].count_documents({}) < there[name] + ROWS:
            assert time.monotonic() < deadline, f"the majority does not have what was added to {name}"
            await asyncio.sleep(0.01)


async def asked(client: httpx.AsyncClient, way: "Way", deed: "Deed") -> AsyncIterator[int]:
    """How long the pages are, from both ends and from within, of each list at this address."""
    path = way.template.format(**deed.path)
    filters = {name: value for name, value in deed.query.items() if name not in PAGING}
    ordered = ({"order": "asc"}, {"order": "desc"}) if "order" in deed.query else ({},)
    without = ({name: value for name, value in filters.items() if name != left} for left in filters)
    for chosen in (filters, *without, *OTHERWISE.get(way.label, ())):
        for order in ordered:
            query: dict[str, Any] = {**chosen, **order, "limit": LIMIT}
            first = await client.get(path, params=query)
            if first.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
                continue  # that filter has to be there
            for _ in range(3):
                page = first.json()
                yield len(page["items"])
                if page["next"] is None:
                    break
                first = await client.get(path, params={**query, "after": page["next"]})


def wrong(plan: Plan) -> Iterator[str]:
    """What of a plan is not as it must be."""
    stages = plan.stages
    alternatives = len(plan.query.command.get("filter", {}).get("$or", ("one",)))
    most = plan.query.command["limit"] + 2 * alternatives  # of each, the one that it begins with, and the one beyond
    if {"COLLSCAN", "SORT"} & set(stages):
        yield f"not read in order: {stages}"
    if stages.count("IXSCAN") > alternatives:
        yield f"{stages.count('IXSCAN')} indexes for {alternatives} alternatives"
    if plan.keys > most or plan.documents > most:
        yield f"{plan.keys} keys and {plan.documents} documents for {most}"
