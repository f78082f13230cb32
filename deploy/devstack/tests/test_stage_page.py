"""The stage in a real Chromium: a streamer and viewers before the page, as people would be. They click and read."""

import asyncio
import base64
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.browser import Page, open_page
from devstack.errors import NotInstalled
from devstack.stack import Stack
from devstack.tokens import access_token
from devstack.tools import chromium

SERVERS = ("mongod", "kafka", "soketi", "nginx", "stage")
PARTS = (*SERVERS, *(f"{service}-api" for service in ("goals", "sessions", "escrow", "notifier", "shop")))
STEP_SECONDS = 12
TIMES = {
    "STEP_SECONDS": str(STEP_SECONDS),
    "INVITATION_SECONDS": "60",
    "EXCLUSIVE_WINDOW_SECONDS": str(STEP_SECONDS),
    "INVITATION_REFUND_SECONDS": "15",
    "UNKNOWN_WAIT_SECONDS": "10",
}
WAIT_SECONDS, POLL_SECONDS = 120.0, 0.1

EXCLUSIVE_PRICE, SD_PRICE, TICKET_PRICE, CAKE_PRICE = 30, 10, 134, 99
DIAMONDS = 1_000
SHOTS = os.environ.get("STAGE_SHOTS")
"""A folder for pictures of what is seen, for who wants to look."""

EVIL = ("<img src=x onerror=\"document.title='owned'\">", "\"><script>document.title='owned'</script>")

INLINE = """() => {
  document.body.append(Object.assign(document.createElement("script"), { textContent: "window.ran = true" }));
  document.querySelector("body > script:last-child").remove();
  return window.ran;
}"""


