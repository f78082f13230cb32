"""The whole system, started once for the stories and the faults: a stack of the tests' own, with short times."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chassis.clock import SystemClock
from chassis.context import Outside, Runtime
from chassis.effects.vendor_client import VendorClient
from chassis.storage.mongo import Mongo
from demo.settings import SETTINGS
from demo.waiting import until
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
    data: Path = tmp_path_factory.mktemp("system")
    with Stack(data, environ={**plain, **SETTINGS, **QUICK_GROUPS, **LASTING_INVITATIONS, **SMALL_SLICES}) as running:
        yield running


@pytest.fixture(scope="session")
async def world(stack: Stack) -> AsyncIterator[World]:
    async with open_world(stack.status(), SETTINGS) as running:
        yield running


@pytest.fixture(scope="session")
async def neighbours(world: World) -> dict[str, int]:
    """Two who have money in both wallets, to spend and earned, and nothing to do with any story: their accounts."""
    ann, bob = world.person("Ann", "CREATOR"), world.person("Bob")
    await world.credit(bob, 1_000)
    started = await world.command(ann, "POST", "/sessions", {"prices": {"sd": 5}})
    session_id = started.json()["session_id"]
    rose = {"product_id": "livestream-gift_rose", "session_id": session_id, "count": 1}
    given = (await world.command(bob, "POST", "/gifts", rose)).json()

    async def status() -> str:
        return str((await world.get(bob, f"/gifts/{given['gift_id']}"))["status"])

    await until("Ann has Bob's rose", status, lambda said: said == "sent")
    await world.command(ann, "DELETE", f"/sessions/{session_id}")
    cost = given["amount_diamonds"]
    return {f"wallet:{bob.id}": 1_000 - cost, f"earnings:{ann.id}": cost}


@pytest.fixture
async def proven(stack: Stack, world: World, neighbours: dict[str, int]) -> AsyncIterator[None]:
    """After a test of the whole system its books are proven, while it runs: from balances, and from the transfers.

    The neighbours have in both wallets what they had.
    """
    yield
    proof = await world.proof()
    assert proof.holds
    assert {account: proof.accounts[account] for account in neighbours} == neighbours
    mongo = Mongo(stack.mongo_url)
    outside = Outside({}, VendorClient(), SystemClock())
    runtime = Runtime("escrow", mongo, mongo.database("escrow"), SystemClock(), outside)
    assert [difference async for difference in recount_all(runtime)] == []
    await mongo.close()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Item | None) -> None:
    """Stop the system with its last story here: even idle it takes a quarter of a processor from the other tests."""
    ours = _stacks_of(item)
    if ours != _stacks_of(nextitem):  # another suite's has the same name
        for fixture in ours:
            fixture.finish(item._request)  # type: ignore[arg-type] # noqa: SLF001 - no scope of pytest's ends here


def _stacks_of(item: pytest.Item | None) -> Sequence[pytest.FixtureDef[Any]]:
    if not isinstance(item, pytest.Function):
        return ()
    return item._fixtureinfo.name2fixturedefs.get("stack", ())  # noqa: SLF001 - as above
