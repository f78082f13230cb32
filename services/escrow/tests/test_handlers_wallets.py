"""Diamonds that were bought: in the buyer's wallet once per order item, whatever is heard how often; and out again."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chassis import ids
from chassis.errors import NotYet
from chassis_testing.service import ServiceHarness
from contracts import (
    Event,
    OrderCreatedV1,
    OrderPaidV1,
    OrderRefundedV1,
    RefundedItem,
    SessionPaymentRequestedV1,
    WalletCreatedV1,
    WalletCreditedV1,
    WalletDebitedV1,
)
from contracts.shop import Item
from escrow.domain.purchases import Debit
from escrow.handlers.recount import recount_all
from escrow.service import SERVICE
from escrow.store import DEBITS

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


# -- and out again -----------------------------------------------------------------------------------------------------


def refund_of(order: dict[str, Any]) -> OrderRefundedV1:
    """An operator says that its buyer has the money back."""
    items = tuple(RefundedItem(**item.model_dump()) for item in order["items"])
    return OrderRefundedV1(**order | {"items": items}, payment="refunded", reason="asked_for", refunded_by=ids.new_id())


async def spend(escrow: ServiceHarness, user_id: str, diamonds: int) -> None:
    """Give them to a streamer."""
    await escrow.handle(
        SessionPaymentRequestedV1(
            session_id=ids.new_id(),
            streamer_id=ids.new_id(),
            payment_id=ids.new_id(),
            payer_id=user_id,
            amount_diamonds=diamonds,
            duration=60,
            preset="sd",
        )
    )


async def assert_proven(escrow: ServiceHarness) -> None:
    proof = (await escrow.client(ids.new_id(), "OPS").get("/ledger/proof?from=transfers")).json()
    assert (proof["holds"], proof["sum_diamonds"]) == (True, 0)
    assert [difference async for difference in recount_all(escrow.runtime)] == []


@pytest.mark.parametrize(
    ("spent", "taken", "missing"),
    [(0, [2_000, 300], [0, 0]), (1_000, [1_300, 0], [700, 300]), (2_300, [0, 0], [2_000, 300])],
)
async def test_of_what_was_bought_is_taken_what_is_there_once_and_the_rest_is_said(
    escrow: ServiceHarness, spent: int, taken: list[int], missing: list[int]
) -> None:
    order = order_of((1_000, 2), (None, 1), (100, 3))
    await escrow.handle(OrderPaidV1(**order))
    if spent:
        await spend(escrow, order["user_id"], spent)
    await escrow.take()
    refunded = refund_of(order)

    await escrow.handle(refunded, refunded)
    await escrow.handle(refunded, apart=True)

    debited = await escrow.take()
    assert all(isinstance(event, WalletDebitedV1) for event in debited)
    assert [event.amount_diamonds for event in debited if isinstance(event, WalletDebitedV1)] == taken
    assert [event.missing_diamonds for event in debited if isinstance(event, WalletDebitedV1)] == missing
    assert await wallet(escrow, order["user_id"]) == 2_300 - spent - sum(taken)
    await assert_proven(escrow)


async def test_what_is_bought_later_is_not_taken_for_what_was_missing(escrow: ServiceHarness) -> None:
    order = order_of((100, 1))
    await escrow.handle(OrderPaidV1(**order))
    await spend(escrow, order["user_id"], 100)
    refunded = refund_of(order)
    await escrow.handle(refunded)
    later = order_of((500, 1)) | {"user_id": order["user_id"]}
    await escrow.handle(OrderPaidV1(**later))

    await escrow.handle(refunded.model_copy(update={"reason": "other"}))  # under another id, as after a restore

    assert await wallet(escrow, order["user_id"]) == 500
    await assert_proven(escrow)


async def test_nothing_is_taken_before_it_was_credited(escrow: ServiceHarness) -> None:
    order = order_of((100, 1))
    rich = order_of((500, 1)) | {"user_id": order["user_id"]}
    await escrow.handle(OrderPaidV1(**rich))

    with pytest.raises(NotYet):
        await escrow.handle(refund_of(order))

    assert await wallet(escrow, order["user_id"]) == 500
    await escrow.handle(OrderPaidV1(**order))
    await escrow.handle(refund_of(order))
    assert await wallet(escrow, order["user_id"]) == 500


async def test_a_recount_mends_what_a_debit_says(escrow: ServiceHarness) -> None:
    order = order_of((100, 1))
    await escrow.handle(OrderPaidV1(**order), refund_of(order))
    cause = f"{order['order_id']}:{order['items'][0].item_id}"
    async with escrow.tx() as tx:
        tx.put(DEBITS, Debit(cause, order["user_id"], 30, 70))

    found = [(one.of, one.field, one.counted, one.mended) async for one in recount_all(escrow.runtime, write=True)]

    assert sorted(found) == [("debit", "amount_diamonds", 100, True), ("debit", "missing_diamonds", 0, True)]
    await assert_proven(escrow)
    async with escrow.tx() as tx:
        tx.delete(DEBITS, cause)
    lost = [(one.of, one.id, one.field) async for one in recount_all(escrow.runtime)]
    assert lost == [("debit", cause, "exists")]