@dataclass
class Tab:
    """The page, with somebody before it."""

    page: Page

    async def asks(self, expression: str) -> Any:
        return await self.page.evaluate(expression)

    async def shows(self, words: str, where: str = "body") -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while words not in (said := await self.asks(f"document.querySelector({json.dumps(where)})?.innerText ?? ''")):
            assert time.monotonic() < deadline, f"{where} does not show {words!r}, but {said}"
            await asyncio.sleep(POLL_SECONDS)

    async def fills(self, form: str, **values: Any) -> None:
        name = f"form-{form}"
        await self.waits_for(f"#{name}:not([hidden])")
        await self.asks(
            f"{{ const form = document.getElementById({json.dumps(name)});"
            f"for (const [name, value] of Object.entries({json.dumps(values)})) form.elements[name].value = value;"
            "form.requestSubmit(); }"
        )

    async def presses(self, act: str) -> None:
        selector = f"[data-act={act}]:not([disabled])"
        await self.waits_for(selector)
        await self.asks(f"document.querySelector({json.dumps(selector)}).click()")

    async def waits_for(self, selector: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not await self.asks(f"document.querySelector({json.dumps(selector)}) !== null"):
            assert time.monotonic() < deadline, f"there is no {selector}"
            await asyncio.sleep(POLL_SECONDS)

    async def enters(self, name: str, role: str, diamonds: int = 0) -> None:
        await self.fills("enter", name=name, role=role, diamonds=diamonds)
        await self.shows("listening to Kafka", "#lines")
        await self.shows("diamonds", "#balance")

    async def goes_to(self, title: str) -> None:
        await self.shows(title, "#sessions")
        rows = "[...document.querySelectorAll('#sessions li')]"
        await self.asks(
            f"{rows}.find((row) => row.innerText.includes({json.dumps(title)})).querySelector('button').click()"
        )
        await self.shows(title, "#play-title")

    async def picture(self, name: str) -> None:
        if SHOTS:
            shot = await self.page.tell("Page.captureScreenshot", captureBeyondViewport=True)
            (Path(SHOTS) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, plain_environ: Mapping[str, str]) -> Iterator[Stack]:
    """As little of a stack as the page needs, with times that a busy machine can keep."""
    with Stack(tmp_path_factory.mktemp("page"), only=PARTS, environ={**plain_environ, **TIMES}, together=True) as stack:
        yield stack


@pytest.fixture
async def browser(running: Stack) -> AsyncIterator[Page]:
    try:
        chromium(print)
    except NotInstalled as error:
        pytest.skip(str(error))
    async with open_page(f"{running.gateway}/stage/", print) as page:
        yield page


@pytest.fixture(autouse=True)
async def books(running: Stack) -> AsyncIterator[None]:
    """Whatever was played, all accounts together are zero."""
    yield
    token = {"Authorization": f"Bearer {access_token('0' * 24, ['OPS'], {}, 60)}"}
    async with httpx.AsyncClient(base_url=running.gateway, headers=token, trust_env=False, timeout=60) as http:
        assert (await http.get("/ledger/proof")).json()["holds"] is True


async def on_stage(browser: Page, running: Stack) -> Tab:
    """A browser of somebody's own: what others keep in theirs is not there."""
    tab = Tab(await browser.open_tab(f"{running.gateway}/stage/", alone=True))
    await tab.asks("localStorage.setItem('footlights-language', 'en')")
    await tab.page.load(f"{running.gateway}/stage/")
    return tab


async def test_an_invitation_is_refused_and_another_is_kept(browser: Page, running: Stack) -> None:
    streamer, refused, invited = [await on_stage(browser, running) for _ in range(3)]
    await streamer.enters("Ada", "streamer")
    await refused.enters("Max", "viewer", DIAMONDS)
    await invited.enters("Zoe", "viewer", DIAMONDS)
    await streamer.fills("air", title="Evening", exclusive=EXCLUSIVE_PRICE, sd=SD_PRICE)
    await streamer.shows("On air: Evening")
    for viewer in (refused, invited):
        await viewer.goes_to("Evening")
        await viewer.shows("free preview", "#watching")
    await refused.picture("viewer-preview")

    # Refused: the money is back
    await refused.fills("invite", steps=1)
    await refused.shows(f"diamonds {DIAMONDS - EXCLUSIVE_PRICE} (-{EXCLUSIVE_PRICE})", "#lines")
    await streamer.shows("Invitation to a 1-on-1", "#goals")
    await streamer.picture("streamer-invited")
    await streamer.presses("refuse")
    await refused.shows(f"diamonds {DIAMONDS} (+{EXCLUSIVE_PRICE})", "#lines")
    await refused.shows("refused", "#goals")
    await refused.fills("invite", steps=1)
    await refused.shows("Refused:", "#refused")
    await refused.picture("viewer-refused")

    # Agreed and performed: the money is the streamer's
    await invited.fills("invite", steps=1)
    await invited.shows(f"diamonds {DIAMONDS - EXCLUSIVE_PRICE} (-{EXCLUSIVE_PRICE})", "#lines")
    await streamer.presses("agree")
    await streamer.presses("begin")
    await invited.shows("paid stream (sd)", "#watching")
    await refused.shows("You see nothing", "#watching")
    await invited.picture("viewer-exclusive")
    await refused.picture("viewer-shut-out")
    await streamer.shows(f"{EXCLUSIVE_PRICE} earned", "#balance")
    await streamer.picture("streamer-paid")

    for passed in ("goals ▸ goal.created.v1 ← POST /goals", "escrow ▸ escrow.completed.v1", "goal.ended"):
        await streamer.shows(passed, "#lines")
    await streamer.presses("end")
    await streamer.shows("Off air")


async def test_a_show_with_three_buyers_is_broken_off_and_all_have_their_money_back(
    browser: Page, running: Stack
) -> None:
    streamer, *buyers = [await on_stage(browser, running) for _ in range(4)]
    await streamer.enters("Ida", "streamer")
    await streamer.fills("air", title="Matinee", sd=SD_PRICE)
    await streamer.fills("show", title="A song", tickets=len(buyers), sale=600, perform=100)
    for number, buyer in enumerate(buyers, start=1):
        await buyer.enters(f"Buyer {number}", "viewer", DIAMONDS)
        await buyer.goes_to("Matinee")
        await buyer.presses("ticket")
        await buyer.shows(f"diamonds {DIAMONDS - TICKET_PRICE} (-{TICKET_PRICE})", "#lines")
        await streamer.shows(f"{number} of {len(buyers)}", "#goals")
    await buyers[0].picture("viewer-ticket")

    await streamer.presses("sold")
    await streamer.shows("funded", "#goals")
    await streamer.presses("perform")
    for buyer in buyers:
        await buyer.shows("paid stream (sd)", "#watching")
    await streamer.picture("streamer-performs")
    await streamer.presses("stop")
    for buyer in buyers:
        await buyer.shows(f"diamonds {DIAMONDS} (+{TICKET_PRICE})", "#lines")
        await buyer.shows("free preview", "#watching")
    await buyers[0].picture("viewer-show-refunded")

    # Minutes, as long as they last; gifts for a goal; and somebody who is not wanted any more
    viewer, other, blocked = buyers
    await viewer.fills("pay", steps=1)
    await viewer.shows("paid stream (sd)", "#watching")
    await viewer.shows("free preview", "#watching")
    await streamer.fills("private", title="A dance", target=10_000, seconds=600)
    await other.presses("cake")
    await streamer.shows(f"{CAKE_PRICE} of 10000", "#goals")
    await streamer.presses("stop")
    await other.shows(f"diamonds {DIAMONDS} (+{CAKE_PRICE})", "#lines")
    await blocked.fills("invite", steps=1)
    await streamer.presses("block")
    await blocked.shows("You see nothing", "#watching")
    await blocked.shows(f"diamonds {DIAMONDS} (+{EXCLUSIVE_PRICE})", "#lines")
    await blocked.picture("viewer-blocked")
    await streamer.presses("end")
    await streamer.shows("Off air")


async def test_what_somebody_has_written_is_shown_as_it_is(browser: Page, running: Stack) -> None:
    streamer = await on_stage(browser, running)
    await streamer.enters(EVIL[0], "streamer")
    await streamer.fills("air", title=EVIL[0])
    await streamer.shows(EVIL[0], "#play-title")
    await streamer.fills("private", title=EVIL[1], seconds=600)
    await streamer.shows(EVIL[1], "#goals")

    viewer = Tab(await browser.open_tab(f"{running.gateway}/stage/?role=viewer"))
    await viewer.fills("enter", name=EVIL[1], role="viewer", diamonds=DIAMONDS)
    await viewer.shows(EVIL[1], "#who")
    await viewer.goes_to(EVIL[0])
    await viewer.shows(EVIL[1], "#goals")

    for tab in (streamer, viewer):
        await tab.picture(f"evil-{'streamer' if tab is streamer else 'viewer'}")
        assert await tab.asks("document.querySelectorAll('img, iframe, script:not([src])').length") == 0
        assert "owned" not in await tab.asks("document.title")
        assert await tab.asks(f"({INLINE})()") is None  # even what stands in the page does not run
    await streamer.presses("end")
    await streamer.shows("Off air")
