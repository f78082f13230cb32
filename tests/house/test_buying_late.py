"""Buying for a goal that ends at that moment: the buyer counts or has the money back, never neither, never both."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from contracts import EscrowHeldV1, Event, GoalContributionRejectedV1, GoalProgressedV1

if TYPE_CHECKING:
    from tests.house.conftest import House

ROUNDS, BUYERS = 10, 25  # times four: 1 000 buyers race
BEFORE_SECONDS = 45  # of the minute that a goal lasts here: what is bought waits for its money less than the rest
TICKET, ROSE = "livestream-show-ticket_134", "livestream-gift_rose"


async def begin_funding(house: House) -> str:
    goal_id: str = (await house.fund(target=1, seconds=60, hesitation_countdown=0)).json()["goal_id"]
    return goal_id


async def begin_show(house: House) -> str:
    """A show that nobody has paid for yet, begun in the moment in which its funding ended."""
    funding_id = await begin_funding(house)
    assert (await house.delete(funding_id)).status_code == 204
    show_id: str = (await house.perform(funding_id)).json()["goal_id"]
    return show_id


async def begin_private(house: House) -> str:
    goal_id: str = (await house.ask_for_gifts(target=100, seconds=600)).json()["goal_id"]
    return goal_id


async def delete(house: House, goal_id: str) -> None:
    assert (await house.delete(goal_id)).status_code in (204, 409)  # a private goal may have reached its target


async def expire(house: House, _goal_id: str) -> None:
    house.system.clock.advance(60 - BEFORE_SECONDS)
    await house.system.run_timers("goals")


@dataclass(frozen=True)
class Race:
    """What is bought for, with what, and how it ends."""

    begin: Callable[[House], Awaitable[str]]
    product: str
    diamonds: int
    end: Callable[[House, str], Awaitable[None]]


RACES = {
    "a funding that is started early": Race(begin_funding, TICKET, 134, delete),
    "a funding at its exp": Race(begin_funding, TICKET, 134, expire),
    "a show at its exp": Race(begin_show, TICKET, 134, expire),
    "a private goal that reaches its target": Race(begin_private, ROSE, 10, delete),
}


@pytest.mark.parametrize("race", RACES.values(), ids=RACES.keys())
async def test_who_buys_as_the_goal_ends_counts_or_has_the_money_back(house: House, race: Race) -> None:
    chance = random.Random(8)
    credit = race.diamonds * ROUNDS
    spent = {await house.viewer(credit): 0 for _ in range(BUYERS)}
    really_raced = 0
    for _ in range(ROUNDS):
        goal_id = await race.begin(house)
        await house.system.run_until_idle()
        house.system.clock.advance(BEFORE_SECONDS)
        first = len(house.system.published)
        for buyer in spent:
            assert (await house.give(buyer, goal_id, race.product)).status_code == 202
        await hear_a_part(house, chance)
        await asyncio.gather(race.end(house, goal_id), hear_holds(house))
        kept = await keep_the_promise(house, goal_id)
        told = [message.event for message in house.system.published[first:]]
        counted = count_fairly(told)
        for buyer in counted if kept else ():
            spent[buyer] += race.diamonds
        accounts = await house.accounts()
        assert {buyer: credit - accounts[f"wallet:{buyer}"] for buyer in spent} == spent
        really_raced += 0 < len(counted) < BUYERS
    assert really_raced > ROUNDS // 2


async def hear_a_part(house: House, chance: random.Random) -> None:
    """Escrow holds the money of some, and goals hears of some of these holds."""
    for service in ("escrow", "goals"):
        await house.system.collect()
        for part in house.system.waiting(service):
            await house.system.deliver(part.only(chance.randint(1, part.count)))


async def hear_holds(house: House) -> None:
    """Goals hears of the holds that are left, in this very moment."""
    for part in house.system.waiting("goals"):
        await house.system.deliver(part)


async def keep_the_promise(house: House, goal_id: str) -> bool:
    """Let the streamer do what was paid for, and everything be heard; false if the goal came to nothing."""
    await house.system.run_until_idle()
    outcome = (await house.read(house.goals, f"/goals/{goal_id}"))["outcome"]
    if outcome == "funded":
        assert (await house.perform(goal_id)).status_code == 201
    await house.system.pass_time(130)
    return outcome in ("funded", "completed")


def count_fairly(told: Sequence[Event]) -> list[str]:
    """Who counted; each hold was answered once, and who did not count was told so."""
    held = {event.earning_id: event.buyer_id for event in told if isinstance(event, EscrowHeldV1)}
    counted = [event.earning_id for event in told if isinstance(event, GoalProgressedV1)]
    rejected = [event.earning_id for event in told if isinstance(event, GoalContributionRejectedV1)]
    assert sorted(held) == sorted(counted + rejected)
    assert len(held) == BUYERS
    return [held[earning_id] for earning_id in counted]
