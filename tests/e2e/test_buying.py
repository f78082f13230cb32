"""Diamonds for money in a real Chromium: from the checkout to So-net's page, which is another site, and back.

Browsers are impatient: they click twice, go back, open two tabs and close them, and are lent to somebody else.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.waiting import until
from demo.world import Person, World
from devstack.browser import Page, PageError, open_page
from devstack.errors import NotInstalled
from devstack.services import environment
from devstack.settings import Settings
from devstack.tools import chromium
from shop.gateway.states import State, issue
from shop.settings import ShopSettings

PACK, DIAMONDS, PRICE = "diamond_29900", 1_000, "NT$299"


@dataclass
class Shopper:
    """Somebody who buys, with tabs of a browser."""

    world: World
    who: Person
    page: Page

    async def order(self) -> str:
        wish = {"product_id": PACK, "quantity": 1, "gateway": "sonet"}
        made = await self.world.command(self.who, "POST", "/shop/checkout", wish)
        return str(made.json()["order_id"])

    async def handed_over(self, order_id: str, **lang: str) -> str:
        """Where the browser is sent."""
        body = {"order_id": order_id, **lang}
        return str((await self.world.command(self.who, "POST", "/shop/checkout/sonet/complete", body)).json()["url"])

    async def balance(self) -> int:
        return int((await self.world.get(self.who, "/wallets/me"))["balance_diamonds"])

    async def has(self, diamonds: int) -> None:
        await until(f"{self.who.name} has {diamonds} diamonds", self.balance, lambda said: said == diamonds)

    async def fulfilled(self, order_id: str) -> None:
        async def state() -> str:
            return str((await self.world.get(self.who, f"/shop/orders/{order_id}"))["fulfilment"])

        await until("the order is fulfilled", state, lambda said: said == "fulfilled")


async def shows(page: Page, words: str) -> None:
    """It comes to show this."""

    async def text() -> str:
        with suppress(PageError):  # between two pages there is none
            return str(await page.evaluate("document.body ? document.body.innerText : ''"))
        return ""

    await until(f"a page that says {words!r}", text, lambda said: words in said)


async def click(page: Page, choice: str, times: int = 1) -> None:
    """Press one of So-net's two buttons, as often as somebody is impatient."""
    press = f"document.querySelector('button[value={choice}]').click();"
    with suppress(PageError):  # the page that was asked may be gone before it answers
        await page.evaluate(f"{{ {press * times} }}")


async def go_back(page: Page) -> None:
    """The browser's own button: what a page's script asks for, its policy may refuse."""
    history = await page.tell("Page.getNavigationHistory")
    before = history["entries"][history["currentIndex"] - 1]
    await page.tell("Page.navigateToHistoryEntry", entryId=before["id"])


async def to_sonet(page: Page, url: str) -> str:
    """Follow the way out; returns where So-net is."""
    await page.load(url)
    await shows(page, PRICE)
    return str(await page.evaluate("location.origin"))


async def behave(sonet: str, **how: str) -> None:
    async with httpx.AsyncClient(base_url=sonet, trust_env=False) as http:
        (await http.put("/behaviour", content=json.dumps(how))).raise_for_status()


@pytest.fixture
async def shopper_of(world: World) -> AsyncIterator[Callable[[str], Awaitable[Shopper]]]:
    try:
        chromium(print)
    except NotInstalled as error:
        pytest.skip(str(error))
    async with open_page("about:blank", print) as page:

        async def make(name: str) -> Shopper:
            return Shopper(world, world.person(name), await page.open_tab("about:blank"))

        yield make


ShopperOf = Callable[[str], Awaitable[Shopper]]


