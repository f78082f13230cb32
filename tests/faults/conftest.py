"""What is lost, what is doubled, where the money is: asked after every fault, in words."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from demo.scene import Scene
from demo.story import DIAMONDS
from demo.world import World
from devstack.stack import Stack

Verdict = Callable[[Scene], Awaitable[list[str]]]
OnAir = Callable[[str, str], Awaitable[Scene]]


@pytest.fixture(scope="session")
async def mongo(stack: Stack) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """The databases behind the services' backs."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(stack.mongo_url)
    yield client
    await client.close()


@pytest.fixture(scope="session")
def on_air(world: World) -> OnAir:
    """A streamer who is on air, a viewer with diamonds, and both their pusher-js clients."""

    async def opened(streamer: str, viewer: str) -> Scene:
        scene = Scene(world, world.person(streamer, "CREATOR"), world.person(viewer), crashes=True)
        await scene.opens(DIAMONDS)
        await scene.goes_on_air()
        return scene

    return opened


@pytest.fixture(scope="session")
def verdict(world: World) -> Verdict:
    """Everything that is wrong after a story, a line each: empty when nothing is lost, doubled or out of order."""

    async def lines(scene: Scene) -> list[str]:
        await world.tap.catch_up()
        return [*await scene.differences(), *await _doubled_entries(scene), *await _unbalanced(world)]

    return lines


async def _doubled_entries(scene: Scene) -> list[str]:
    """A cause moves money once: one hold and one refund of an invitation, whoever died meanwhile."""
    entries = (await scene.world.get(scene.viewer, "/wallets/me/entries"))["items"]
    causes = Counter((entry["kind"], entry["escrow_id"]) for entry in entries if entry["escrow_id"])
    return [
        f"the ledger has {n} times a {kind} of {scene.world.plain(escrow)}"
        for (kind, escrow), n in causes.items()
        if n > 1
    ]


async def _unbalanced(world: World) -> list[str]:
    proof = await world.proof()
    total = sum(proof.accounts.values())
    lines = [f"the ledger sums to {total} diamonds, the service says {proof.sum_diamonds}, holds: {proof.holds}"]
    parked = [f"a message was parked: {line}" for line in world.tap.parked]
    return ([] if proof.holds and total == proof.sum_diamonds == 0 else lines) + parked
