"""pusher-js in a real Chromium, on a page of another origin: a viewer pays for minutes, watches, and is out again."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.scene import SD_PRICE
from demo.settings import STEP_SECONDS
from demo.waiting import WAIT_SECONDS, until
from demo.world import Person, World
from devstack.browser import Page, open_page
from devstack.errors import NotInstalled
from devstack.tools import chromium

if TYPE_CHECKING:
    from tests.e2e.conftest import Serve

STEPS = 5  # half a minute: what is done in the first of it may take long on a busy machine
HTML = '<!doctype html><title>Footlights</title><script src="pusher.js"></script><script src="page.js"></script>'


@dataclass
class Tab:
    """A page, with somebody before it."""

    page: Page
    status: Mapping[str, Any]

    async def heard(self) -> list[str]:
        found: list[str] = await self.page.evaluate("heard")
        return found

    async def hears(self, what: str, after: int = 0, seconds: float = WAIT_SECONDS) -> None:
        async def since() -> list[str]:
            return (await self.heard())[after:]

        await until(f"the page to hear {what!r}", since, lambda heard: what in heard, seconds)

    async def join(self, who: Person) -> None:
        pusher, gateway = self.status["pusher"], self.status["gateway"]
        given = {"host": pusher["host"], "port": pusher["port"], "key": pusher["key"]}
        await self.page.evaluate(f"join({json.dumps(given | {'gateway': gateway, 'token': who.token})})")
        await self.hears("signed in")

    async def listen(self, channel: str) -> None:
        await self.page.evaluate(f"listen({json.dumps(channel)})")

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        url = f"{self.status['gateway']}{path}"
        said: Mapping[str, Any] = await self.page.evaluate(
            f"ask({json.dumps(method)}, {json.dumps(url)}, {json.dumps(body)})"
        )
        return said


@pytest.fixture
def site(world: World, serve: "Serve") -> str:
    """The page's address."""
    scripts = {
        "/pusher.js": Path(world.status["node_modules"]) / "pusher-js" / "dist" / "web" / "pusher.min.js",
        "/page.js": Path(__file__).with_name("page.js"),
    }
    files = {path: ("text/javascript", file.read_bytes()) for path, file in scripts.items()}
    return serve({"/": ("text/html", HTML.encode()), **files})


@pytest.fixture
async def tab(world: World, site: str) -> AsyncIterator[Tab]:
    try:
        chromium(print)
    except NotInstalled as error:
        pytest.skip(str(error))
    async with open_page(site, print) as page:
        yield Tab(page, world.status)


async def test_a_browser_watches_for_as_long_as_was_paid(world: World, tab: Tab) -> None:
    streamer, viewer, stranger = world.person("Ida", "CREATOR"), world.person("Jon"), world.person("Kim")
    await world.credit(viewer, STEPS * SD_PRICE)
    started = await world.command(streamer, "POST", "/sessions", {"prices": {"sd": SD_PRICE}})
    session_id = started.json()["session_id"]
    mine = {preset: f"presence-stream-viewer@{streamer.id}.{preset}.{viewer.id}" for preset in ("preview", "sd")}
    token = f"/sessions/{session_id}/token"

    async def preset() -> str:
        return str((await tab.ask("GET", token))["preset"])

    # What is its own, and what is not
    await tab.join(viewer)
    for channel in (f"private-user@{viewer.id}", f"private-stream@{streamer.id}", mine["preview"]):
        await tab.listen(channel)
        await tab.hears(f"subscribed {channel}")
    not_its_own = (
        f"private-user@{stranger.id}",
        f"presence-stream-viewer@{streamer.id}.preview.{stranger.id}",
        mine["sd"],
    )
    for channel in not_its_own:
        await tab.listen(channel)
        await tab.hears(f"refused 403 {channel}")
    assert await preset() == "preview"

    # Paid
    paid = await tab.ask("POST", f"/sessions/{session_id}/pay", {"duration": STEPS * STEP_SECONDS})
    assert (paid["status"], paid["amount_diamonds"]) == (202, STEPS * SD_PRICE)
    await tab.hears("stream.authorized paid")
    admitted = await tab.ask("GET", token)
    assert admitted["preset"] == "sd"
    await tab.page.evaluate(f"pusher.unsubscribe({json.dumps(mine['sd'])})")
    await tab.listen(mine["sd"])
    await tab.hears(f"subscribed {mine['sd']}")

    # Over: the browser is cut, and what it asks for anew is only what everybody may hear
    await tab.hears("disconnected", seconds=STEPS * STEP_SECONDS + WAIT_SECONDS)
    cut = (await tab.heard()).index("disconnected")
    await tab.hears(f"refused 403 {mine['sd']}", after=cut)
    await tab.hears(f"subscribed {mine['preview']}", after=cut)
    assert await preset() == "preview"
