"""What gateways and browsers tell, with each gateway: whatever comes when, paid is what the gateway says is paid.

Each gateway is a real HTTP server that has taken the money or has not; what is told to shop is told as its browsers and
its servers do, or as somebody else would who wants something for nothing.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis.runtime.faults import FaultError, plan_faults
from chassis_testing.service import ServiceHarness
from contracts import OrderFulfilledV1, OrderPaidV1, PassGrantedV1
from devstack.sandbox import Sandbox
from devstack.sonet import Sonet
from shop.service import SERVICE

if TYPE_CHECKING:
    import httpx

    from services.shop.tests.conftest import Buyer

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
PASS = "livestream_pass_7d"  # granted by shop itself, as the payment is recorded
PAID_ONCE = [OrderPaidV1, PassGrantedV1, OrderFulfilledV1]
SECONDS_MAX = 60.0


class Desk(ABC):
    """A shop, one gateway, and somebody who buys."""

    name: str

    def __init__(self, buyer: Buyer) -> None:
        self.buyer, self.harness = buyer, buyer.harness
        self.calls, self.sweep = buyer.calls, buyer.sweep
        self.states: dict[str, str] = {}
        """What the browser carries, by order."""

    @abstractmethod
    def choose(self, order_id: str, choice: str = "pay") -> None:
        """The payer decides, at the gateway."""

    @abstractmethod
    def says(self, order_id: str) -> dict[str, str]:
        """What the gateway tells of this order's payment."""

    @abstractmethod
    def changes(self, order_id: str, amount: int) -> None:
        """The gateway takes another amount than was announced."""

    @abstractmethod
    def questions(self, order_id: str) -> int:
        """How often it was asked about this order and had an answer."""

    @abstractmethod
    def behaves(self, how: str) -> None:
        """It answers its next questions like that."""

    async def handed_over(self) -> str:
        """An order of which its gateway has not heard yet."""
        made = await self.buyer.check_out(PASS, 1, self.name)
        order_id = str(made.json()["order_id"])
        await self.hand_over(order_id)
        await self.harness.take()
        return order_id

    async def hand_over(self, order_id: str) -> None:
        handed = await self.buyer.client.post(f"/shop/checkout/{self.name}/complete", json={"order_id": order_id})
        assert handed.status_code == 200, handed.text
        self.states[order_id] = str(handed.json()["url"].partition("state=")[2])

    async def sent(self) -> str:
        """An order whose payment the gateway expects."""
        order_id = await self.handed_over()
        await self.calls()
        return order_id

    async def tell(self, order_id: str, said: dict[str, str] | None = None) -> httpx.Response:
        """A notification comes in; without `said` it is the gateway's own."""
        body = self.says(order_id) if said is None else said
        url = f"/notify/{self.name}?state={self.states[order_id]}"
        return await self.harness.client().post(url, data=body)

    async def stands(self, order_id: str) -> tuple[str, int]:
        """The payment as shop knows it, and how many pieces lie in the backpack for it."""
        pieces = [piece for piece in await self.buyer.backpack() if piece["order_id"] == order_id]
        return str((await self.buyer.read(order_id))["payment"]), len(pieces)

    async def told(self) -> list[type[Any]]:
        return [type(event) for event in await self.harness.take()]


class AtSandbox(Desk):
    name = "sandbox"

    def __init__(self, buyer: Buyer, sandbox: Sandbox) -> None:
        super().__init__(buyer)
        self.sandbox = sandbox

    def choose(self, order_id: str, choice: str = "pay") -> None:
        self.sandbox.change({"order_id": order_id, "status": {"pay": "paid", "cancel": "cancelled"}[choice]})

    def says(self, order_id: str) -> dict[str, str]:
        return {"result": "ok" if self.sandbox.payments[order_id]["status"] == "paid" else "cancelled"}

    def changes(self, order_id: str, amount: int) -> None:
        self.sandbox.change({"order_id": order_id, "amount": amount})

    def questions(self, order_id: str) -> int:  # noqa: ARG002 - it counts all of them, and there is one order
        return self.sandbox.confirmations

    def behaves(self, how: str) -> None:
        self.sandbox.change({"confirm": how})


