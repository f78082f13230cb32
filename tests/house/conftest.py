"""A house for one evening: all services on the real MongoDB with one clock, a streamer on air, and whoever comes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from chassis import ids
from chassis.clock import ManualClock, unix
from chassis.service import Service
from chassis.testing import NIGHT, Solo
from chassis.troupe import Troupe
from escrow.handlers.recount import recount_all
from escrow.service import SERVICE as ESCROW
from goals.service import SERVICE as GOALS
from sessions.service import SERVICE as SESSIONS
from shop.service import SERVICE as SHOP

TICKET = "livestream-show-ticket_134"
SD_DIAMONDS, EXCLUSIVE_DIAMONDS = 5, 20  # per step, in every session of these tests

SoloOf = Callable[..., Awaitable[Solo]]


@dataclass
class House:
    """One session, its streamer, and everybody's money. What is asked is heard when the troupe is told to."""

    troupe: Troupe
    goals: Solo
    sessions: Solo
    escrow: Solo
    shop: Solo
    streamer: str = field(default_factory=ids.new_id)
    session_id: str = ""
    _clients: dict[tuple[str, str], httpx.AsyncClient] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.troupe.now

    # What people do

    async def ask(self, solo: Solo, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """One command; its events are published, and wait to be heard."""
        client = self._clients.get((solo.service.name, who))
        if client is None:
            scopes = ("CREATOR", "OPS") if who == self.streamer else ()
            client = self._clients[solo.service.name, who] = solo.client(who, *scopes)
        response = await client.request(method, path, json=body)
        assert response.status_code < 500, response.text
        await self.troupe.collect(solo.service.name)
        return response

    async def open(self) -> None:
        """Go on air, and let everybody know."""
        prices = {"sd": SD_DIAMONDS, "exclusive": EXCLUSIVE_DIAMONDS}
        started = await self.ask(self.sessions, self.streamer, "POST", "/sessions", {"prices": prices})
        self.session_id = started.json()["session_id"]
        await self.troupe.settle()

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

    async def delete(self, goal_id: str, **answer: bool) -> httpx.Response:
        return await self.ask(self.goals, self.streamer, "DELETE", f"/goals/{goal_id}", answer or None)

    async def give(
        self, sender: str, goal_id: str | None = None, product: str = TICKET, count: int = 1
    ) -> httpx.Response:
        body = {"product_id": product, "session_id": self.session_id, "goal_id": goal_id, "count": count}
        return await self.ask(self.shop, sender, "POST", "/gifts", body)

    async def pay(self, viewer: str, steps: int = 1) -> httpx.Response:
        body = {"duration": 60 * steps}
        return await self.ask(self.sessions, viewer, "POST", f"/sessions/{self.session_id}/pay", body)

    async def end(self) -> httpx.Response:
        return await self.ask(self.sessions, self.streamer, "DELETE", f"/sessions/{self.session_id}")

    async def block(self, viewer: str) -> None:
        assert (await self.ask(self.sessions, self.streamer, "PUT", f"/blocks/{viewer}")).status_code == 204

    async def unblock(self, viewer: str) -> None:
        assert (await self.ask(self.sessions, self.streamer, "DELETE", f"/blocks/{viewer}")).status_code == 204

    # How it stands

    async def read(self, solo: Solo, path: str, who: str | None = None) -> Any:
        response = await self.ask(solo, who or self.streamer, "GET", path)
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


@pytest.fixture
async def solo_of(solo_of: SoloOf) -> AsyncIterator[SoloOf]:
    """After every test of the house the books are proven, of each escrow that there was."""
    escrows: list[Solo] = []

    async def start(service: Service, **how: Any) -> Solo:
        solo = await solo_of(service, **how)
        if service is ESCROW:
            escrows.append(solo)
        return solo

    yield start
    for escrow in escrows:
        await prove(escrow)


async def prove(escrow: Solo) -> None:
    """The ledger's proof holds, from balances and from transfers, and all that is stored follows from the transfers.

    With money in two wallets at least, so that nobody can have another's.
    """
    ops = escrow.client(ids.new_id(), "OPS")
    for _ in range(2):
        credited = await ops.post(f"/wallets/{ids.new_id()}/credit", json={"amount_diamonds": 1})
        assert credited.status_code == 201, credited.text
    for source in ("balances", "transfers"):
        after: str | None = ""
        while after is not None:
            query = {"limit": 100, "from": source} | ({"after": after} if after else {})
            page = (await ops.get("/ledger/proof", params=query)).json()
            assert page["holds"], page
            after = page["next"]
    assert [difference async for difference in recount_all(escrow.runtime)] == []


@pytest.fixture
async def house(solo_of: SoloOf) -> House:
    """A session on air, which everybody knows."""
    clock = ManualClock(NIGHT)
    goals, sessions, escrow, shop = [await solo_of(one, clock=clock) for one in (GOALS, SESSIONS, ESCROW, SHOP)]
    opened = House(Troupe(goals, sessions, escrow, shop), goals, sessions, escrow, shop)
    await opened.open()
    return opened
