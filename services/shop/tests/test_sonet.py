"""Paying through So-net: a real HTTP server that answers as So-net does, late, not at all, wrongly, and twice.

What So-net says by the browser may have been written by anybody; only what its servers say to ours is a payment.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.effects.dispatcher import EffectDispatcher
from chassis.service import EffectResult
from chassis_testing.service import ServiceHarness
from contracts import OrderPaidV1
from devstack import sonet as sonet_server
from shop.domain.orders import HINTS_MAX
from shop.domain.payments import Answer, ConfirmPayment, best_of
from shop.handlers.payments import record_answer
from shop.service import SERVICE

if TYPE_CHECKING:
    import httpx

    from services.shop.tests.conftest import Buyer

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
DIAMONDS = "diamond_29900"
SECONDS_MAX = 60.0
EXPIRED_SECONDS = 1_801  # a state lives as long as its order


class Shopper:
    """Somebody with a browser, in front of a shop and of So-net."""

    def __init__(self, buyer: Buyer, sonet: sonet_server.Sonet) -> None:
        self.buyer, self.sonet, self.harness = buyer, sonet, buyer.harness
        self.calls, self.sweep = buyer.calls, buyer.sweep
        self.browser = buyer.harness.client()  # no token, and no cookie on its way back

    async def sent(self, product: str = DIAMONDS, quantity: int = 1) -> Trip:
        """An order that So-net expects to be paid, and its payer on So-net's page."""
        answer = await self.buyer.check_out(product, quantity, "sonet")
        assert answer.status_code == 201, answer.text
        order_id = str(answer.json()["order_id"])
        handed = await self.buyer.client.post("/shop/checkout/sonet/complete", json={"order_id": order_id})
        assert handed.status_code == 200, handed.text
        await self.calls()
        return Trip(self, order_id, str(handed.json()["url"].partition("state=")[2]))

    async def paid(self) -> int:
        """How many orders were told as paid since the last look."""
        return len([event for event in await self.harness.take() if isinstance(event, OrderPaidV1)])


class Trip:
    """One order, from the hand-over on."""

    def __init__(self, shopper: Shopper, order_id: str, state: str) -> None:
        self.shopper, self.order_id, self.state = shopper, order_id, state

    @property
    def at_sonet(self) -> sonet_server.Payment:
        return self.shopper.sonet.payments[self.order_id]

    def pay(self, choice: str = "pay") -> dict[str, str]:
        """The payer decides; what So-net says of it then."""
        self.shopper.sonet.choose(self.at_sonet, choice)
        return self.shopper.sonet.says(self.at_sonet)

    async def back(self, said: dict[str, str]) -> httpx.Response:
        answer = await self.shopper.browser.post(f"/notify/sonet?state={self.state}", data=said)
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(f"/shop/redirect-in/shop-checkout-{self.order_id}?state=")
        return answer

    async def payment(self) -> str:
        return str((await self.shopper.buyer.read(self.order_id))["payment"])


@pytest.fixture
async def shopper(harness_of: HarnessOf, buyer: Buyer, sonet_at: tuple[sonet_server.Sonet, int]) -> Shopper:
    sonet, port = sonet_at
    harness = await harness_of(
        SERVICE,
        PAYMENT_GATEWAYS=["sonet"],
        SONET_API_ORIGIN=f"http://127.0.0.1:{port}",
        SONET_PAGE_ORIGIN=f"http://localhost:{port}",
    )
    return Shopper(type(buyer)(harness), sonet)


async def test_a_round_trip_ends_with_what_was_bought(shopper: Shopper) -> None:
    trip = await shopper.sent()

    form = await shopper.browser.get(f"/tools/POST.html?state={trip.state}")
    posted = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form.text))
    assert posted == {
        "icpId": "demo_merchant", "icpOrderId": trip.order_id, "icpProdId": DIAMONDS, "mpId": "GASH_GPAY",
        "memo": f"Order {trip.order_id}", "icpUserId": shopper.buyer.user, "authCode": trip.at_sonet.auth_code,
    }  # fmt: skip
    assert 'action="http://localhost:' in form.text
    assert trip.at_sonet.price == "299"
    back = await trip.back(trip.pay())
    assert await trip.payment() == "confirming"
    await shopper.calls()
    result = await shopper.browser.get(back.headers["location"])

    assert "Paid." in result.text
    assert (await trip.payment(), await shopper.paid(), trip.at_sonet.confirmations) == ("paid", 1, 1)


async def test_ok_is_a_hint_and_no_payment(shopper: Shopper) -> None:
    """Somebody posts what So-net would, and has not paid."""
    trip = await shopper.sent()

    await trip.back(shopper.sonet.says(trip.at_sonet) | {"resultCode": "ok"})
    await shopper.calls()
    await shopper.sweep()

    assert (await trip.payment(), await shopper.paid()) == ("pending", 0)


