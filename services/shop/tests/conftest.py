"""A buyer, a streamer who has been on air, a shop in which money can be paid, and the gateways' own servers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from chassis import ids
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis_testing.service import ServiceHarness
from chassis_testing.serving import serving
from contracts import SessionStartedV1, WalletCreditedV1
from contracts.sessions import Prices, Statuses
from devstack import sandbox as sandbox_server
from devstack import sonet as sonet_server
from shop import store
from shop.domain.orders import Fact, Order
from shop.domain.payments import CHECK_EVERY
from shop.service import SERVICE
from shop.store.orders import settle

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
SECONDS_MAX = 60.0


class Buyer:
    """Somebody who buys, and what becomes of it."""

    def __init__(self, harness: ServiceHarness) -> None:
        self.harness = harness
        self.user, self.streamer = ids.new_id(), ids.new_id()
        self.client = harness.client(self.user)

    async def check_out(self, product: str, quantity: Any = 1, gateway: str = "sandbox") -> httpx.Response:
        wish = {"product_id": product, "quantity": quantity, "gateway": gateway}
        return await self.client.post("/shop/checkout", json=wish)

    async def order(self, product: str, quantity: int = 1) -> str:
        answer = await self.check_out(product, quantity)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["order_id"])

    async def read(self, order_id: str) -> Any:
        return (await self.client.get(f"/shop/orders/{order_id}")).json()

    async def happened(self, order_id: str, *facts: Fact, reference: str | None = None) -> Order:
        """The facts come in, each in a transaction of its own; the order after them."""
        for fact in facts:
            async with self.harness.tx() as tx:
                settle(tx, await self._order(order_id, tx), fact, reference)
        async with self.harness.tx() as tx:
            return await self._order(order_id, tx)

    async def pay(self, order_id: str) -> None:
        await self.happened(order_id, "handed_over", "asked", "confirmed")

    async def calls(self) -> None:
        """All that is asked of gateways is asked; nobody waits for what they never answer."""
        dispatcher = EffectDispatcher(self.harness.runtime, SERVICE)
        running = asyncio.create_task(dispatcher.run())
        effects = self.harness.runtime.database[EFFECTS.name]
        async with asyncio.timeout(SECONDS_MAX):
            while await effects.count_documents({}):
                self.harness.clock.advance(0.5)
                await asyncio.sleep(0.02)
        dispatcher.stop()
        await running

    async def sweep(self) -> None:
        """The sweeper comes round, once."""
        self.harness.clock.advance(CHECK_EVERY.total_seconds())
        await self.harness.run_timers()
        await self.calls()

    async def credited(self, order_id: str) -> None:
        """Escrow says that the diamonds of the order are in the wallet."""
        for item in (await self.read(order_id))["items"]:
            cause = f"{order_id}:{item['item_id']}"
            amount = item["diamonds"] * item["quantity"]
            await self.harness.handle(WalletCreditedV1(user_id=self.user, amount_diamonds=amount, cause_id=cause))

    async def backpack(self) -> list[Any]:
        return list((await self.client.get("/shop/backpack")).json()["items"])

    async def on_air(self) -> None:
        await self.harness.handle(
            SessionStartedV1(
                session_id=ids.new_id(),
                streamer_id=self.streamer,
                active=True,
                prices=Prices(sd=10, exclusive=20),
                preset="preview",
                sources=(),
                statuses=Statuses(created=self.harness.now, ended=None),
                exclusive_to=(),
            )
        )

    async def _order(self, order_id: str, tx: Any) -> Order:
        order: Order | None = await tx.get(store.ORDERS, order_id)
        assert order is not None
        return order


@pytest.fixture
async def buyer(harness_of: HarnessOf) -> Buyer:
    return Buyer(await harness_of(SERVICE))


@pytest.fixture
def sandbox_at() -> Iterator[tuple[sandbox_server.Sandbox, int]]:
    """The sandbox, and its port."""
    server = sandbox_server.server(0)
    with serving(server) as port:
        yield server.RequestHandlerClass.sandbox, port  # type: ignore[attr-defined] # the sandbox's


@pytest.fixture
def sonet_at() -> Iterator[tuple[sonet_server.Sonet, int]]:
    """So-net, and its port."""
    server = sonet_server.server(0)
    with serving(server) as port:
        yield server.RequestHandlerClass.sonet, port  # type: ignore[attr-defined] # the sandbox's