class AtSonet(Desk):
    name = "sonet"

    def __init__(self, buyer: Buyer, sonet: Sonet) -> None:
        super().__init__(buyer)
        self.sonet = sonet

    def choose(self, order_id: str, choice: str = "pay") -> None:
        self.sonet.choose(self.sonet.payments[order_id], choice)

    def says(self, order_id: str) -> dict[str, str]:
        return self.sonet.says(self.sonet.payments[order_id])

    def changes(self, order_id: str, amount: int) -> None:
        self.sonet.payments[order_id].price = str(amount)

    def questions(self, order_id: str) -> int:
        return self.sonet.payments[order_id].confirmations

    def behaves(self, how: str) -> None:
        self.sonet.behaviour["confirmOrder"] = how


@pytest.fixture(params=[AtSandbox, AtSonet], ids=lambda kind: kind.name)
async def desk(
    request: pytest.FixtureRequest,
    harness_of: HarnessOf,
    buyer: Buyer,
    sandbox_at: tuple[Sandbox, int],
    sonet_at: tuple[Sonet, int],
) -> Desk:
    server, port = sandbox_at if request.param is AtSandbox else sonet_at
    harness = await harness_of(
        SERVICE,
        PAYMENT_GATEWAYS=[request.param.name],
        SANDBOX_ORIGIN=f"http://127.0.0.1:{port}",
        SONET_API_ORIGIN=f"http://127.0.0.1:{port}",
    )
    made: Desk = request.param(type(buyer)(harness), server)
    return made


@pytest.fixture
def faults() -> Iterator[Callable[[str], None]]:
    yield plan_faults
    plan_faults(None)


async def dies(desk: Desk) -> None:
    """A worker makes the calls that wait, until the planned death."""
    with pytest.RaisesGroup(FaultError):
        await asyncio.wait_for(EffectDispatcher(desk.harness.runtime, SERVICE).run(), SECONDS_MAX)


async def test_a_hundred_at_once_and_more_later_are_one_payment_and_one_question(desk: Desk) -> None:
    order_id = await desk.sent()
    desk.choose(order_id)

    answers = await asyncio.gather(*(desk.tell(order_id) for _ in range(100)))
    await desk.calls()
    answers += await asyncio.gather(*(desk.tell(order_id) for _ in range(10)))
    await desk.calls()

    assert {answer.status_code for answer in answers} == {303}
    assert (await desk.stands(order_id), desk.questions(order_id)) == (("paid", 1), 1)
    assert await desk.told() == PAID_ONCE


@pytest.mark.parametrize("seed", range(5))
async def test_in_any_order_and_with_forged_ones_between_each_order_is_what_its_gateway_says(
    desk: Desk, seed: int
) -> None:
    paid, unpaid, cancelled = [await desk.sent() for _ in range(3)]
    desk.choose(paid)
    desk.choose(cancelled, "cancel")
    ok = {"result": "ok", "resultCode": "ok", "sonetOrderNo": "SN9999999999"}
    tellings = [
        *[(paid, None)] * 3,
        *[(order_id, said) for order_id in (paid, unpaid, cancelled) for said in ({}, ok, desk.says(paid))],
        *[(cancelled, None)] * 2,
        (unpaid, None),
    ]
    random.Random(seed).shuffle(tellings)

    for order_id, said in tellings:
        assert (await desk.tell(order_id, said)).status_code == 303
        if random.Random(f"{seed}{order_id}{said}").random() < 0.5:
            await desk.calls()
    await desk.calls()

    assert await desk.stands(paid) == ("paid", 1)
    assert await desk.stands(unpaid) == ("pending", 0)
    assert await desk.stands(cancelled) in [("pending", 0), ("failed", 0)]
    assert (await desk.told()).count(OrderPaidV1) == 1


@pytest.mark.parametrize("amount", [0, 1, 29_899, 2_990_000])
async def test_another_amount_buys_nothing_whatever_is_told_afterwards(desk: Desk, amount: int) -> None:
    order_id = await desk.sent()
    desk.changes(order_id, amount)
    desk.choose(order_id)

    for _ in range(3):
        await desk.tell(order_id)
        await desk.calls()
        await desk.sweep()

    assert await desk.stands(order_id) == ("review", 0)
    assert await desk.told() == []


