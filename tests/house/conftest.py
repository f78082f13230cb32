"""A house for one scenario: all services on the real MongoDB with one clock, a streamer on air, and whoever comes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import httpx
import pytest

from chassis import ids
from chassis.clock import ManualClock, unix
from chassis.service import Service
from chassis_testing.service import START_TIME, ServiceHarness
from chassis_testing.system import ServiceSystem
from contracts import GiftRequestedV1
from escrow.handlers.recount import recount_all
from escrow.service import SERVICE as ESCROW
from goals.service import SERVICE as GOALS
from sessions.service import SERVICE as SESSIONS
from shop.service import SERVICE as SHOP
from shop.store import ORDERS
from shop.store.orders import settle

TICKET = "livestream-show-ticket_134"
PACK = "diamond_3300"  # 100 diamonds
SD_DIAMONDS, EXCLUSIVE_DIAMONDS = 5, 20  # per step, in every session of these tests

# Neighbours: a viewer with money to spend and a streamer with earnings, who have nothing to do with any test.
RICH_VIEWER, PAID_STREAMER = "e" * 23 + "1", "e" * 23 + "2"
RICH_DIAMONDS, PAID_DIAMONDS = 977, 23

HarnessOf = Callable[..., Awaitable[ServiceHarness]]


@dataclass
class House:
    """One session, its streamer, and everybody's money. What is asked is heard when the troupe is told to."""

    system: ServiceSystem
    goals: ServiceHarness
    sessions: ServiceHarness
    escrow: ServiceHarness
    shop: ServiceHarness
    streamer: str = field(default_factory=ids.new_id)
    session_id: str = ""
    _clients: dict[tuple[str, str], httpx.AsyncClient] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.system.now

    async def clear(self) -> None:
        """A new scenario: nobody remembers anything, but the neighbours have money again."""
        await self.system.clear()
        await enrich(self.escrow)

    # What people do

    async def ask(self, harness: ServiceHarness, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """One command; its events are published, and wait to be heard."""
        client = self._clients.get((harness.service.name, who))
        if client is None:
            scopes = ("CREATOR", "OPS") if who == self.streamer else ()
            client = self._clients[harness.service.name, who] = harness.client(who, *scopes)
        response = await client.request(method, path, json=body)
        assert response.status_code < 500, response.text
        await self.system.collect(harness.service.name)
        return response

    async def open(self) -> None:
        """Go on air, and let everybody know."""
        assert (await self.start()).status_code == 201
        await self.system.run_until_idle()

    async def start(self) -> httpx.Response:
        """Go on air, if nothing forbids it."""
        prices = {"sd": SD_DIAMONDS, "exclusive": EXCLUSIVE_DIAMONDS}
        started = await self.ask(self.sessions, self.streamer, "POST", "/sessions", {"prices": prices})
        if started.status_code == 201:
            self.session_id = started.json()["session_id"]
        return started

    async def viewer(self, diamonds: int) -> str:
        """Somebody with so much to spend."""
        user_id = ids.new_id()
        if diamonds:
            path, body = f"/wallets/{user_id}/credit", {"amount_diamonds": diamonds}
            assert (await self.ask(self.escrow, self.streamer, "POST", path, body)).status_code == 201
        return user_id

    async def create(self, kind: str, body: dict[str, Any], who: str | None = None) -> httpx.Response:
        """Ask for a goal, in this session."""
        body["context"] = {"session_id": self.session_id} | body.get("context", {})
        return await self.ask(self.goals, who or self.streamer, "POST", f"/goals?type={kind}", body)

    async def fund(self, target: int = 2, seconds: float = 600, **context: Any) -> httpx.Response:
        """Offer a show: so many tickets in so many seconds."""
        promised = {
            "perform_duration": 60,
            "hesitation_countdown": 30,
            "ticket_product_id": TICKET,
            "ticket_product_type": "regular",
        }
        levels = [{"title": "A song", "target": target}]
        offer = {"levels": levels, "exp": unix(self.now) + seconds, "context": promised | context}
        return await self.create("show-funding", offer)

    async def perform(self, funding_id: str, **more: Any) -> httpx.Response:
        """Begin the show."""
        return await self.create("show", {"context": {"funding_goal_id": funding_id}} | more)

    async def ask_for_gifts(self, target: int, seconds: float = 600) -> httpx.Response:
        """Begin a private goal."""
        levels = [{"title": "For those who gave", "target": target}]
        return await self.create("trigger-private", {"levels": levels, "exp": unix(self.now) + seconds})

    async def invite(self, viewer: str, steps: int = 1) -> httpx.Response:
        """Invite the streamer to a 1-on-1."""
        return await self.create("trigger-exclusive", {"context": {"duration": 60 * steps}}, viewer)

    async def begin_exclusive(self, invitation_id: str) -> httpx.Response:
        """Begin the 1-on-1."""
        return await self.create("exclusive", {"context": {"trigger_exclusive_goal_id": invitation_id}})

    async def extend(self, exclusive_id: str) -> httpx.Response:
        return await self.ask(self.goals, self.streamer, "PUT", f"/goals/{exclusive_id}/extend")

    async def delete(self, goal_id: str, who: str | None = None, **answer: bool) -> httpx.Response:
        return await self.ask(self.goals, who or self.streamer, "DELETE", f"/goals/{goal_id}", answer or None)

    async def give(
        self, sender: str, goal_id: str | None = None, product: str = TICKET, count: int = 1
    ) -> httpx.Response:
        body = {"product_id": product, "session_id": self.session_id, "goal_id": goal_id, "count": count}
        return await self.ask(self.shop, sender, "POST", "/gifts", body)

    async def pay(self, viewer: str, steps: int = 1) -> httpx.Response:
        body = {"duration": 60 * steps}
        return await self.ask(self.sessions, viewer, "POST", f"/sessions/{self.session_id}/pay", body)

    async def buy(self, who: str, quantity: int) -> str:
        """An order of diamonds that is paid; nobody has heard of it."""
        wish = {"product_id": PACK, "quantity": quantity, "gateway": "sandbox"}
        order_id = str((await self.ask(self.shop, who, "POST", "/shop/checkout", wish)).json()["order_id"])
        async with self.shop.tx() as tx:
            order = await tx.get(ORDERS, order_id)
            assert order is not None
            settle(tx, replace(order, payment="confirming"), "confirmed")
        await self.system.collect("shop")
        return order_id

    async def give_back(self, order_id: str) -> None:
        path = f"/shop/orders/{order_id}/refund"
        answer = await self.ask(self.shop, self.streamer, "POST", path, {"reason": "asked_for"})
        assert answer.status_code == 202, answer.text

    async def end(self) -> httpx.Response:
        return await self.ask(self.sessions, self.streamer, "DELETE", f"/sessions/{self.session_id}")

    async def block(self, viewer: str) -> None:
        assert (await self.ask(self.sessions, self.streamer, "PUT", f"/blocks/{viewer}")).status_code == 204

    async def unblock(self, viewer: str) -> None:
        assert (await self.ask(self.sessions, self.streamer, "DELETE", f"/blocks/{viewer}")).status_code == 204

    # How it stands

    async def read(self, harness: ServiceHarness, path: str, who: str | None = None) -> Any:
        response = await self.ask(harness, who or self.streamer, "GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def accounts(self) -> dict[str, int]:
        """What lies in every account. The sum is zero, and what has a floor is not below it, at any moment."""
        balances: dict[str, int] = {}
        after = ""
        while True:
            page = await self.read(self.escrow, f"/ledger/proof?limit=100{after}")
            assert page["holds"], page
            balances |= {row["account"]: row["balance_diamonds"] for row in page["accounts"]}
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        floors = {name: diamonds for name, diamonds in balances.items() if name.startswith(("wallet:", "escrow:"))}
        assert all(diamonds >= 0 for diamonds in floors.values()), floors
        return balances

    async def spent(self, viewer: str, credited: int) -> int:
        """What is gone from a wallet that was given `credited`."""
        return credited - (await self.accounts()).get(f"wallet:{viewer}", 0)

    async def earned(self) -> int:
        return (await self.accounts()).get(f"earnings:{self.streamer}", 0)


HouseAt = Callable[[datetime], Awaitable[House]]


@pytest.fixture
async def harness_of(harness_of: HarnessOf) -> AsyncIterator[HarnessOf]:
    """Every test of the house moves beside people who have money in both wallets; after it the books are proven."""
    escrows: list[ServiceHarness] = []

    async def start(service: Service, **how: Any) -> ServiceHarness:
        harness = await harness_of(service, **how)
        if service is ESCROW:
            escrows.append(harness)
            await enrich(harness)
        return harness

    yield start
    for escrow in escrows:
        await prove(escrow)


async def enrich(escrow: ServiceHarness) -> None:
    """Diamonds to spend in one wallet, earnings in another: the neighbours'. Nobody is told."""
    ops = escrow.client(ids.new_id(), "OPS")
    wallet, body = f"/wallets/{RICH_VIEWER}/credit", {"amount_diamonds": RICH_DIAMONDS + PAID_DIAMONDS}
    assert (await ops.post(wallet, json=body)).status_code == 201
    gift = GiftRequestedV1(
        session_id=ids.new_id(), streamer_id=PAID_STREAMER, gift_id=ids.new_id(), sender_id=RICH_VIEWER,
        product_id="livestream-gift_rose", categories=("livestream-gift",), count=1, amount_diamonds=PAID_DIAMONDS,
    )  # fmt: skip
    await escrow.handle(gift)
    await escrow.take()


@pytest.fixture
def neighbours() -> Callable[[ServiceHarness], Awaitable[None]]:
    """Gives them their money again, where a test has had escrow forget everything."""
    return enrich


async def prove(escrow: ServiceHarness) -> None:
    """The ledger's proof holds, from balances and from transfers, and all that is stored follows from the transfers.

    The neighbours have in both wallets what they had.
    """
    ops = escrow.client(ids.new_id(), "OPS")
    for source in ("balances", "transfers"):
        accounts: dict[str, int] = {}
        after: str | None = ""
        while after is not None:
            query = {"limit": 100, "from": source} | ({"after": after} if after else {})
            page = (await ops.get("/ledger/proof", params=query)).json()
            assert page["holds"], page
            accounts |= {row["account"]: row["balance_diamonds"] for row in page["accounts"]}
            after = page["next"]
        assert accounts[f"wallet:{RICH_VIEWER}"] == RICH_DIAMONDS
        assert accounts[f"earnings:{PAID_STREAMER}"] == PAID_DIAMONDS
    assert [difference async for difference in recount_all(escrow.runtime)] == []


@pytest.fixture
def house_at(harness_of: HarnessOf) -> HouseAt:
    """A session that goes on air at this moment, which everybody knows."""

    async def opened(moment: datetime) -> House:
        clock = ManualClock(moment)
        goals, sessions, escrow, shop = [await harness_of(one, clock=clock) for one in (GOALS, SESSIONS, ESCROW, SHOP)]
        house = House(ServiceSystem(goals, sessions, escrow, shop), goals, sessions, escrow, shop)
        await house.open()
        return house

    return opened


@pytest.fixture
async def house(house_at: HouseAt) -> House:
    """A session on air, which everybody knows."""
    return await house_at(START_TIME)
