"""What is lost, what is doubled, where the money is: asked after every fault, in words."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from demo.scene import Scene
from demo.story import DIAMONDS
from demo.world import Proof, World
from devstack.stack import Stack

Mongo = AsyncMongoClient[dict[str, Any]]
Verdict = Callable[[Scene], Awaitable[list[str]]]
OnAir = Callable[..., Awaitable[Scene]]


@pytest.fixture(scope="session")
async def mongo(stack: Stack) -> AsyncIterator[Mongo]:
    """The databases behind the services' backs."""
    client: Mongo = AsyncMongoClient(stack.mongo_url)
    yield client
    await client.close()


@pytest.fixture(scope="session")
def on_air(world: World) -> OnAir:
    """A streamer who is on air, a viewer or two with diamonds, and the pusher-js clients of all."""

    async def opened(streamer: str, viewer: str, friend: str | None = None, diamonds: int = DIAMONDS) -> Scene:
        guest = world.person(friend) if friend else None
        scene = Scene(world, world.person(streamer, "CREATOR"), world.person(viewer), guest, crashes=True)
        await scene.opens(diamonds)
        await scene.goes_on_air()
        return scene

    return opened


@pytest.fixture(scope="session")
def verdict(world: World, mongo: Mongo) -> Verdict:
    """Everything that is wrong after a story, a line each: empty when nothing is lost, doubled or out of order."""

    async def lines(scene: Scene) -> list[str]:
        await world.tap.catch_up()
        proof = await world.proof()
        return [
            *await scene.differences(),
            *await _doubled_money(mongo),
            *await _different_balances(mongo, proof.accounts),
            *_unbalanced(proof),
            *(f"a message was parked: {line}" for line in world.tap.parked),
        ]

    return lines


@pytest.fixture(autouse=True)
def books(proven: None) -> None:
    """The books are proven after every fault; no test can forget it."""


async def _doubled_money(mongo: Mongo) -> list[str]:
    """A cause moves money once: one hold, one refund of an earning, whoever died meanwhile."""
    once: list[dict[str, Any]] = [
        {"$group": {"_id": {"kind": "$kind", "cause": "$cause"}, "times": {"$sum": 1}}},
        {"$match": {"times": {"$gt": 1}}},
    ]
    doubled = await (await mongo["escrow"]["transfers"].aggregate(once)).to_list()
    return [f"the ledger has {row['times']} times a {row['_id']['kind']} of {row['_id']['cause']}" for row in doubled]


async def _different_balances(mongo: Mongo, accounts: Mapping[str, int]) -> list[str]:
    """What an account holds, counted from its transfers."""
    legs = [
        {"account": "$debit", "amount": {"$multiply": ["$amount_diamonds", -1]}},
        {"account": "$credit", "amount": "$amount_diamonds"},
    ]
    sums: list[dict[str, Any]] = [
        {"$project": {"leg": legs}},
        {"$unwind": "$leg"},
        {"$group": {"_id": "$leg.account", "sum": {"$sum": "$leg.amount"}}},
    ]
    counted = await (await mongo["escrow"]["transfers"].aggregate(sums)).to_list()
    return [
        f"{row['_id']} holds {accounts.get(row['_id'])} diamonds, its transfers come to {row['sum']}"
        for row in counted
        if accounts.get(row["_id"]) != row["sum"]
    ]


def _unbalanced(proof: Proof) -> list[str]:
    total = sum(proof.accounts.values())
    if proof.holds and total == proof.sum_diamonds == 0:
        return []
    return [f"the ledger sums to {total} diamonds, the service says {proof.sum_diamonds}, holds: {proof.holds}"]
