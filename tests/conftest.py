"""The whole system, started once for the stories and the faults: a stack of the tests' own, with short times."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from chassis.clock import SystemClock
from chassis.mongo import Mongo
from chassis.runtime import Outside, Runtime
from demo.settings import SETTINGS
from demo.world import World, open_world
from devstack.settings import VARIABLES
from devstack.stack import Stack
from escrow.handlers.recount import recount_all

# A stopped worker's partitions are free after this long; the default is for networks.
QUICK_GROUPS = {"KAFKA_SESSION_TIMEOUT_SECONDS": "2"}

# Longer than the demo's: an invitation outlives the death of any process, and of several on a busy machine.
LASTING_INVITATIONS = {"INVITATION_SECONDS": "30", "PROPOSAL_SECONDS": "60"}

# So few at once that a run over the tickets of a story takes several transactions, and can die between them.
SMALL_SLICES = {"SETTLEMENT_SLICE": "2"}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    plain = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    data: Path = tmp_path_factory.mktemp("evening")
    with Stack(data, environ={**plain, **SETTINGS, **QUICK_GROUPS, **LASTING_INVITATIONS, **SMALL_SLICES}) as running:
        yield running


@pytest.fixture(scope="session")
async def world(stack: Stack) -> AsyncIterator[World]:
    async with open_world(stack.status(), SETTINGS) as running:
        yield running


@pytest.fixture
async def proven(stack: Stack, world: World) -> AsyncIterator[None]:
    """After a test of the whole system its books are proven, while it runs: from balances, and from the transfers.

    With money in two wallets at least, so that nobody can have another's.
    """
    yield
    for name in ("Ann", "Bob"):
        await world.credit(world.person(name), 1)
    assert (await world.proof()).holds
    mongo = Mongo(stack.mongo_url)
    async with httpx.AsyncClient() as unused:
        runtime = Runtime("escrow", mongo, mongo.database("escrow"), SystemClock(), Outside({}, unused, SystemClock()))
        assert [difference async for difference in recount_all(runtime)] == []
    await mongo.close()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Item | None) -> None:
    """Stop the system with its last story here: even idle it takes a quarter of a processor from the other tests."""
    if "stack" in item.fixturenames and "stack" not in getattr(nextitem, "fixturenames", ()):
        for fixture in item._fixtureinfo.name2fixturedefs["stack"]:  # noqa: SLF001 - no scope of pytest's ends here
            fixture.finish(item._request)  # type: ignore[arg-type] # noqa: SLF001 - as above; any request does
