"""A refund between shop and escrow, whoever dies over what and hears it again: taken back once, and said."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from contracts import EscrowFailedV1, OrderRefundedV1, WalletDebitedV1

if TYPE_CHECKING:
    from chassis_testing.system import Waiting
    from tests.house.conftest import House

DIAMONDS = 100  # of the order's product
ROSE, ROSE_DIAMONDS = "livestream-gift_rose", 10


async def stumble(house: House, chance: random.Random) -> None:
    """All is heard, one message at a time, while services die over some and hear others again."""

    def choose(waiting: list[Waiting]) -> Waiting:
        return chance.choice(waiting)

    while waiting := house.system.waiting("shop", "escrow"):
        part = chance.choice(waiting).only(chance.randint(1, 3))
        match chance.randrange(4):
            case 0:
                await house.system.crash(part)
            case 1:
                await house.system.deliver(part)
                await house.system.repeat(part.service, 2)
            case _:
                await house.system.deliver(part)
    await house.system.run_until_idle(choose)  # type: ignore[arg-type] # a list is a sequence


@pytest.mark.parametrize("seed", range(8))
async def test_what_an_order_brought_goes_back_once_and_what_is_missing_is_said(house: House, seed: int) -> None:
    chance = random.Random(seed)
    viewer, quantity = await house.viewer(0), chance.randint(1, 3)
    order_id = await house.buy(viewer, quantity)
    bought, spent = quantity * DIAMONDS, chance.choice([0, 3, 10 * quantity]) * ROSE_DIAMONDS
    if spent or chance.random() < 0.5:
        await house.system.run_until_idle()  # else it is refunded before anybody has heard that it was paid
    if spent:
        await house.give(viewer, None, ROSE, count=spent // ROSE_DIAMONDS)
        await house.system.run_until_idle()

    await house.give_back(order_id)
    await stumble(house, chance)
    later = await house.buy(viewer, 1)
    await house.system.run_until_idle()
    house.system.replay("escrow")
    house.system.replay("shop")
    await stumble(house, chance)

    order: Any = await house.read(house.shop, f"/shop/orders/{order_id}", viewer)
    assert (order["payment"], order["fulfilment"]) == ("refunded", "taken_back")
    assert [item["missing_diamonds"] for item in order["items"]] == [spent]
    assert (await house.accounts())[f"wallet:{viewer}"] == DIAMONDS  # those of the later order
    assert (await house.read(house.shop, f"/shop/orders/{later}", viewer))["fulfilment"] == "fulfilled"
    assert len(house.system.events(OrderRefundedV1)) == 1
    assert {(one.amount_diamonds, one.missing_diamonds) for one in house.system.events(WalletDebitedV1)} == {
        (bought - spent, spent)
    }


@pytest.mark.parametrize("seed", range(4))
async def test_refunded_while_the_ticket_is_held_the_diamonds_are_nobodys_to_keep(house: House, seed: int) -> None:
    """The trick: buy, spend on what is held, fetch the money back, and have the promise broken."""
    chance = random.Random(f"held {seed}")
    viewer, order_id = await house.viewer(0), ""
    funding_id = (await house.fund(target=9)).json()["goal_id"]
    order_id = await house.buy(viewer, 2)
    await house.system.run_until_idle()
    await house.give(viewer, funding_id)
    await house.system.run_until_idle()

    deeds = [house.give_back(order_id), house.delete(funding_id)]
    chance.shuffle(deeds)  # whichever comes first
    for deed in deeds:
        await deed
    await house.system.pass_time(100) if chance.random() < 0.5 else None
    await stumble(house, chance)
    await house.system.pass_time(100)
    house.system.replay("escrow")
    house.system.replay("shop")
    await stumble(house, chance)

    order: Any = await house.read(house.shop, f"/shop/orders/{order_id}", viewer)
    assert [(item["taken_back"], item["missing_diamonds"]) for item in order["items"]] == [(True, 0)]
    assert (await house.accounts())[f"wallet:{viewer}"] == 0
    assert len(house.system.events(EscrowFailedV1)) == 1
    assert sum(one.amount_diamonds for one in house.system.events(WalletDebitedV1)) == 2 * DIAMONDS
