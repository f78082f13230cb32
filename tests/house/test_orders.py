"""Whatever comes of orders when: money in is diamonds out, and each piece is granted once or never (SPEC §8).

A state machine orders, hands over, pays or cancels at both gateways (real HTTP servers of the test's own), tells shop
of it, too often, too late, in another's name or not at all, has gateways fail, processes die at fault points, events
come late and twice, and the sweeper come round. After each step nothing is granted that no gateway has been paid for;
in the end everything is heard, and what a gateway holds is what was bought, piece by piece.

    ORDERS_EXAMPLES=200 python -m pytest tests/house/test_orders.py -s       # a long run, with new scenarios each time
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from chassis import ids
from chassis.clock import ManualClock
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis.runtime.faults import FaultError, plan_faults
from chassis_testing.chance import hear, trouble
from chassis_testing.service import START_TIME, ServiceHarness
from chassis_testing.serving import serving
from chassis_testing.system import ServiceSystem
from contracts import OrderFulfilledV1, OrderPaidV1, PassGrantedV1, WalletCreditedV1, WalletDebitedV1
from devstack import sandbox, sonet
from escrow.service import SERVICE as ESCROW
from shop.domain import payments
from shop.domain.payments import Answer
from shop.domain.products import SOLD_BY_ID, DiamondPackProduct
from shop.service import SERVICE as SHOP

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
HarnessOf = Callable[..., Awaitable[ServiceHarness]]

EXAMPLES = int(os.environ.get("ORDERS_EXAMPLES", "0"))  # 0: always the same few scenarios
FEW_OF_EACH = 3
STEPS, FEW_AT_ONCE = 20, 3
LATEST = 4  # orders that people are busy with
SECONDS_MAX = 60.0
GATEWAYS = ("sandbox", "sonet")
PRODUCTS = ("diamond_3300", "diamond_29900", "livestream_pass", "livestream_pass_7d", "user_badge_patron")
PAUSES = (*(0,) * 16, 0.1, 1, 5, 5, 61, 61, 61, 2_000)  # a round trip takes less than half an hour, or is late
TROUBLES = ("no trouble", "no trouble", "no trouble", "crash", "repeat", "replay", "stop", "go on", "go on")
HANDLED = ("nothing", "one", "some", "all", "all")
COMMANDS = (  # what happens most stands several times
    *("order", "order", "hand over", "hand over", "hand over", "pay", "pay", "pay", "cancel", "take another amount"),
    *("tell", "tell", "tell", "tell at once", "tell forged", "tell of another", "call", "call", "call", "call"),
    *("call and die", "call in vain", "sweep", "hand over and die", "tell and die", "refund"),
)
STORIES: dict[str, tuple[str, ...]] = {  # what comes of the first two orders of a scenario, one at each gateway
    "paid": ("pay", "tell", "call"),
    "nobody tells": ("pay", "call and die"),
    "cancelled": ("cancel", "tell", "call"),
    "paid after all": ("cancel", "tell", "pay", "tell and die", "call and die"),
    "another amount": ("take another amount", "tell", "call"),
    "refunded": ("pay", "tell", "call", "refund", "tell", "call"),
}
DEATHS = {
    "call and die": {"effects.after_vendor": {"action": "raise"}},
    "hand over and die": {"edge.after_commit": {"action": "raise"}},
    "tell and die": {"edge.after_commit": {"action": "raise"}},
}
HAPPENS = (  # what each run must have come through, whatever chance brings
    *("crash", "repeat", "replay", "stop", "tell forged", "tell of another", "sweep", "call in vain"),
    *DEATHS,
    *(
        "died over an answer",
        "paid at sandbox",
        "paid at sonet",
        "diamonds out",
        "pieces out",
        "review",
        "failed",
        "paid after all",
    ),
)


@dataclass
class Bought:
    """One order: what was asked for, and what its gateway has."""

    id: str
    product: str
    quantity: int
    gateway: str
    states: list[str] = field(default_factory=list)
    """What browsers carry."""
    took: int | None = None
    """What the gateway has been paid, in cents."""
    cancelled: bool = False
    refunded: bool = False

    @property
    def price(self) -> int:
        return SOLD_BY_ID[self.product].amount * self.quantity

    @property
    def is_bought(self) -> bool:
        return self.took == self.price

    @property
    def may_stand(self) -> tuple[str, ...]:
        """How its payment stands in the end, if everything was told."""
        if self.refunded:
            return ("refunded",)
        if self.took is None:
            return ("open", "pending", "confirming", "failed")
        return ("paid",) if self.is_bought else ("review",)

    @property
    def diamonds(self) -> int:
        """What goes to the wallet for it."""
        product = SOLD_BY_ID[self.product]
        return product.diamonds * self.quantity if isinstance(product, DiamondPackProduct) else 0

    @property
    def pieces(self) -> int:
        """What lies in the backpack for it."""
        return 0 if self.diamonds else self.quantity


@dataclass
class Market:
    """A shop and an escrow, two gateways, and somebody who buys."""

    system: ServiceSystem
    shop: ServiceHarness
    escrow: ServiceHarness
    at_sandbox: sandbox.Sandbox
    at_sonet: sonet.Sonet
    neighbours: Callable[[ServiceHarness], Awaitable[None]]
    buyer: str = ""
    orders: list[Bought] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)

    async def begin(self) -> None:
        await self.system.clear()
        await self.neighbours(self.escrow)
        self.at_sandbox.payments.clear()
        self.at_sonet.payments.clear()
        self.buyer, self.orders = ids.new_id(), []
        plan_faults(None)

    # What people and processes do

    async def act(self, what: str, chance: random.Random, order: Bought | None = None) -> None:
        """One thing that happens, to this order or to any; one for which there is nothing is left out."""
        self.system.clock.advance(0.001)  # nobody is as quick as a clock that stands
        plan_faults(json.dumps(DEATHS[what]) if what in DEATHS else None)
        try:
            done = await self._do(what.removesuffix(" and die"), chance, order)
        finally:
            plan_faults(None)
        self.happened[what] += done
        await self.system.collect()

    async def _do(self, deed: str, chance: random.Random, order: Bought | None) -> bool:
        open_ = [order for order in self.orders if order.states][-LATEST:]
        match deed:
            case "order":
                await self.order(chance.choice(PRODUCTS), chance.randint(1, 3), chance.choice(GATEWAYS))
            case "call" | "call in vain":
                await self._call(deed)
            case "sweep":
                self.system.clock.advance(payments.CHECK_EVERY.total_seconds())
                await self.system.run_timers("shop")
            case "hand over" if self.orders:
                await self._hand_over(order or chance.choice(self.orders))
            case _ if open_:
                await self._with_gateway(deed, order or chance.choice(open_), chance.choice(open_), chance)
            case _:
                return False
        return True

    async def order(self, product: str, quantity: int, gateway: str) -> None:
        wish = {"product_id": product, "quantity": quantity, "gateway": gateway}
        answer = await self.shop.client(self.buyer).post("/shop/checkout", json=wish)
        if answer.status_code == 201:  # who got no answer has ordered, and does not know
            self.orders.append(Bought(answer.json()["order_id"], product, quantity, gateway))

    async def _hand_over(self, order: Bought) -> None:
        path, body = f"/shop/checkout/{order.gateway}/complete", {"order_id": order.id}
        answer = await self.shop.client(self.buyer).post(path, json=body)
        if answer.status_code == 200:
            order.states.append(answer.json()["url"].partition("state=")[2])

    async def _call(self, how: str) -> None:
        """Shop's worker asks gateways what there is to ask, until all is answered or it dies."""
        behaviour = "broken" if how == "call in vain" else "well"
        self.at_sandbox.behaviour["confirm"] = self.at_sonet.behaviour["confirmOrder"] = behaviour
        dispatcher = EffectDispatcher(self.shop.runtime, SHOP)
        running = asyncio.create_task(dispatcher.run())
        waiting = self.shop.runtime.database[EFFECTS.name]
        async with asyncio.timeout(SECONDS_MAX):
            while not running.done() and await waiting.count_documents({}):
                self.system.clock.advance(0.5)
                await asyncio.sleep(0.005)
        dispatcher.stop()
        try:
            await running
        except* FaultError:  # as planned
            self.happened["died over an answer"] += 1

    async def _with_gateway(self, deed: str, order: Bought, other: Bought, chance: random.Random) -> None:
        state = chance.choice(order.states)
        match deed:
            case "refund":
                await self._refund(order)
            case "pay" | "cancel" | "take another amount":
                form = await self.shop.client().get(f"/tools/POST.html?state={state}")
                if "<form" in form.text:
                    self._choose(order, deed)
            case "tell":
                await self._tell(order, state, self._said(order))
            case "tell at once":
                await asyncio.gather(*(self._tell(order, state, self._said(order)) for _ in range(5)))
            case "tell of another":
                await self._tell(order, state, self._said(other))
            case "tell forged":
                ok = {"resultCode": "ok", "sonetOrderNo": f"SN{chance.randint(1, 30):010}", "result": "ok"}
                await self._tell(order, state, ok)
            case _:
                raise LookupError(deed)

    def _choose(self, order: Bought, deed: str) -> None:
        """At the gateway: what is decided there once is decided, but So-net lets those pay who have cancelled."""
        if order.took is not None or (order.cancelled and order.gateway == "sandbox"):
            return
        if deed == "cancel":
            order.cancelled = True
        else:
            order.took = order.price if deed == "pay" else order.price + 100
            self.happened[f"paid at {order.gateway}"] += 1
            self.happened["paid after all"] += order.cancelled
        if order.gateway == "sandbox":
            status = "cancelled" if order.took is None else "paid"
            self.at_sandbox.payments[order.id] |= {"status": status} | ({"amount": order.took} if order.took else {})
        else:
            payment = self.at_sonet.payments[order.id]
            payment.price = str((order.took or order.price) // 100)
            self.at_sonet.choose(payment, "cancel" if order.took is None else "pay")

    async def _refund(self, order: Bought) -> None:
        """A person gives the money back, if it is known to be here."""
        operator = self.shop.client(ids.new_id(), "OPS")
        answer = await operator.post(f"/shop/orders/{order.id}/refund", json={"reason": "asked_for"})
        assert answer.status_code in (202, 409), answer.text
        order.refunded |= answer.status_code == 202

    def _said(self, order: Bought) -> dict[str, str]:
        known = self.at_sonet.payments.get(order.id)
        return self.at_sonet.says(known) if known else {"result": "ok" if order.took else "cancelled"}

    async def _tell(self, order: Bought, state: str, said: dict[str, str]) -> httpx.Response:
        answer = await self.shop.client().post(f"/notify/{order.gateway}?state={state}", data=said)
        assert answer.status_code in (303, 403, 500), answer.text  # 500: it died, and has said nothing
        return answer

    # How it stands

    async def wallet(self) -> int:
        """The buyer's diamonds; the ledger holds at any moment."""
        answer = await self.escrow.client(self.buyer).get("/wallets/me")
        assert answer.status_code == 200, answer.text
        return int(answer.json()["balance_diamonds"])

    async def backpack(self) -> Counter[str]:
        """How many pieces there are for each order."""
        pieces: list[Any] = []
        client, query = self.shop.client(self.buyer), "limit=100"
        while query:
            page = (await client.get(f"/shop/backpack?{query}")).json()
            pieces += page["items"]
            query = f"limit=100&after={page['next']}" if page["next"] else ""
        assert len({piece["item_id"] for piece in pieces}) == len(pieces)
        return Counter(piece["order_id"] for piece in pieces)

    async def payment(self, order: Bought) -> str:
        answer = await self.shop.client(self.buyer).get(f"/shop/orders/{order.id}")
        return str(answer.json()["payment"])

    async def require_no_gift(self) -> None:
        """Nothing has been granted for which no gateway has been paid what it costs."""
        assert await self.wallet() <= sum(order.diamonds for order in self.orders if order.is_bought)
        pieces = await self.backpack()
        assert pieces <= Counter({order.id: order.pieces for order in self.orders if order.is_bought})

    async def close(self) -> None:
        """Everybody is there again, every gateway has told of what it was paid, and the sweeper has come round."""
        plan_faults(None)
        self.system.resume(*self.system.services)
        await self.system.run_until_idle()
        for order in self.orders:
            for state in order.states[-1:]:
                await self._tell(order, state, self._said(order))
        for _ in range(2):
            await self._call("call")
            self.system.clock.advance(payments.CHECK_EVERY.total_seconds())
            await self.system.run_timers("shop")
        await self._call("call")
        await self.system.run_until_idle()

    async def require_truth(self) -> None:
        """What gateways have been paid is what was bought, and all of it is granted, once."""
        for order in self.orders:
            payment = await self.payment(order)
            self.happened[payment] += 1
            assert payment in order.may_stand, (order, payment)
        bought = [order for order in self.orders if order.is_bought]
        kept = [order for order in bought if not order.refunded]
        assert await self.wallet() == sum(order.diamonds for order in kept)
        assert await self.backpack() == Counter({order.id: order.pieces for order in kept if order.pieces})
        self._require_told_once(bought, kept)
        self.happened["diamonds out"] += sum(order.diamonds for order in kept)
        self.happened["pieces out"] += sum(order.pieces for order in kept)

    def _require_told_once(self, bought: Sequence[Bought], kept: Sequence[Bought]) -> None:
        """Each thing that came of an order is told once, and nothing else is."""
        paid = [one.order_id for one in self.system.events(OrderPaidV1)]
        fulfilled = Counter(one.order_id for one in self.system.events(OrderFulfilledV1))
        assert sorted(paid) == sorted(order.id for order in bought)
        assert Counter(order.id for order in kept) <= fulfilled <= Counter(paid)
        credited = [one for one in self.system.events(WalletCreditedV1) if one.amount_diamonds]
        assert sum(one.amount_diamonds for one in credited) == sum(order.diamonds for order in bought)
        assert len({one.cause_id for one in credited}) == len(credited)
        debited = sum(one.amount_diamonds for one in self.system.events(WalletDebitedV1))
        assert debited == sum(order.diamonds for order in bought if order.refunded)
        passes = sum(order.pieces for order in bought if "pass" in order.product)
        assert len(self.system.events(PassGrantedV1)) == passes


@pytest.fixture
async def market(
    harness_of: HarnessOf, neighbours: Callable[[ServiceHarness], Awaitable[None]]
) -> AsyncIterator[Market]:
    clock = ManualClock(START_TIME)
    of_sandbox, of_sonet = sandbox.server(0), sonet.server(0)
    with serving(of_sandbox) as sandbox_port, serving(of_sonet) as sonet_port:
        shop = await harness_of(
            SHOP,
            clock=clock,
            PAYMENT_GATEWAYS=list(GATEWAYS),
            SANDBOX_ORIGIN=f"http://127.0.0.1:{sandbox_port}",
            SONET_API_ORIGIN=f"http://127.0.0.1:{sonet_port}",
        )
        escrow = await harness_of(ESCROW, clock=clock)
        at_sandbox, at_sonet = (server.RequestHandlerClass for server in (of_sandbox, of_sonet))
        gateways = at_sandbox.sandbox, at_sonet.sonet  # type: ignore[attr-defined]  # each has its own
        yield Market(ServiceSystem(shop, escrow), shop, escrow, *gateways, neighbours)
        plan_faults(None)


class Machine(RuleBasedStateMachine):
    """One rule, which leaves to chance all it does, as that of `test_money.py` and for its reasons."""

    market: ClassVar[Market]
    loop: ClassVar[asyncio.AbstractEventLoop]
    stories: ClassVar[Sequence[str]]

    def __init__(self) -> None:
        super().__init__()
        self.seeds: Counter[int] = Counter()
        self.story = ""
        self.run(self.market.begin())

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result(120)

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Every scenario begins with two orders, of which the same comes at both gateways."""
        self.story = data.draw(st.sampled_from(self.stories))
        chance = random.Random(self.story)
        for product, gateway in zip(chance.sample(PRODUCTS[1:3], 2), GATEWAYS, strict=True):
            self.run(self.market.order(product, 2, gateway))
        for order in self.market.orders:
            for what in ("hand over", "call", *STORIES[self.story]):
                self.run(self.market.act(what, chance, order))

    @rule(seed=st.integers(0, 2**32))
    def live(self, seed: int) -> None:
        """A few things happen."""
        chance = random.Random(f"{self.story}, {seed}, {self.seeds[seed]} times before")
        self.seeds[seed] += 1
        for _ in range(FEW_AT_ONCE):
            self._live(chance)

    def _live(self, chance: random.Random) -> None:
        """Somebody does something, some hear of it, time passes, something breaks."""
        what, broken, service = chance.choice(COMMANDS), chance.choice(TROUBLES), chance.choice(("shop", "escrow"))
        self.run(self.market.act(what, chance))
        self.run(hear(self.market.system, chance.choice(HANDLED), chance))
        self.market.system.clock.advance(chance.choice(PAUSES))
        self.run(trouble(self.market.system, broken, service, chance))
        self.market.happened[broken] += 1

    @invariant()
    def nothing_is_for_nothing(self) -> None:
        self.run(self.market.require_no_gift())
        self.market.happened["steps"] += 1

    def teardown(self) -> None:
        self.run(self.market.close())
        self.run(self.market.require_truth())


async def play(market: Market, *stories: str, **how: Any) -> None:
    """Let the machine play in this market, scenarios that begin with one of these stories."""
    given = {"market": market, "loop": asyncio.get_running_loop(), "stories": stories or tuple(STORIES)}
    machine = cast("type[Machine]", type("OfThisMarket", (Machine,), given))
    profile = settings(
        stateful_step_count=STEPS, deadline=None, database=None, suppress_health_check=list(HealthCheck), **how
    )
    try:
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=profile)
    finally:
        print(dict(sorted(market.happened.items())))  # noqa: T201 - how much was proven


async def test_money_in_is_diamonds_out_and_each_piece_is_granted_once_or_never(market: Market) -> None:
    how: dict[str, Any] = {"derandomize": not EXAMPLES, "print_blob": True}
    if EXAMPLES:
        await play(market, max_examples=EXAMPLES, **how)
        return

    for story in STORIES:  # each, so that none of what must happen is left to chance
        await play(market, story, max_examples=FEW_OF_EACH, **how)

    assert [what for what in HAPPENS if not market.happened[what]] == []


# Bugs to plant: shop's rule what an answer means for an order, made wrong.


def paid_when_told(right: Any, order: Any, answer: Answer, now: Any) -> Any:
    return "confirmed" if answer.status == "open" else right(order, answer, now)


def any_amount_is_enough(right: Any, order: Any, answer: Answer, now: Any) -> Any:
    return "confirmed" if answer.status == "paid" else right(order, answer, now)


def never_paid(right: Any, order: Any, answer: Answer, now: Any) -> Any:
    fact = right(order, answer, now)
    return "still_open" if fact == "confirmed" else fact


BUGS = {paid_when_told: "cancelled", any_amount_is_enough: "another amount", never_paid: "paid"}
"""Each with the story in which it shows soonest."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
async def test_a_planted_bug_is_found(market: Market, monkeypatch: pytest.MonkeyPatch, bug: Callable[..., Any]) -> None:
    right = payments.fact_of
    monkeypatch.setattr(payments, "fact_of", lambda *of: bug(right, *of))

    with pytest.raises(AssertionError):
        await play(market, BUGS[bug], max_examples=FEW_OF_EACH, derandomize=True, phases=[Phase.generate])