@pytest.mark.parametrize(
    "forged",
    [
        {"icpOrderId": "0" * 24},
        {"icpId": "somebody_else"},
        {"icpUserId": "0" * 24},
        {"authCode": "0" * 32},
        {"authCode": "é"},
        {"sonetOrderNo": ""},
        {"sonetOrderNo": "../../x"},
        {"sonetOrderNo": "x" * 65},
        {"resultCode": "00000"},
        {"resultCode": "OK"},
        {f"field{n}": "x" for n in range(60)},
    ],
    ids=str,
)
async def test_what_is_said_of_another_order_merchant_or_payer_asks_nothing(
    shopper: Shopper, forged: dict[str, str]
) -> None:
    trip = await shopper.sent()

    await trip.back(trip.pay() | forged)

    assert await shopper.harness.effects() == []
    assert await trip.payment() == "pending"


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"resultCode=ok&resultCode=fail&sonetOrderNo=SN0000000001", b"=&;=", b"{}"]
)
async def test_a_body_that_is_no_notification_asks_nothing(shopper: Shopper, body: bytes) -> None:
    trip = await shopper.sent()
    trip.pay()

    answer = await shopper.browser.post(f"/notify/sonet?state={trip.state}", content=body)

    assert answer.status_code == 303
    assert await shopper.harness.effects() == []


async def test_a_payment_of_one_order_pays_no_other(shopper: Shopper) -> None:
    """Not even if So-net were to confirm it for both."""
    cheap, dear = await shopper.sent("diamond_3300"), await shopper.sent("diamond_149000")
    said = cheap.pay()
    await cheap.back(said)
    await shopper.calls()

    await dear.back({"resultCode": "ok", "sonetOrderNo": said["sonetOrderNo"]})
    await shopper.calls()
    assert (await cheap.payment(), await dear.payment()) == ("paid", "pending")

    dear.at_sonet.number, dear.at_sonet.status = cheap.at_sonet.number, "paid"
    await shopper.sweep()
    assert (await dear.payment(), await shopper.paid()) == ("review", 1)


@pytest.mark.parametrize("price", ["298", "300", "29900", "299.00", "0", "-299", "", "２９９"])  # noqa: RUF001 - digits, too
async def test_another_price_buys_nothing_and_is_for_a_person(shopper: Shopper, price: str) -> None:
    trip = await shopper.sent()

    await trip.back(trip.pay() | {"price": price})
    await shopper.calls()

    assert (await trip.payment(), await shopper.paid()) == ("review", 0)


async def test_a_price_that_is_not_said_is_the_one_that_was_announced(shopper: Shopper) -> None:
    trip = await shopper.sent(quantity=3)
    said = trip.pay()
    del said["price"]

    await trip.back(said)
    await shopper.calls()

    assert (trip.at_sonet.price, await trip.payment()) == ("897", "paid")


async def test_several_pieces_are_no_product_that_sonet_could_have_a_price_of(shopper: Shopper) -> None:
    """So-net may charge by its own list of products: then three must not cost what one does."""
    trip = await shopper.sent(quantity=3)

    form = await shopper.browser.get(f"/tools/POST.html?state={trip.state}")

    assert trip.at_sonet.fields["icpProdId"] == f"{DIAMONDS}_x3"
    assert f'name="icpProdId" value="{DIAMONDS}_x3"' in form.text


@pytest.mark.parametrize("how", ["paid", "review", "refund", "chargeback"])
async def test_of_what_is_settled_sonet_is_not_asked_whatever_is_named(shopper: Shopper, how: str) -> None:
    trip = await shopper.sent()
    await trip.back(trip.pay() | ({"price": "1"} if how == "review" else {}))
    await shopper.calls()
    if how in ("refund", "chargeback"):
        operator = shopper.harness.client(ids.new_id(), "OPS")
        said = await operator.post(f"/shop/orders/{trip.order_id}/{how}", json={"reason": "other"})
        assert said.status_code == 202

    await trip.back({"resultCode": "ok", "sonetOrderNo": "another"})

    assert await shopper.harness.effects() == []


@pytest.mark.parametrize("priced_first", [True, False])
async def test_two_ways_to_say_the_same_are_one_question(shopper: Shopper, *, priced_first: bool) -> None:
    """A browser and a notice: what So-net says to the first question must not be lost by a second."""
    trip = await shopper.sent()
    said = trip.pay()
    unpriced = {name: value for name, value in said.items() if name != "price"}
    await trip.back(said if priced_first else unpriced)
    asked = (await shopper.harness.contents("effects"))["effects"]

    for again in (unpriced, said, unpriced | {"memo": "x"}):
        await trip.back(again)

    assert (await shopper.harness.contents("effects"))["effects"] == asked
    await trip.back(said | {"price": "1"})
    await shopper.calls()
    assert (await trip.payment(), await shopper.paid()) == ("review", 0)


