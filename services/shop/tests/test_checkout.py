"""The way to the sandbox and back: a real HTTP server that signs, fails, and says other things than it should."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from chassis import ids
from chassis.clock import unix
from chassis.effects.dispatcher import EffectDispatcher
from chassis.runtime.faults import FaultError, plan_faults
from chassis_testing.service import ServiceHarness
from contracts import OrderFailedV1, OrderFulfilledV1, OrderPaidV1, PassGrantedV1
from devstack import sandbox as sandbox_server
from shop.domain.orders import UNSETTLED_MAX
from shop.gateway.states import ALGORITHM, AUDIENCE
from shop.service import SERVICE
from shop.settings import ShopSettings

if TYPE_CHECKING:
    import httpx

    from services.shop.tests.conftest import Buyer

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
DIAMONDS = "diamond_29900"
SECONDS_MAX = 60.0
NO_STATE = "403 /problems/state-invalid"


class Shopper:
    """Somebody with a browser, in front of a shop whose gateway is there."""

    def __init__(self, buyer: Buyer, sandbox: sandbox_server.Sandbox) -> None:
        self.buyer, self.sandbox, self.harness = buyer, sandbox, buyer.harness
        self.calls, self.sweep = buyer.calls, buyer.sweep
        self.browser = buyer.harness.client()  # no token, and no cookie on its way back

    async def ordered(self, product: str = DIAMONDS) -> str:
        order_id = await self.buyer.order(product)
        await self.harness.take()
        return order_id

    async def complete(self, order_id: str, gateway: str = "sandbox", **who: Any) -> httpx.Response:
        client = who.get("client", self.buyer.client)
        answer: httpx.Response = await client.post(f"/shop/checkout/{gateway}/complete", json={"order_id": order_id})
        return answer

    async def sent(self, order_id: str) -> str:
        """Handed over, and the gateway expects the payment; the state that the browser carries."""
        answer = await self.complete(order_id)
        assert answer.status_code == 200, answer.text
        await self.calls()
        return str(answer.json()["url"].partition("state=")[2])

    def choose(self, order_id: str, choice: str = "pay") -> None:
        payment = self.sandbox.payments[order_id]
        assert self.sandbox.choose(payment["authorization"], choice) is not None

    async def back(self, state: str, **said: str) -> httpx.Response:
        return await self.browser.post(f"/notify/sandbox?state={state}", data=said or {"result": "ok"})

    async def payment(self, order_id: str) -> str:
        return str((await self.buyer.read(order_id))["payment"])


@pytest.fixture
async def shopper(harness_of: HarnessOf, buyer: Buyer, sandbox_at: tuple[sandbox_server.Sandbox, int]) -> Shopper:
    sandbox, port = sandbox_at
    return Shopper(type(buyer)(await harness_of(SERVICE, SANDBOX_ORIGIN=f"http://127.0.0.1:{port}")), sandbox)


def said(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['type']}"


async def test_a_round_trip_ends_with_what_was_bought(shopper: Shopper) -> None:
    order_id = await shopper.ordered()
    state = await shopper.sent(order_id)

    out = await shopper.browser.get(f"/redirect-out?state={state}")
    form = await shopper.browser.get(out.headers["location"])
    authorization = re.search(r'name="authorization" value="([0-9a-f]{32})"', form.text)
    assert authorization is not None
    assert (
        f"form-action {shopper.harness.runtime.outside.settings(ShopSettings).sandbox_origin};"
        in form.headers["content-security-policy"]
    )
    assert f"shop-checkout-{order_id}=" in out.headers["set-cookie"]
    shopper.choose(order_id)
    back = await shopper.back(state)
    assert (back.status_code, await shopper.payment(order_id)) == (303, "confirming")
    await shopper.calls()
    result = await shopper.browser.get(back.headers["location"])

    assert "Paid." in result.text
    assert "Max-Age=0" in result.headers["set-cookie"]
    assert (await shopper.payment(order_id)) == "paid"
    assert [type(event) for event in await shopper.harness.take()] == [OrderPaidV1]


async def test_two_tabs_have_the_gateway_expect_one_payment(shopper: Shopper) -> None:
    """It may say no to the second, and what it says to the first must not be lost by then."""
    order_id = await shopper.ordered()
    await shopper.complete(order_id)
    asked = (await shopper.harness.contents("effects"))["effects"]

    answers = await asyncio.gather(*(shopper.complete(order_id) for _ in range(5)))

    assert {answer.status_code for answer in answers} == {200}
    assert (await shopper.harness.contents("effects"))["effects"] == asked
    assert len(asked) == 1


async def test_what_the_browser_says_is_no_payment(shopper: Shopper) -> None:
    order_id = await shopper.ordered()
    state = await shopper.sent(order_id)

    await shopper.back(state, result="ok", status="paid", amount="29900")
    await shopper.calls()

    assert (await shopper.payment(order_id)) == "pending"
    assert await shopper.harness.take() == []


@pytest.mark.parametrize(("amount", "currency"), [(29_899, "TWD"), (29_901, "TWD"), (29_900, "USD"), (0, "TWD")])
async def test_another_amount_buys_nothing_and_is_for_a_person(shopper: Shopper, amount: int, currency: str) -> None:
    order_id = await shopper.ordered()
    state = await shopper.sent(order_id)
    shopper.sandbox.change({"order_id": order_id, "amount": amount, "currency": currency})
    shopper.choose(order_id)

    await shopper.back(state)
    await shopper.calls()

    assert (await shopper.payment(order_id)) == "review"
    assert await shopper.harness.take() == []


@pytest.mark.parametrize("behaviour", ["broken", "garbage", "unsigned"])
async def test_an_answer_that_is_not_understood_is_neither_paid_nor_failed_and_is_asked_for_again(
    shopper: Shopper, behaviour: str
) -> None:
    order_id = await shopper.ordered()
    state = await shopper.sent(order_id)
    shopper.choose(order_id)
    shopper.sandbox.change({"confirm": behaviour})

    await shopper.back(state)
    await shopper.calls()
    assert (await shopper.payment(order_id)) == "confirming"

    shopper.sandbox.change({"confirm": "well"})
    await shopper.sweep()
    assert (await shopper.payment(order_id)) == "paid"


async def test_who_pays_and_never_comes_back_has_paid_within_the_sweepers_round(shopper: Shopper) -> None:
    order_id = await shopper.ordered()
    await shopper.sent(order_id)
    shopper.choose(order_id)

    await shopper.sweep()

    assert (await shopper.payment(order_id)) == "paid"


async def test_who_cancels_has_bought_nothing_and_nothing_is_asked_any_more(shopper: Shopper) -> None:
    order_id = await shopper.ordered()
    state = await shopper.sent(order_id)
    shopper.choose(order_id, "cancel")

    await shopper.back(state)
    await shopper.calls()

    assert (await shopper.payment(order_id)) == "failed"
    assert [type(event) for event in await shopper.harness.take()] == [OrderFailedV1]
    asked = shopper.sandbox.confirmations
    await shopper.sweep()
    assert (shopper.sandbox.confirmations, await shopper.harness.timers()) == (asked, [])
    assert said(await shopper.complete(order_id)) == "409 /problems/order-closed"


@pytest.mark.parametrize("away_seconds", [0, 50, 3_600])
async def test_a_death_between_the_gateways_word_and_its_record_is_healed_within_the_sweepers_round(
    shopper: Shopper, away_seconds: int
) -> None:
    order_id = await shopper.ordered("livestream_pass_7d")
    state = await shopper.sent(order_id)
    shopper.choose(order_id)
    await shopper.back(state)
    plan_faults('{"effects.after_vendor": {"action": "raise", "of": "confirm-payment"}}')
    try:
        with pytest.RaisesGroup(FaultError):
            await EffectDispatcher(shopper.harness.runtime, SERVICE).run()
    finally:
        plan_faults(None)
    assert (await shopper.payment(order_id)) == "confirming"

    shopper.harness.clock.advance(away_seconds)
    await shopper.sweep()

    assert (await shopper.payment(order_id)) == "paid"
    assert [type(event) for event in await shopper.harness.take()] == [OrderPaidV1, PassGrantedV1, OrderFulfilledV1]
    assert len(await shopper.buyer.backpack()) == 1


async def test_nobody_pays_at_the_sandbox_for_an_order_that_is_over(shopper: Shopper) -> None:
    order_id = await shopper.ordered()
    await shopper.sent(order_id)
    assert shopper.sandbox.payments[order_id]["exp"] == int((await shopper.buyer.read(order_id))["exp"])
    shopper.sandbox.change({"order_id": order_id, "exp": 0})

    shopper.choose(order_id)
    await shopper.sweep()

    assert (await shopper.payment(order_id)) == "failed"


async def test_an_order_whose_gateway_never_was_ready_is_over_in_time(shopper: Shopper) -> None:
    order_id = await shopper.ordered()
    state = (await shopper.complete(order_id)).json()["url"].partition("state=")[2]
    await shopper.back(state)
    assert (await shopper.payment(order_id)) == "pending"  # there is nothing to ask about yet

    shopper.harness.clock.advance(1_800)
    await shopper.harness.run_timers()

    assert (await shopper.payment(order_id)) == "failed"
    assert await shopper.harness.timers() == []


async def test_a_payment_buys_one_order(shopper: Shopper) -> None:
    """The gateway tells of one payment for two orders: the second is for a person."""
    first, second = await shopper.ordered(), await shopper.ordered()
    for order_id in (first, second):
        await shopper.sent(order_id)
        shopper.choose(order_id)
    authorization = shopper.sandbox.payments[first]["authorization"]
    shopper.sandbox.change({"order_id": second, "authorization": authorization})

    await shopper.sweep()
    await shopper.sweep()

    assert sorted([await shopper.payment(first), await shopper.payment(second)]) == ["paid", "review"]
    assert [type(event) for event in await shopper.harness.take()] == [OrderPaidV1]


async def test_who_orders_a_lot_and_pays_nothing_waits_until_something_of_it_is_over(shopper: Shopper) -> None:
    orders = [await shopper.buyer.order(DIAMONDS) for _ in range(UNSETTLED_MAX)]

    assert said(await shopper.buyer.check_out(DIAMONDS)) == "409 /problems/too-many-open-orders"
    await shopper.buyer.pay(orders[7])
    assert (await shopper.buyer.check_out(DIAMONDS)).status_code == 201
    assert (await shopper.buyer.check_out(DIAMONDS)).status_code == 409
    shopper.harness.clock.advance(1_801)
    await shopper.harness.run_timers()
    assert (await shopper.buyer.check_out(DIAMONDS)).status_code == 201


async def test_two_tabs_are_one_payment(shopper: Shopper) -> None:
    order_id = await shopper.ordered()
    first, second = await shopper.sent(order_id), await shopper.sent(order_id)
    assert first != second
    shopper.choose(order_id)

    for state in (second, first):
        await shopper.back(state)
        await shopper.calls()

    assert len(shopper.sandbox.payments) == 1
    assert [type(event) for event in await shopper.harness.take()] == [OrderPaidV1]


async def test_an_order_is_handed_over_by_its_buyer_to_its_gateway_in_time(shopper: Shopper) -> None:
    order_id = await shopper.ordered()
    stranger = shopper.harness.client(ids.new_id())

    assert said(await shopper.complete(order_id, client=stranger)) == "404 /problems/order-not-found"
    assert said(await shopper.complete(ids.new_id())) == "404 /problems/order-not-found"
    assert said(await shopper.complete(order_id, "sonet")) == "409 /problems/gateway-not-offered"
    shopper.harness.clock.advance(1_800)
    assert said(await shopper.complete(order_id)) == "409 /problems/order-closed"
    assert await shopper.harness.effects() == []


async def test_a_state_that_is_not_ours_leads_nowhere_and_asks_nothing(shopper: Shopper) -> None:
    order_id = await shopper.ordered()
    state = await shopper.sent(order_id)
    key = shopper.harness.runtime.outside.settings(ShopSettings).checkout_state_key.get_secret_value()
    good = jwt.decode(state, key, algorithms=[ALGORITHM], audience=AUDIENCE, options={"verify_exp": False})
    past = int(unix(shopper.harness.now)) - 86_401  # who comes back within a day still sees how it stands
    bad = [
        "x", "%00", "é", state[:-2], f"{state}x", state.replace(".", "..", 1),
        jwt.encode(good, "another-key-that-is-as-long-as-it-must-be", algorithm=ALGORITHM),
        jwt.encode(good | {"aud": "footlights"}, key, algorithm=ALGORITHM),
        jwt.encode(good | {"exp": past}, key, algorithm=ALGORITHM),
        jwt.encode({name: value for name, value in good.items() if name != "exp"}, key, algorithm=ALGORITHM),
        jwt.encode(good | {"sub": ids.new_id()}, key, algorithm=ALGORITHM),
        jwt.encode(good, "", algorithm="none"),
    ]  # fmt: skip

    for forged in bad:
        for path in ("/redirect-out", "/tools/POST.html", f"/shop/redirect-in/shop-checkout-{order_id}"):
            answer = await shopper.browser.get(path, params={"state": forged})
            assert said(answer) == NO_STATE, (path, forged)
        answer = await shopper.browser.post("/notify/sandbox", params={"state": forged})
        assert said(answer) == NO_STATE, forged
    assert await shopper.harness.effects() == []
    other = await shopper.browser.get(f"/redirect-in/shop-checkout-{ids.new_id()}", params={"state": state})
    assert said(other) == NO_STATE


async def test_no_address_can_be_carried_to_anywhere(shopper: Shopper) -> None:
    """There is no parameter for one; whatever is added is passed over."""
    state = await shopper.sent(await shopper.ordered())

    for name in ("next", "resume", "action", "session", "url"):
        for target in ("https://evil.example", "//evil.example", "javascript:alert(1)", "/\\evil.example", "\r\nx: y"):
            for path in ("/redirect-out", "/tools/POST.html"):
                answer = await shopper.browser.get(path, params={"state": state, name: target})
                assert "evil" not in str(answer.headers) + answer.text
                assert answer.headers.get("location", "/").startswith("/tools/POST.html?state=") or answer.is_success
