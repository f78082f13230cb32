"""What is said by different owners may be heard in any order, one by one or together: a service ends in the same state.

Whole scenarios are played once. Then another instance of each service handles all of it again, from the state in which
it was when the scenario began: the topics one after the other in every order, so that of every two events of different
owners each comes first once; mixed by chance; in batches that hold every two handlers; and each event twice.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from chassis.clock import ManualClock
from chassis.timers.model import TIMERS
from chassis_testing.service import ServiceHarness
from chassis_testing.system import ServiceSystem, Waiting

if TYPE_CHECKING:
    from tests.house.conftest import House

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
Rows = dict[str, list[dict[str, Any]]]
MIXED = 6  # orders by chance, beside all orders of the topics
ROSE = "livestream-gift_rose"


async def play_exclusive(house: House, buyers: list[str]) -> None:
    """Kept, extended; then another one, broken off; and one that was refused."""
    buyer = buyers[0]
    for answer in ("kept", "broken off", "refused"):
        invitation = (await house.invite(buyer)).json()["goal_id"]
        await house.system.run_until_idle()
        assert (await house.delete(invitation, agree=answer != "refused")).status_code == 204
        house.system.clock.advance(1)
        await house.system.run_until_idle()
        if answer != "refused":
            exclusive = (await house.begin_exclusive(invitation)).json()["goal_id"]
            await house.extend(exclusive)
            await house.system.pass_time(200 if answer == "kept" else 5)
        if answer == "broken off":
            assert (await house.delete(exclusive)).status_code == 204
        await house.system.run_until_idle()


async def play_show(house: House, buyers: list[str]) -> None:
    """Funded, with a ticket too late; a show that is broken off; and one that is kept. Minutes and a song beside it."""
    for answer in ("broken off", "kept"):
        funding = (await house.fund(target=2, seconds=60)).json()["goal_id"]
        await house.system.run_until_idle()
        for buyer in buyers:
            await house.give(buyer, funding)
            await house.pay(buyer)
        await house.system.run_until_idle()
        await house.give(buyers[0], funding)
        assert (await house.delete(funding)).status_code == 204
        show = (await house.perform(funding)).json()["goal_id"]
        await house.give(buyers[0], None, "karaoke-song_60")
        await house.system.pass_time(70 if answer == "kept" else 5)
        if answer == "broken off":
            assert (await house.delete(show)).status_code == 204
        await house.system.run_until_idle()


async def play_private(house: House, buyers: list[str]) -> None:
    """Reached, and not reached."""
    buyer = buyers[0]
    for target in (20, 100):
        goal = (await house.ask_for_gifts(target, seconds=60)).json()["goal_id"]
        await house.system.run_until_idle()
        for _ in range(2):
            await house.give(buyer, goal, ROSE)
        await house.system.pass_time(130)


PLAYS = {"invitation and exclusive": play_exclusive, "show": play_show, "private goal": play_private}


@pytest.mark.parametrize("service", ["escrow", "sessions", "shop"])
@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS.keys())
async def test_a_service_ends_in_the_same_state_in_whatever_order_it_hears(
    house: House, harness_of: HarnessOf, play: Callable[[House, list[str]], Awaitable[None]], service: str
) -> None:
    actor: ServiceHarness = getattr(house, service)
    buyers = [await house.viewer(10_000), await house.viewer(10_000)]
    began, beginning = house.now, await everything(actor)
    await play(house, buyers)
    beginning |= asked_for(await everything(actor))
    heard = [message for message in house.system.published if actor.listens_to(type(message.event))]

    stage = await harness_of(actor.service)
    of = stage.runtime
    ends: dict[str, Rows] = {}
    for name, choose in orders(sorted({message.event.TOPIC for message in heard})):
        await stage.clear()
        stage = await ServiceHarness.start(actor.service, of.mongo, of.database, clock=ManualClock(began))
        await put(stage, beginning)
        system = ServiceSystem(stage)
        system.publish(heard)
        await system.run_until_idle(choose)
        if name == "each twice":
            system.replay(service)
            await system.run_until_idle()
        await system.pass_until(house.now)
        ends[name] = what_counts(await stage.snapshot())
    first, *others = ends
    for name in others:
        assert different(ends[first], ends[name]) == [], f"{name}, against {first}"


async def everything(harness: ServiceHarness) -> Rows:
    """All that a service keeps, as it is stored."""
    names = [TIMERS.name, *(collection.name for collection in harness.service.collections)]
    return {name: await harness.runtime.database[name].find().to_list(None) for name in names}


async def put(harness: ServiceHarness, rows: Rows) -> None:
    for name, documents in rows.items():
        if documents:
            await harness.runtime.database[name].insert_many(documents)


def asked_for(rows: Rows) -> Rows:
    """What commands alone have stored: gifts and payments, before anything became of them."""
    nothing_yet = {"status": "requested", "reason": None}
    gifts = [gift | nothing_yet for gift in rows.get("gifts", [])]
    payments = [payment | nothing_yet | {"reversal": None} for payment in rows.get("payments", [])]
    return ({"gifts": gifts} if gifts else {}) | ({"payments": payments} if "grants" in rows else {})


def different(one: Rows, other: Rows) -> list[str]:
    """The fields that are not the same, in words."""
    missing: dict[str, Any] = {}
    return [
        f"{collection} {field}: {was.get(field)} and {is_.get(field)}"
        for collection in one
        for was, is_ in itertools.zip_longest(one[collection], other[collection], fillvalue=missing)
        for field in was | is_
        if was.get(field) != is_.get(field)
    ]


def what_counts(rows: Rows) -> Rows:
    """Without what differs and means the same: a check after the verdict, and contributions that do not stand."""
    judged = [row | {"check_passed": True} if row["verdict"] else row for row in rows.get("escrows", [])]
    contributors = [row for row in rows.get("contributors", []) if row["standing"] or row["entitled"]]
    return rows | {"escrows": judged, "contributors": contributors}


def orders(topics: Sequence[str]) -> list[tuple[str, Callable[[Sequence[Waiting]], Waiting] | None]]:
    """In batches, twice; then one by one: the topics in every order, and mixed."""

    def by(order: Sequence[str]) -> Callable[[Sequence[Waiting]], Waiting]:
        places = {topic: place for place, topic in enumerate(order)}  # its own, which it does not hear, have none
        return lambda waiting: min(waiting, key=lambda part: places.get(part.ordering_key.partition(":")[0], -1))

    in_order = [(" before ".join(order), by(order)) for order in itertools.permutations(topics)]
    mixed = [(f"mixed {seed}", random.Random(seed).choice) for seed in range(MIXED)]
    return [("in batches", None), ("each twice", None), *in_order, *mixed]