async def test_a_confirmation_of_another_price_is_for_a_person(shopper: Shopper) -> None:
    shopper.sonet.behaviour["confirmOrder"] = "other_price"
    trip = await shopper.sent()

    await trip.back(trip.pay())
    await shopper.calls()

    assert (await trip.payment(), await shopper.paid()) == ("review", 0)


@pytest.mark.parametrize("behaviour", ["silent", "broken", "page", "bars", "two_lines", "refused", "other_order"])
async def test_what_is_not_understood_is_neither_paid_nor_failed_and_is_asked_again(
    shopper: Shopper, behaviour: str
) -> None:
    trip = await shopper.sent()
    shopper.sonet.behaviour["confirmOrder"] = behaviour

    await trip.back(trip.pay())
    await shopper.calls()
    await shopper.sweep()
    assert (await trip.payment(), await shopper.paid()) in [("confirming", 0), ("pending", 0)]

    shopper.sonet.behaviour["confirmOrder"] = "well"
    await shopper.sweep()
    assert (await trip.payment(), await shopper.paid()) == ("paid", 1)


@pytest.mark.parametrize("behaviour", ["broken", "page", "bars", "refused"])
async def test_nobody_is_sent_to_so_net_before_it_expects_the_payment(shopper: Shopper, behaviour: str) -> None:
    shopper.sonet.behaviour["authOrder"] = behaviour
    answer = await shopper.buyer.check_out(DIAMONDS, 1, "sonet")
    order_id = answer.json()["order_id"]
    handed = await shopper.buyer.client.post("/shop/checkout/sonet/complete", json={"order_id": order_id})
    state = handed.json()["url"].partition("state=")[2]

    dispatcher = EffectDispatcher(shopper.harness.runtime, SERVICE)
    running = asyncio.create_task(dispatcher.run())
    async with asyncio.timeout(SECONDS_MAX):
        while order_id not in shopper.sonet.payments:
            await asyncio.sleep(0.02)
        page = await shopper.browser.get(f"/tools/POST.html?state={state}")
        assert "<form" not in page.text
        shopper.sonet.behaviour["authOrder"] = "well"
        while "<form" not in page.text:
            shopper.harness.clock.advance(0.5)
            await asyncio.sleep(0.02)
            page = await shopper.browser.get(f"/tools/POST.html?state={state}")
    dispatcher.stop()
    await running

    assert shopper.sonet.payments[order_id].auth_code in page.text


async def test_a_notice_in_place_of_a_browser_that_never_comes_back(shopper: Shopper) -> None:
    trip = await shopper.sent()
    said = trip.pay()
    await shopper.sweep()
    assert await trip.payment() == "pending"  # So-net has no question to which its answer would be known

    await trip.back(said)
    await shopper.calls()

    assert (await trip.payment(), await shopper.paid()) == ("paid", 1)


async def test_who_never_comes_back_is_asked_about_for_a_day_and_then_makes_room(shopper: Shopper) -> None:
    trip = await shopper.sent()
    for wait, payment in ((EXPIRED_SECONDS, "pending"), (86_400, "failed")):
        shopper.harness.clock.advance(wait)
        await shopper.sweep()
        await shopper.sweep()
        assert await trip.payment() == payment

    assert await shopper.harness.timers() == []


async def test_while_so_net_cannot_say_nothing_fails_however_long(shopper: Shopper) -> None:
    trip = await shopper.sent()
    shopper.sonet.behaviour["confirmOrder"] = "broken"
    await trip.back(trip.pay())
    shopper.harness.clock.advance(3 * 86_400)
    await shopper.sweep()
    assert await trip.payment() == "confirming"

    shopper.sonet.behaviour["confirmOrder"] = "well"
    await shopper.sweep()
    assert (await trip.payment(), await shopper.paid()) == ("paid", 1)


async def test_an_expired_state_leads_to_no_gateway_but_back_from_it_for_a_day(shopper: Shopper) -> None:
    trip = await shopper.sent()
    shopper.harness.clock.advance(EXPIRED_SECONDS)

    for path in ("/redirect-out", "/tools/POST.html"):
        assert (await shopper.browser.get(f"{path}?state={trip.state}")).status_code == 403
    back = await trip.back(trip.pay())
    await shopper.calls()
    assert (await trip.payment(), await shopper.paid()) == ("paid", 1)
    assert "Paid." in (await shopper.browser.get(back.headers["location"])).text

    shopper.harness.clock.advance(86_400)
    late = await shopper.browser.post(f"/notify/sonet?state={trip.state}", data=trip.pay())
    assert late.status_code == 403