async def test_what_comes_before_our_own_record_is_not_lost(desk: Desk, faults: Callable[[str], None]) -> None:
    """The gateway expects the payment and takes it; that it does we have not noted, for we died over its answer."""
    order_id = await desk.handed_over()
    faults('{"effects.after_vendor": {"action": "raise", "of": "authorize-payment"}}')
    await dies(desk)
    desk.choose(order_id)

    assert (await desk.tell(order_id)).status_code == 303
    assert await desk.stands(order_id) == ("pending", 0)
    await desk.calls()
    await desk.sweep()

    assert await desk.stands(order_id) == ("paid", 1)
    assert await desk.told() == PAID_ONCE


async def test_what_comes_while_the_answer_is_under_way_is_the_same_payment(desk: Desk) -> None:
    order_id = await desk.sent()
    desk.choose(order_id)
    desk.behaves("slow")
    await desk.tell(order_id)
    calling = asyncio.create_task(desk.calls())

    while not calling.done():
        await asyncio.gather(*(desk.tell(order_id) for _ in range(10)))
    await calling
    await desk.calls()

    assert await desk.stands(order_id) == ("paid", 1)
    assert await desk.told() == PAID_ONCE


@pytest.mark.parametrize("lost", ["with the answer", "before the call"])
async def test_what_dies_between_notification_and_record_is_healed_in_the_sweepers_round(
    desk: Desk, faults: Callable[[str], None], lost: str
) -> None:
    order_id = await desk.sent()
    desk.choose(order_id)
    await desk.tell(order_id)
    if lost == "with the answer":
        faults('{"effects.after_vendor": {"action": "raise", "of": "confirm-payment"}}')
        await dies(desk)
    else:
        await desk.harness.runtime.database[EFFECTS.name].delete_many({})
    assert await desk.stands(order_id) == ("confirming", 0)

    await desk.sweep()

    assert await desk.stands(order_id) == ("paid", 1)
    assert await desk.told() == PAID_ONCE


async def test_who_cancels_and_then_pays_in_another_tab_has_paid_once(desk: Desk) -> None:
    order_id = await desk.sent()
    first = desk.states[order_id]
    await desk.hand_over(order_id)
    second = desk.states[order_id]
    desk.choose(order_id, "cancel")
    await desk.tell(order_id)
    await desk.calls()
    assert (await desk.stands(order_id))[1] == 0

    desk.choose(order_id)
    for state in (first, second):
        desk.states[order_id] = state
        await desk.tell(order_id)
        await desk.calls()

    assert await desk.stands(order_id) == ("paid", 1)


async def test_nothing_that_is_told_later_takes_a_payment_back(desk: Desk) -> None:
    order_id = await desk.sent()
    desk.choose(order_id)
    said = desk.says(order_id)
    await desk.tell(order_id)
    await desk.calls()
    await desk.told()

    desk.behaves("refused" if desk.name == "sonet" else "garbage")
    for later in (said, {}, said | {"resultCode": "fail", "result": "cancelled"}, said | {"price": "1"}):
        await desk.tell(order_id, later)
        await desk.calls()
        await desk.sweep()

    assert await desk.stands(order_id) == ("paid", 1)
    assert await desk.told() == []


async def test_what_is_told_of_a_payment_that_went_back_asks_nothing(desk: Desk) -> None:
    order_id = await desk.sent()
    desk.choose(order_id)
    await desk.tell(order_id)
    await desk.calls()
    operator = desk.harness.client(ids.new_id(), "OPS")
    await operator.post(f"/shop/orders/{order_id}/refund", json={"reason": "asked_for"})
    await desk.told()

    for said in (None, {"result": "ok", "resultCode": "ok", "sonetOrderNo": "SN0000000009"}):
        await desk.tell(order_id, said)
        assert await desk.harness.effects() == []
    await desk.sweep()

    assert await desk.stands(order_id) == ("refunded", 0)
    assert await desk.told() == []
