"""A refund between shop and escrow, whoever dies over what and hears it again: taken back once, and said."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from contracts import OrderRefundedV1, WalletDebitedV1
from shop.store import ORDERS
from shop.store.orders import settle

if TYPE_CHECKING:
    from chassis_testing.system import Waiting
    from tests.house.conftest import House

PACK, DIAMONDS = "diamond_3300", 100
ROSE, ROSE_DIAMONDS = "livestream-gift_rose", 10


async def buy(house: House, who: str, quantity: int) -> str:
    """An order of diamonds that is paid; nobody has heard of it."""
    wish = {"product_id": PACK, "quantity": quantity, "gateway": "sandbox"}
    order_id = str((await house.ask(house.shop, who, "POST", "/shop/checkout", wish)).json()["order_id"])
    async with house.shop.tx() as tx:
        order = await tx.get(ORDERS, order_id)
        assert order is not None
        settle(tx, replace(order, payment="confirming"), "confirmed")
    await house.system.collect("shop")
    return order_id


async def give_back(house: House, order_id: str) -> None:
    path = f"/shop/orders/{order_id}/refund"
    answer = await house.ask(house.shop, house.streamer, "POST", path, {"reason": "asked_for"})
    assert answer.status_code == 202, answer.text


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
    order_id = await buy(house, viewer, quantity)
    bought, spent = quantity * DIAMONDS, chance.choice([0, 3, 10 * quantity]) * ROSE_DIAMONDS
    if spent or chance.random() < 0.5:
        await house.system.run_until_idle()  # else it is refunded before anybody has heard that it was paid
    if spent:
        await house.give(viewer, None, ROSE, count=spent // ROSE_DIAMONDS)
        await house.system.run_until_idle()

    await give_back(house, order_id)
    await stumble(house, chance)
    later = await buy(house, viewer, 1)
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
