"""What never held money is forgotten, by MongoDB itself; what ever did is not (SPEC §3, §5, §8)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from chassis.storage.collection import Collection
from chassis.storage.mongo import Mongo
from escrow import store as of_escrow
from goals import store as of_goals
from sessions import store as of_sessions
from shop import store as of_shop

if TYPE_CHECKING:
    from tests.house.conftest import House, HouseAt

ROSE = "livestream-gift_rose"
LONG_AGO = timedelta(days=9)  # longer than escrow keeps a refusal after its request's `exp`
LATELY = timedelta(hours=6)  # shorter than anybody keeps one
PATIENCE_SECONDS = 130.0  # the round that MongoDB is in lasts for up to a minute

Ids = dict[str, set[str]]


@pytest.fixture
async def quick_ttl(mongo: Mongo) -> AsyncIterator[None]:
    """MongoDB looks for what has expired every second instead of every minute."""
    before = await mongo.client.admin.command("getParameter", 1, ttlMonitorSleepSecs=1)
    await mongo.client.admin.command("setParameter", 1, ttlMonitorSleepSecs=1)
    await mongo.client.admin.command("setParameter", 1, ttlMonitorEnabled=True)
    yield
    await mongo.client.admin.command("setParameter", 1, ttlMonitorEnabled=False)
    await mongo.client.admin.command("setParameter", 1, ttlMonitorSleepSecs=before["ttlMonitorSleepSecs"])


async def kept(house: House) -> Ids:
    """All that money can be asked with: ids, by service and collection."""
    rows: list[tuple[Any, Collection[Any]]] = [
        (house.goals, of_goals.GOALS),
        (house.escrow, of_escrow.EARNINGS),
        (house.escrow, of_escrow.PAYMENTS),
        (house.sessions, of_sessions.PAYMENTS),
        (house.shop, of_shop.GIFTS),
    ]
    ids: Ids = {}
    for harness, collection in rows:
        found = await harness.runtime.database[collection.name].find({}, {"_id": 1}).to_list(None)
        ids[f"{harness.service.name}.{collection.name}"] = {row["_id"] for row in found}
    return ids


async def ask_for_everything(house: House, diamonds: int) -> Ids:
    """Somebody with so much to spend asks for a 1-on-1, minutes, roses for a goal and for none; what that leaves."""
    goal = await house.ask_for_gifts(10_000)
    await house.system.run_until_idle()
    viewer, before = await house.viewer(diamonds), await kept(house)
    asked = [
        await house.invite(viewer),
        await house.pay(viewer),
        *[await house.give(viewer, goal_id, ROSE) for goal_id in (goal.json()["goal_id"], None)],
    ]
    assert [response.status_code for response in asked] == [202] * 4
    await house.system.run_until_idle()
    await house.delete(goal.json()["goal_id"])
    await house.system.run_until_idle()
    return {name: ids - before[name] for name, ids in (await kept(house)).items()}


async def until(what: str, condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"not after {PATIENCE_SECONDS} s: {what}"
        await asyncio.sleep(0.2)


@pytest.mark.usefixtures("quick_ttl")
async def test_what_never_held_money_is_forgotten_after_its_time_and_nothing_else(house_at: HouseAt) -> None:
    today = datetime.now(UTC)  # MongoDB's own clock decides what has expired
    house = await house_at(today - LONG_AGO)
    paid, refused = await ask_for_everything(house, 1_000), await ask_for_everything(house, 0)
    assert {name: len(ids) for name, ids in refused.items()} == {
        "goals.goals": 1,
        "sessions.payments": 1,
        "shop.gifts": 2,
        "escrow.earnings": 2,
        "escrow.payments": 2,
    }
    house.system.clock.advance_to(today - LATELY)
    await house.system.run_until_idle()
    await house.open()

    lately = await ask_for_everything(house, 0)
    before = await kept(house)

    async def forgotten() -> bool:
        there = await kept(house)
        return not any(there[name] & ids for name, ids in refused.items())

    await until("all that was refused long ago is forgotten", forgotten)
    assert await kept(house) == {name: ids - refused[name] for name, ids in before.items()}
    assert all(paid.values())
    assert all(lately.values())