async def test_forged_numbers_are_few_and_push_out_no_payment_that_is_being_asked_for(shopper: Shopper) -> None:
    trip = await shopper.sent()
    said = trip.pay()
    for n in range(3 * HINTS_MAX):
        await trip.back(said | {"sonetOrderNo": f"SN{n + 100:010}"})
    await trip.back(said)

    assert [len(effect.model_dump()["hints"]) for effect in await shopper.harness.effects()] == [HINTS_MAX]
    await shopper.calls()

    assert (await trip.payment(), await shopper.paid()) == ("paid", 1)


async def test_a_slow_so_net_keeps_nobody_waiting(shopper: Shopper) -> None:
    shopper.sonet.behaviour["confirmOrder"] = "slow"
    trips = [await shopper.sent() for _ in range(10)]

    for trip in trips:
        await trip.back(trip.pay())
    await shopper.calls()

    assert {await trip.payment() for trip in trips} == {"paid"}
    assert await shopper.paid() == len(trips)


async def test_what_was_answered_stands_though_the_question_was_asked_anew_meanwhile(shopper: Shopper) -> None:
    """A vendor that has confirmed a payment once may not say so again."""
    trip = await shopper.sent()
    said = trip.pay()
    shopper.sonet.behaviour["confirmOrder"] = "slow"
    await trip.back(said)
    dispatcher = EffectDispatcher(shopper.harness.runtime, SERVICE)
    running = asyncio.create_task(dispatcher.run())
    async with asyncio.timeout(SECONDS_MAX):
        while not trip.at_sonet.confirmations:
            await asyncio.sleep(0.01)

        shopper.sonet.behaviour["confirmOrder"] = "refused"
        await trip.back(said | {"sonetOrderNo": "SN0000000099"})
        while await shopper.harness.effects():
            await asyncio.sleep(0.01)
    dispatcher.stop()
    await running

    assert (await trip.payment(), await shopper.paid(), trip.at_sonet.confirmations) == ("paid", 1, 2)


async def test_of_two_payments_of_one_order_one_pays_it_and_the_other_pays_nothing(shopper: Shopper) -> None:
    trip, other = await shopper.sent(), await shopper.sent()

    async def answered(order_id: str, *paid: tuple[str, int]) -> None:
        asked = ConfirmPayment(gateway="sonet", order_id=order_id, amount=29_900, currency="TWD")
        best = best_of(asked, [Answer(order_id, "paid", amount, "TWD", reference) for reference, amount in paid])
        async with shopper.harness.tx() as tx:
            await record_answer(EffectResult(asked, "the call", order_id, best), tx)

    await answered(trip.order_id, ("SN1", 100), ("SN2", 29_900), ("SN3", 29_900))
    await answered(other.order_id, ("SN3", 29_900))

    assert (await trip.payment(), await other.payment(), await shopper.paid()) == ("paid", "review", 1)


async def test_another_users_order_is_not_handed_over(shopper: Shopper) -> None:
    trip = await shopper.sent()

    stranger = shopper.harness.client(ids.new_id())
    answer = await stranger.post("/shop/checkout/sonet/complete", json={"order_id": trip.order_id})

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/order-not-found")


def payload(**changed: Any) -> dict[str, Any]:
    return {"icpId": sonet_server.MERCHANT, "doAction": "authOrder", **changed}


def test_the_sandbox_refuses_what_so_net_would() -> None:
    sonet = sonet_server.Sonet()
    good = payload(icpOrderId="1", icpProdId="p", mpId="FET", memo="m", icpUserId="u", price="1", returnUrl="http://x")

    assert sonet.act(good)["resultCode"] == "00000"
    assert sonet.act(good) == sonet.act(good)
    for changed in (
        {"icpId": "x"}, {"price": "1.5"}, {"price": "0"}, {"price": "2"}, {"mpId": "vATM_FCB"}, {"memo": ""},
        {"doAction": "queryOrder"},
    ):  # fmt: skip
        assert sonet.act(good | changed)["resultCode"] != "00000", changed
    confirm = {"icpId": sonet_server.MERCHANT, "doAction": "confirmOrder", "icpOrderId": "1"}
    number = sonet.payments["1"].number
    assert sonet.act(confirm | {"sonetOrderNo": number})["resultCode"] != "00000"  # not paid yet
    sonet.choose(sonet.payments["1"], "pay")
    assert sonet.act(confirm | {"sonetOrderNo": "SN2"})["resultCode"] != "00000"
    assert sonet.act(confirm | {"sonetOrderNo": number})["resultCode"] == "00000"
