"""The external wallet: an account for each user, asked for until it is there, whatever that wallet does meanwhile."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import jwt
import pytest
from pydantic import SecretStr, ValidationError

from chassis import ids
from chassis.clock import SystemClock, instant
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis_testing.service import ServiceHarness
from contracts import OrderCreatedV1
from contracts.shop import Item
from devstack import wallet as wallet_server
from escrow import gateway
from escrow.service import SERVICE
from escrow.settings import Settings
from escrow.store import EXTERNAL_ACCOUNTS

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
SECONDS_MAX = 60.0


class House:
    """Escrow, and a wallet of somebody else's."""

    def __init__(self, escrow: ServiceHarness, wallet: wallet_server.Wallet) -> None:
        self.escrow, self.wallet = escrow, wallet

    async def order(self, user_id: str) -> None:
        item = Item(item_id=ids.new_id(), product_id="a", quantity=1, diamonds=1)
        of: dict[str, Any] = {"order_id": ids.new_id(), "user_id": user_id, "items": (item,)}
        await self.escrow.handle(OrderCreatedV1(**of, amount=1, currency="TWD", gateway="sandbox"))

    async def calls(self, until: Callable[[], bool] | None = None) -> None:
        """The wallet is called until nothing waits, or until something is so."""
        dispatcher = EffectDispatcher(self.escrow.runtime, SERVICE)
        running = asyncio.create_task(dispatcher.run())
        effects = self.escrow.runtime.database[EFFECTS.name]
        async with asyncio.timeout(SECONDS_MAX):
            while not until() if until else await effects.count_documents({}):
                self.escrow.clock.advance(0.5)
                await asyncio.sleep(0.02)
        dispatcher.stop()
        await running

    async def is_there(self, user_id: str) -> bool:
        async with self.escrow.tx() as tx:
            account = await tx.get(EXTERNAL_ACCOUNTS, user_id)
        return account is not None and account.created is not None


@pytest.fixture
async def house(harness_of: HarnessOf) -> AsyncIterator[House]:
    server = wallet_server.server(0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    escrow = await harness_of(SERVICE, WALLET_API_URL=url, WALLET_API_KEY=wallet_server.KEY)
    yield House(escrow, server.RequestHandlerClass.wallet)  # type: ignore[attr-defined] # the sandbox's
    await escrow.runtime.outside.http.close()
    server.shutdown()
    server.server_close()


async def test_who_orders_has_an_account_there_asked_for_once(house: House) -> None:
    user = ids.new_id()

    await house.order(user)
    await house.order(user)
    await house.escrow.client(ids.new_id(), "OPS").post(f"/wallets/{user}/credit", json={"amount_diamonds": 1})
    await house.calls()
    await house.order(user)
    await house.calls()

    assert (user in house.wallet.accounts, house.wallet.asked[user]) == (True, 1)
    assert await house.is_there(user)


async def test_a_first_credit_makes_an_account_too(house: House) -> None:
    user = ids.new_id()
    await house.escrow.client(ids.new_id(), "OPS").post(f"/wallets/{user}/credit", json={"amount_diamonds": 1})

    await house.calls()

    assert await house.is_there(user)


@pytest.mark.parametrize("behaviour", ["broken", "lost"])
async def test_a_wallet_that_fails_is_asked_until_it_took(house: House, behaviour: str) -> None:
    user = ids.new_id()
    house.wallet.behaviour = behaviour
    await house.order(user)

    await house.calls(lambda: house.wallet.asked[user] >= 3)

    assert not await house.is_there(user)
    house.wallet.behaviour = "conflict"  # which is how another one says that it has it
    await house.calls()
    house.wallet.behaviour = "well"
    assert await house.is_there(user)
    assert list(house.wallet.accounts) == [user]


async def test_a_slow_one_keeps_nobody_waiting(house: House) -> None:
    users = [ids.new_id() for _ in range(20)]
    house.wallet.behaviour = "slow"

    for user in users:
        await house.order(user)
    answer = await house.escrow.client(users[0]).get("/wallets/me")
    await house.calls()

    assert answer.status_code == HTTPStatus.OK
    assert all([await house.is_there(user) for user in users])


async def test_without_one_nobody_is_asked_and_whoever_orders_later_has_an_account_then(
    harness_of: HarnessOf, house: House
) -> None:
    plain, user = await harness_of(SERVICE), ids.new_id()

    await House(plain, house.wallet).order(user)

    assert await plain.effects() == []
    async with plain.tx() as tx:
        assert await tx.get(EXTERNAL_ACCOUNTS, user) is None
    async with house.escrow.tx() as tx:  # it had a wallet before there was an external one
        tx.delete(EXTERNAL_ACCOUNTS, user)
    await house.order(user)
    await house.calls()
    assert await house.is_there(user)


def test_a_token_makes_the_account_of_one_user_for_a_minute() -> None:
    user = ids.new_id()
    settings = Settings(wallet_api_url="http://wallet", wallet_api_key=SecretStr(wallet_server.KEY), devstack=True)
    now = instant(SystemClock().micros())

    token = gateway.token(user, now, settings)

    def said(token: str, of: str = user) -> HTTPStatus | None:
        return wallet_server.may_create(f"Bearer {token}", of)

    claims = jwt.decode(token, wallet_server.KEY, algorithms=["HS256"], audience="wallet")
    assert said(token) is None
    assert said(token, ids.new_id()) == HTTPStatus.FORBIDDEN
    assert said(jwt.encode(claims | {"scopes": []}, wallet_server.KEY)) == HTTPStatus.FORBIDDEN
    for forged in (
        jwt.encode(claims, wallet_server.KEY + "x"),
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode(claims | {"aud": "footlights"}, wallet_server.KEY),
        jwt.encode(claims | {"exp": claims["exp"] + 1}, wallet_server.KEY),
        gateway.token(user, now - timedelta(hours=1), settings),
        "",
    ):
        assert said(forged) == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"wallet_api_url": "https://wallet"}, "32 bytes"),
        ({"wallet_api_url": "https://wallet", "wallet_api_key": "short"}, "32 bytes"),
        ({"wallet_api_url": "https://wallet", "wallet_api_key": "demo" * 8}, "DEVSTACK=true"),
        ({"wallet_api_url": "https://wallet/1/account", "wallet_api_key": "k" * 32}, "wallet_api_url"),
        ({"wallet_api_url": "javascript:alert(1)", "wallet_api_key": "k" * 32}, "wallet_api_url"),
    ],
)
def test_a_wallet_needs_an_address_and_a_key(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(**given)
