"""Refunds and charge-backs: what was bought is taken back once, as far as it is there, and the rest is said."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chassis import ids
from contracts import OrderFulfilledV1, OrderRefundedV1, WalletDebitedV1
from shop.domain.orders import UNSETTLED

if TYPE_CHECKING:
    from services.shop.tests.conftest import Buyer

DIAMONDS, BADGE, PASS, LEGACY = "diamond_29900", "user_badge_patron", "livestream_pass", "livestream_pass_7d"
HOW = {"refund": "refunded", "chargeback": "charged_back"}


async def give_back(buyer: Buyer, order_id: str, how: str = "refund", reason: str = "asked_for") -> httpx.Response:
    operator = buyer.harness.client(ids.new_id(), "OPS")
    return await operator.post(f"/shop/orders/{order_id}/{how}", json={"reason": reason})


async def bought(buyer: Buyer, product: str, quantity: int = 1) -> str:
    """An order that is paid and granted; nobody has listened yet."""
    order_id = await buyer.order(product, quantity)
    await buyer.pay(order_id)
    if product == DIAMONDS:
        await buyer.credited(order_id)
    await buyer.harness.take()
    return order_id


async def debited(buyer: Buyer, order_id: str, amount: int, missing: int, source: str | None = None) -> None:
    """Escrow says what it has taken; `source`: out of what came back later."""
    [item] = (await buyer.read(order_id))["items"]
    facts: dict[str, Any] = {"amount_diamonds": amount, "missing_diamonds": missing, "from_cause_id": source}
    told = WalletDebitedV1(user_id=buyer.user, cause_id=f"{order_id}:{item['item_id']}", **facts)
    await buyer.harness.handle(told)


@pytest.mark.parametrize("how", HOW)
async def test_the_diamonds_are_escrows_to_take_and_what_was_missing_is_said(buyer: Buyer, how: str) -> None:
    order_id = await bought(buyer, DIAMONDS, 2)

    answer = await give_back(buyer, order_id, how, "disputed")

    assert (answer.status_code, answer.json()["payment"], answer.json()["fulfilment"]) == (202, HOW[how], "taking_back")
    [told] = await buyer.harness.take()
    assert isinstance(told, OrderRefundedV1)
    assert (told.payment, told.reason, [item.diamonds for item in told.items]) == (HOW[how], "disputed", [1_000])
    await debited(buyer, order_id, 300, 1_700)
    await debited(buyer, order_id, 0, 2_000)  # a second word changes nothing
    order = await buyer.read(order_id)
    assert (order["fulfilment"], order["refund_reason"]) == ("taken_back", "disputed")
    assert [(item["taken_back"], item["missing_diamonds"]) for item in order["items"]] == [(True, 1_700)]
    assert await buyer.harness.take() == []


async def test_what_is_taken_later_is_missing_no_more_in_whatever_order_it_is_heard(buyer: Buyer) -> None:
    for words in permutations([(300, 1_700, None), (500, 1_200, ids.new_id()), (1_200, 0, ids.new_id())]):
        order_id = await bought(buyer, DIAMONDS, 2)
        await give_back(buyer, order_id)

        for amount, missing, source in (*words, words[0]):
            await debited(buyer, order_id, amount, missing, source)

        order = await buyer.read(order_id)
        assert (order["fulfilment"], order["items"][0]["missing_diamonds"]) == ("taken_back", 0)


@pytest.mark.parametrize(("product", "activated"), [(PASS, 1), (PASS, 0), (LEGACY, 2), (BADGE, 0)])
async def test_pieces_that_nobody_uses_leave_the_backpack_and_the_others_are_said(
    buyer: Buyer, product: str, activated: int
) -> None:
    other = await bought(buyer, product, 1)
    order_id = await bought(buyer, product, 3)
    mine = [piece for piece in await buyer.backpack() if piece["order_id"] == order_id]
    for piece in mine[:activated]:
        assert (await buyer.client.post(f"/shop/backpack/{piece['item_id']}/activate")).is_success
    await buyer.harness.take()

    answer = await give_back(buyer, order_id)

    [item] = answer.json()["items"]
    assert answer.json()["fulfilment"] == "taken_back"
    assert (item["taken_back"], item["activated_pieces"]) == (True, activated)
    assert answer.json() == await buyer.read(order_id)
    [told] = await buyer.harness.take()
    assert isinstance(told, OrderRefundedV1)
    assert [one.activated for one in told.items] == [activated]
    left = [piece["order_id"] for piece in await buyer.backpack()]
    assert sorted(left) == sorted([other, *[order_id] * activated])
    gone = await buyer.client.post(f"/shop/backpack/{mine[-1]['item_id']}/activate")
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/backpack-item-not-found")


async def test_said_a_hundred_times_at_once_it_is_told_once(buyer: Buyer) -> None:
    order_id = await bought(buyer, PASS, 2)

    answers = await asyncio.gather(*(give_back(buyer, order_id) for _ in range(100)))

    assert {answer.status_code for answer in answers} <= {202, 503}
    assert len({answer.text for answer in answers if answer.status_code == 202}) == 1
    assert [type(event) for event in await buyer.harness.take()] == [OrderRefundedV1]


async def test_a_piece_is_activated_or_taken_back_never_both(buyer: Buyer) -> None:
    for _ in range(5):
        order_id = await bought(buyer, PASS)
        [piece] = [one for one in await buyer.backpack() if one["order_id"] == order_id]

        used, back = await asyncio.gather(
            buyer.client.post(f"/shop/backpack/{piece['item_id']}/activate"), give_back(buyer, order_id)
        )

        assert back.status_code == 202
        assert back.json()["items"][0]["activated_pieces"] == (1 if used.is_success else 0)
        assert (order_id in {one["order_id"] for one in await buyer.backpack()}) == used.is_success


@pytest.mark.parametrize("fact", ["confirmed", "refused", "handed_over", "asked"])
async def test_whatever_the_gateway_says_later_a_refunded_order_stays_refunded(buyer: Buyer, fact: Any) -> None:
    order_id = await bought(buyer, DIAMONDS)
    await give_back(buyer, order_id)
    await buyer.harness.take()

    await buyer.happened(order_id, fact)

    assert (await buyer.read(order_id))["payment"] == "refunded"
    assert await buyer.harness.take() == []


async def test_diamonds_that_are_credited_after_the_refund_fulfil_nothing(buyer: Buyer) -> None:
    order_id = await buyer.order(DIAMONDS)
    await buyer.pay(order_id)
    await give_back(buyer, order_id)

    await buyer.credited(order_id)
    await debited(buyer, order_id, 1_000, 0)

    order = await buyer.read(order_id)
    assert (order["fulfilment"], order["items"][0]["missing_diamonds"]) == ("taken_back", 0)
    assert OrderFulfilledV1 not in {type(event) for event in await buyer.harness.take()}


async def test_of_what_was_never_paid_as_ordered_nothing_is_taken_back(buyer: Buyer) -> None:
    order_id = await buyer.order(DIAMONDS)
    await buyer.happened(order_id, "handed_over", "asked", "differs")
    await buyer.harness.take()

    answer = await give_back(buyer, order_id, reason="mistake")

    assert (answer.json()["payment"], answer.json()["fulfilment"]) == ("refunded", "none")
    [told] = await buyer.harness.take()
    assert isinstance(told, OrderRefundedV1)
    assert (told.items, told.amount) == ((), 29_900)


async def test_what_we_do_not_have_is_not_given_back(buyer: Buyer) -> None:
    unpaid = {payment: await buyer.order(DIAMONDS) for payment in (*UNSETTLED, "failed")}
    await buyer.happened(unpaid["pending"], "handed_over")
    await buyer.happened(unpaid["confirming"], "handed_over", "asked")
    await buyer.happened(unpaid["failed"], "expired")
    returned = await bought(buyer, DIAMONDS)
    await give_back(buyer, returned)
    await buyer.harness.take()

    for order_id, how in (*((one, "refund") for one in unpaid.values()), (returned, "chargeback")):
        answer = await give_back(buyer, order_id, how)
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/nothing-to-refund")
    assert await buyer.harness.take() == []


@pytest.mark.parametrize("how", HOW)
async def test_only_an_operator_gives_back(buyer: Buyer, how: str) -> None:
    order_id = await bought(buyer, PASS)

    for scopes in ((), ("CREATOR",)):
        client = buyer.harness.client(buyer.user, *scopes)
        answer = await client.post(f"/shop/orders/{order_id}/{how}", json={"reason": "other"})
        assert answer.status_code == 403
    assert (await give_back(buyer, ids.new_id(), how)).status_code == 404
    assert (await give_back(buyer, order_id, how, "because")).status_code == 422
    assert await buyer.harness.take() == []
