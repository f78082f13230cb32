"""Orders: made, paid or not, and granted once per item, on the real MongoDB."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis_testing.service import START_TIME
from contracts import (
    OrderCreatedV1,
    OrderFailedV1,
    OrderFulfilledV1,
    OrderPaidV1,
    PassGrantedV1,
    ViewerBlockedV1,
    WalletCreditedV1,
)
from shop.domain import fulfilment, orders
from shop.domain.orders import PAYMENTS, Order
from shop.domain.products import SOLD, SOLD_BY_ID, pass_of_streamer

if TYPE_CHECKING:
    from services.shop.tests.conftest import Buyer

DIAMONDS, BADGE, PASS, LEGACY = "diamond_29900", "user_badge_patron", "livestream_pass", "livestream_pass_7d"
PAID = ("handed_over", "asked", "confirmed")


async def test_an_order_is_told_once_and_fixes_what_it_costs(buyer: Buyer) -> None:
    answer = await buyer.check_out(DIAMONDS, 3)

    order = answer.json()
    assert (order["payment"], order["fulfilment"], order["amount"], order["currency"]) == (
        "open",
        "none",
        89_700,
        "TWD",
    )
    assert order["items"] == [
        {
            "item_id": order["items"][0]["item_id"], "product_id": DIAMONDS, "subtype": "DiamondPackProduct",
            "quantity": 3, "amount": 29_900, "diamonds": 1_000, "pass_kind": None, "pass_seconds": None,
            "granted": False, "taken_back": False, "missing_diamonds": None, "activated_pieces": None,
        }
    ]  # fmt: skip
    [created] = await buyer.harness.take()
    assert isinstance(created, OrderCreatedV1)
    assert (created.order_id, created.user_id, created.amount) == (order["order_id"], buyer.user, 89_700)
    assert await buyer.read(order["order_id"]) == order


@pytest.mark.parametrize(
    ("product", "quantity", "gateway", "refused"),
    [
        ("livestream-gift_rose", 1, "sandbox", "409 not-for-money"),
        ("diamond_1", 1, "sandbox", "404 product-not-found"),
        (f"livestream_pass_{'a' * 24}", 1, "sandbox", "404 product-not-found"),
        (DIAMONDS, 1, "sonet", "409 gateway-not-offered"),
        (DIAMONDS, 1, "elsewhere", "422 invalid-request"),
        (DIAMONDS, 0, "sandbox", "422 invalid-request"),
        (DIAMONDS, 11, "sandbox", "422 invalid-request"),
        (DIAMONDS, 1.5, "sandbox", "422 invalid-request"),
    ],
)
async def test_what_cannot_be_bought_is_refused_and_leaves_nothing(
    buyer: Buyer, product: str, quantity: Any, gateway: str, refused: str
) -> None:
    answer = await buyer.check_out(product, quantity, gateway)

    assert f"{answer.status_code} {answer.json()['type'].removeprefix('/problems/')}" == refused
    assert await buyer.harness.take() == []
    assert (await buyer.client.get("/shop/orders")).json()["items"] == []


async def test_a_pass_of_a_streamer_is_sold_to_whom_they_welcome(buyer: Buyer) -> None:
    product = f"livestream_pass_{buyer.streamer}"
    await buyer.on_air()

    listed = (await buyer.client.get("/shop/products", params={"streamer_id": buyer.streamer})).json()["items"]
    assert (listed[-1]["product_id"], listed[-1]["pass_kind"]) == (product, product)
    assert (await buyer.check_out(product)).json()["items"][0]["pass_kind"] == product
    own = await buyer.harness.client(buyer.streamer).post(
        "/shop/checkout", json={"product_id": product, "quantity": 1, "gateway": "sandbox"}
    )
    assert (own.status_code, own.json()["type"]) == (403, "/problems/own-session")
    await buyer.harness.handle(ViewerBlockedV1(streamer_id=buyer.streamer, viewer_id=buyer.user))
    blocked = await buyer.check_out(product)
    assert (blocked.status_code, blocked.json()["type"]) == (403, "/problems/blocked-by-streamer")


async def test_an_order_exists_for_its_buyer_and_operators_only(buyer: Buyer) -> None:
    order_id = await buyer.order(DIAMONDS)
    stranger = buyer.harness.client(ids.new_id(), "CREATOR")
    operator = buyer.harness.client(ids.new_id(), "OPS")

    answer = await stranger.get(f"/shop/orders/{order_id}")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/order-not-found")
    assert (await operator.get(f"/shop/orders/{order_id}")).json() == await buyer.read(order_id)
    for other in (stranger, operator):
        assert (await other.get("/shop/orders")).json()["items"] == []


async def test_orders_come_page_by_page_oldest_first(buyer: Buyer) -> None:
    made = [await buyer.order(DIAMONDS) for _ in range(3)]

    first = (await buyer.client.get("/shop/orders", params={"limit": 2})).json()
    second = (await buyer.client.get("/shop/orders", params={"limit": 2, "after": first["next"]})).json()

    assert [order["order_id"] for order in first["items"] + second["items"]] == made
    assert second["next"] is None


async def test_who_is_never_sent_to_the_gateway_has_ordered_nothing(buyer: Buyer) -> None:
    order_id = await buyer.order(DIAMONDS)
    await buyer.harness.take()
    buyer.harness.clock.advance(orders.ORDER_LIVES.total_seconds())

    assert await buyer.harness.run_timers() == 1

    assert (await buyer.read(order_id))["payment"] == "failed"
    assert [type(event) for event in await buyer.harness.take()] == [OrderFailedV1]


async def test_diamonds_are_granted_when_escrow_has_credited_them(buyer: Buyer) -> None:
    order_id = await buyer.order(DIAMONDS, 2)
    await buyer.harness.take()

    await buyer.pay(order_id)

    [paid] = await buyer.harness.take()
    assert isinstance(paid, OrderPaidV1)
    assert [(item.diamonds, item.quantity) for item in paid.items] == [(1_000, 2)]
    assert (await buyer.read(order_id))["fulfilment"] == "granting"
    for _ in range(2):
        await buyer.credited(order_id)
    assert [type(event) for event in await buyer.harness.take()] == [OrderFulfilledV1]
    assert (await buyer.read(order_id))["fulfilment"] == "fulfilled"


async def test_a_credit_of_an_operator_fulfils_nothing(buyer: Buyer) -> None:
    order_id = await buyer.order(DIAMONDS)
    await buyer.pay(order_id)

    for cause in (ids.new_id(), f"{order_id}:{ids.new_id()}", f"{ids.new_id()}:{ids.new_id()}"):
        await buyer.harness.handle(WalletCreditedV1(user_id=buyer.user, amount_diamonds=1, cause_id=cause))

    assert (await buyer.read(order_id))["fulfilment"] == "granting"


@pytest.mark.parametrize("product", [PASS, LEGACY])
async def test_a_pass_lies_in_the_backpack_as_soon_as_it_is_paid_for_each_piece_once(
    buyer: Buyer, product: str
) -> None:
    order_id = await buyer.order(product, 3)
    await buyer.harness.take()

    await asyncio.gather(*(buyer.pay(order_id) for _ in range(3)), return_exceptions=True)
    await buyer.pay(order_id)

    told = [type(event) for event in await buyer.harness.take()]
    assert told == [OrderPaidV1, PassGrantedV1, PassGrantedV1, PassGrantedV1, OrderFulfilledV1]
    pieces = await buyer.backpack()
    assert [(piece["pass_kind"], piece["nbf"], piece["order_id"]) for piece in pieces] == [(PASS, None, order_id)] * 3
    assert (await buyer.read(order_id))["fulfilment"] == "fulfilled"


async def test_something_to_wear_is_in_the_backpack_and_not_activated(buyer: Buyer) -> None:
    await buyer.pay(await buyer.order(BADGE))
    [piece] = await buyer.backpack()

    answer = await buyer.client.post(f"/shop/backpack/{piece['item_id']}/activate")

    assert (piece["subtype"], piece["pass_kind"]) == ("UserProduct", None)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-a-pass")


# -- the domain alone --------------------------------------------------------------------------------------------------


def ordered(*products: str, quantity: int = 1) -> Order:
    basket = {SOLD_BY_ID[product]: quantity for product in products}
    return orders.create(ids.new_id(), ids.new_id(), basket, "sandbox", START_TIME)[0]


def paid(order: Order) -> Order:
    for fact in PAID:
        order = orders.after(order, fact, START_TIME).state or order  # type: ignore[arg-type] # a Fact each
    return order


def test_only_a_person_leads_away_from_paid_and_only_the_gateways_word_leads_there() -> None:
    facts = {fact for row in PAYMENTS.values() for fact in row}

    assert PAYMENTS["paid"] == PAYMENTS["review"] == {returned: returned for returned in ("refunded", "charged_back")}
    assert PAYMENTS["refunded"] == PAYMENTS["charged_back"] == {}
    assert {fact for row in PAYMENTS.values() for fact, payment in row.items() if payment == "paid"} == {"confirmed"}
    from_gateways = {"handed_over", "asked", "confirmed", "refused", "still_open", "differs", "expired"}
    assert facts == from_gateways | PAYMENTS["paid"].keys()
    assert all(payment in PAYMENTS for row in PAYMENTS.values() for payment in row.values())


def test_a_mixed_basket_is_fulfilled_by_whoever_comes_last() -> None:
    order = paid(ordered(DIAMONDS, PASS, LEGACY, BADGE, quantity=2))

    granted = fulfilment.fulfill(order, START_TIME)

    assert granted.order.fulfilment == "granting"  # the diamonds are escrow's to say
    assert len(granted.backpack) == len({piece.id for piece in granted.backpack}) == 6
    again = fulfilment.fulfill(granted.order, START_TIME)
    assert (again.backpack, again.events) == ((), ())
    cause = fulfilment.credit_cause(order, order.items[0])
    done = fulfilment.credited(granted.order, cause, START_TIME)
    assert done is not None
    assert [type(event) for event in done.events] == [OrderFulfilledV1]
    assert fulfilment.credited(done.order, cause, START_TIME) is None


@pytest.mark.parametrize("product", [*SOLD, pass_of_streamer("a" * 24)], ids=lambda product: product.id)
def test_whatever_is_sold_is_granted_by_somebody(product: Any) -> None:
    order = paid(orders.create(ids.new_id(), ids.new_id(), {product: 1}, "sandbox", START_TIME)[0])

    granted = fulfilment.fulfill(order, START_TIME).order

    if order.items[0].diamonds:
        done = fulfilment.credited(granted, fulfilment.credit_cause(order, order.items[0]), START_TIME)
        assert done is not None
        granted = done.order
    assert granted.fulfilment == "fulfilled"


def test_what_is_credited_and_not_paid_is_noted_and_fulfils_nothing() -> None:
    order = ordered(DIAMONDS)

    for payment in set(PAYMENTS) - {"paid"}:
        unpaid = replace(order, payment=payment)
        noted = fulfilment.credited(unpaid, fulfilment.credit_cause(order, order.items[0]), START_TIME)
        assert noted is not None
        assert (noted.order.granted_on, noted.order.fulfilment) == (START_TIME.date().isoformat(), "none")
        assert noted.events == ()
