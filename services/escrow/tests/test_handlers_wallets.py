"""Diamonds that were bought: in the buyer's wallet once per order item, whatever is heard how often."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chassis import ids
from chassis_testing.service import ServiceHarness
from contracts import Event, OrderCreatedV1, OrderPaidV1, WalletCreatedV1, WalletCreditedV1
from contracts.shop import Item
from escrow.handlers.recount import recount_all
from escrow.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]


@pytest.fixture
async def escrow(harness_of: HarnessOf) -> ServiceHarness:
    return await harness_of(SERVICE)


def order_of(*bought: tuple[int | None, int]) -> dict[str, Any]:
    """An order of so many pieces of so many diamonds each."""
    items = tuple(
        Item(item_id=ids.new_id(), product_id="a", quantity=quantity, diamonds=diamonds)
        for diamonds, quantity in bought
    )
    of = {"order_id": ids.new_id(), "user_id": ids.new_id(), "items": items}
    return of | {"amount": 29_900, "currency": "TWD", "gateway": "sandbox"}


async def wallet(escrow: ServiceHarness, user_id: str) -> int:
    return int((await escrow.client(user_id).get("/wallets/me")).json()["balance_diamonds"])


async def test_each_item_is_credited_once_however_often_it_is_heard(escrow: ServiceHarness) -> None:
    order = order_of((1_000, 2), (None, 1), (100, 3))
    paid = OrderPaidV1(**order)

    await escrow.handle(paid, paid)
    await escrow.handle(paid)

    told = await escrow.take()
    assert [type(event) for event in told] == [WalletCreatedV1, WalletCreditedV1, WalletCreditedV1]
    credited = [event for event in told if isinstance(event, WalletCreditedV1)]
    assert [event.amount_diamonds for event in credited] == [2_000, 300]
    assert [event.cause_id for event in credited] == [
        f"{order['order_id']}:{order['items'][place].item_id}" for place in (0, 2)
    ]
    assert await wallet(escrow, order["user_id"]) == 2_300
    proof = (await escrow.client(ids.new_id(), "OPS").get("/ledger/proof?from=transfers")).json()
    assert (proof["holds"], proof["sum_diamonds"]) == (True, 0)
    assert [difference async for difference in recount_all(escrow.runtime)] == []


async def test_who_orders_has_a_wallet_before_they_pay_in_whatever_order_it_is_heard(escrow: ServiceHarness) -> None:
    order = order_of((1_000, 1))
    told: list[list[type[Event]]] = []
    for events in ((OrderCreatedV1(**order), OrderPaidV1(**order)), (OrderPaidV1(**order), OrderCreatedV1(**order))):
        await escrow.handle(*events, apart=True)
        told.append([type(event) for event in await escrow.take()])
        await escrow.clear()

    assert told == [[WalletCreatedV1, WalletCreditedV1]] * 2


async def test_an_order_without_diamonds_moves_nothing(escrow: ServiceHarness) -> None:
    await escrow.handle(OrderPaidV1(**order_of((None, 2))))

    assert await escrow.take() == []