async def test_who_clicks_twice_and_goes_back_has_bought_once(shopper_of: ShopperOf) -> None:
    lea = await shopper_of("Lea")
    order_id = await lea.order()

    sonet = await to_sonet(lea.page, await lea.handed_over(order_id))
    assert sonet.startswith("http://localhost:")
    await click(lea.page, "pay", times=2)
    await shows(lea.page, "Paid.")
    await lea.has(DIAMONDS)
    await lea.fulfilled(order_id)
    cookies = await lea.page.tell("Network.getAllCookies")
    assert [cookie["name"] for cookie in cookies["cookies"]] == []

    await go_back(lea.page)
    await shows(lea.page, PRICE)
    await click(lea.page, "pay")
    await shows(lea.page, "Paid.")
    url = (await lea.world.request(lea.who, "POST", "/shop/checkout/sonet/complete", {"order_id": order_id})).json()
    assert url["type"] == "/problems/order-closed"
    assert await lea.balance() == DIAMONDS


async def test_who_cancels_has_paid_nothing_and_may_pay_in_one_of_two_tabs(shopper_of: ShopperOf) -> None:
    max_ = await shopper_of("Max")
    order_id = await max_.order()
    first, second = max_.page, await max_.page.open_tab("about:blank")
    await to_sonet(first, await max_.handed_over(order_id))
    await to_sonet(second, await max_.handed_over(order_id))

    await click(first, "cancel")
    await shows(first, "has not been paid")
    assert await max_.balance() == 0
    await click(second, "pay")
    await shows(second, "Paid.")
    await first.load(await first.evaluate("location.href"))
    await shows(first, "Paid.")

    await max_.fulfilled(order_id)
    assert await max_.balance() == DIAMONDS


async def test_who_reads_chinese_is_told_in_it_and_pays_after_all(shopper_of: ShopperOf) -> None:
    rui = await shopper_of("Rui")
    order_id = await rui.order()
    await to_sonet(rui.page, await rui.handed_over(order_id, lang="zh-Hant"))

    await click(rui.page, "cancel")
    await shows(rui.page, "這筆訂單尚未付款")
    with suppress(PageError):
        await rui.page.evaluate("document.querySelector('a').click()")
    await shows(rui.page, PRICE)
    await click(rui.page, "pay")
    await shows(rui.page, "付款完成")

    await rui.has(DIAMONDS)


async def test_who_closes_the_tab_once_it_is_paid_has_bought(shopper_of: ShopperOf) -> None:
    nia = await shopper_of("Nia")
    order_id = await nia.order()
    sonet = await to_sonet(nia.page, await nia.handed_over(order_id))
    await behave(sonet, way_back="notice")
    try:
        await click(nia.page, "pay")
        await shows(nia.page, "leads nowhere")
    finally:
        await behave(sonet, way_back="browser")
    await nia.page.tell("Page.close")

    await nia.has(DIAMONDS)
    await nia.fulfilled(order_id)


async def test_who_pays_with_anothers_link_buys_for_the_other(shopper_of: ShopperOf) -> None:
    owner, other = await shopper_of("Ole"), await shopper_of("Pia")
    order_id = await owner.order()
    refused = await other.world.request(other.who, "POST", "/shop/checkout/sonet/complete", {"order_id": order_id})
    assert refused.status_code == httpx.codes.NOT_FOUND

    await to_sonet(other.page, await owner.handed_over(order_id))
    await click(other.page, "pay")
    await shows(other.page, "Paid.")

    await owner.has(DIAMONDS)
    assert await other.balance() == 0


async def test_an_expired_or_forged_link_leads_nowhere(shopper_of: ShopperOf) -> None:
    quinn = await shopper_of("Quinn")
    order_id = await quinn.order()
    url, _, state = (await quinn.handed_over(order_id)).partition("state=")
    settings = _settings()
    past = issue(settings, State(order_id, order_id), datetime(2020, 1, 1, tzinfo=UTC))

    for carried in (past, f"{state}x"):
        await quinn.page.load(f"{url}state={carried}")
        await shows(quinn.page, "state-invalid")
        assert await quinn.page.evaluate("location.pathname") == "/redirect-out"
    assert await quinn.balance() == 0


def _settings() -> ShopSettings:
    told: Mapping[str, Any] = environment(Settings(Path("/nowhere"), 20_000), "shop")
    return ShopSettings(checkout_state_key=told["CHECKOUT_STATE_KEY"], devstack=True)
