"""Clients that are generated from docs/openapi.json compile, and a 1-on-1 is played on nothing but them.

TypeScript: `openapi-typescript` makes the types, and `tests/clients/typescript/app.ts` is an app on them, openapi-fetch
and pusher-js, which a headless Chromium shows to each of the two on a page of another origin. Python:
`openapi-python-client` makes a package, and `tests/clients/python/invitation.py` uses it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import pytest

from demo.settings import STEP_SECONDS
from demo.waiting import until
from demo.world import Person, World
from devstack.browser import Page, open_page
from devstack.downloads import checked_modules
from devstack.errors import NotInstalled
from devstack.tools import chromium

if TYPE_CHECKING:
    from tests.e2e.conftest import Serve

ROOT: Final = Path(__file__).parents[2]
PYTHON, TYPESCRIPT = (ROOT / "tests" / "clients" / name for name in ("python", "typescript"))
DOCUMENT: Final = ROOT / "docs" / "openapi.json"
PUSHES: Final = ROOT / "docs" / "pushes.d.ts"
BUILD_SECONDS: Final = 300  # ten take it where nothing else runs
LINES_MAX: Final = 150

HTML: Final = """<!doctype html><title>Footlights</title>
<script type="importmap" nonce="map">
{"imports": {"openapi-fetch": "./openapi-fetch.js", "pusher-js": "./pusher.js"}}</script>
<script type="module" src="app.js"></script>
<p id="state"></p><p id="actions"></p><ol id="told"></ol>"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command says, which must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass
class Tab:
    """The app, with somebody before it."""

    page: Page

    async def click(self, name: str) -> None:
        button = f'[...document.querySelectorAll("button")].find((one) => one.textContent === "{name}")'
        await self.page.evaluate(f"{button}.click()")

    async def does(self, name: str, told: str) -> None:
        """Click until that is told: what has only just begun may be refused, as sessions hears of it from goals."""

        async def clicked() -> str:
            before = await self._lines()
            await self.click(name)
            return (await until(f"an answer to {name}", self._lines, lambda lines: len(lines) > len(before)))[-1]

        await until(f"{name} to be answered {told!r}", clicked, lambda line: told in line)

    async def _lines(self) -> list[str]:
        """What was answered; what is pushed stands among it."""
        lines = '[...document.querySelectorAll("#told li")].map((one) => one.textContent)'
        found: list[str] = await self.page.evaluate(f"{lines}.filter((one) => /^(watching|paying|Error)/.test(one))")
        return found

    async def shows(self, text: str) -> str:
        return await until(f"the page to show {text!r}", self._text, lambda seen: text in seen)

    async def exp(self) -> float:
        """When the goal that is shown is over."""
        return float((await self.page.evaluate('document.getElementById("state").textContent')).split()[-1])

    async def _text(self) -> str:
        return str(await self.page.evaluate("document.body.innerText"))  # what was told, refusals among it


@pytest.fixture
def app(serve: "Serve", tmp_path: Path) -> str:
    """The address of the app, compiled."""
    tree = checked_modules()
    for file in (*(TYPESCRIPT / name for name in ("app.ts", "tsconfig.json", "package.json")), PUSHES):
        shutil.copy(file, tmp_path)
    (tmp_path / "node_modules").symlink_to(tree)
    types = ("--default-non-nullable=false", str(DOCUMENT), "--output", "api.d.ts")
    run("node", tree / "openapi-typescript" / "bin" / "cli.js", *types, cwd=tmp_path)
    run("node", tree / "typescript" / "bin" / "tsc", cwd=tmp_path)
    pusher = (tree / "pusher-js" / "dist" / "web" / "pusher.min.js").read_bytes() + b"\nexport default window.Pusher;"
    scripts = {
        "/app.js": (tmp_path / "app.js").read_bytes(),
        "/openapi-fetch.js": (tree / "openapi-fetch" / "dist" / "index.mjs").read_bytes(),
        "/pusher.js": pusher,
    }
    files = {path: ("text/javascript", script) for path, script in scripts.items()}
    return serve({"/": ("text/html", HTML.encode()), **files}, "'self' 'nonce-map'")


@pytest.fixture
async def tabs(world: World, app: str) -> AsyncIterator[tuple[Tab, Tab]]:
    """A streamer's and a viewer's."""
    try:
        chromium(print)
    except NotInstalled as error:
        pytest.skip(str(error))
    ada, max_ = world.person("Ada", "CREATOR"), world.person("Max")
    await world.credit(max_, 1_000)

    def address(who: Person) -> str:
        given = {"gateway": world.status["gateway"], "token": who.token, "me": who.id, "streamer": ada.id}
        return f"{app}#{urlencode(given)}"

    async with AsyncExitStack() as exits:
        pages = [await exits.enter_async_context(open_page(address(who), print)) for who in (ada, max_)]
        streamer, viewer = map(Tab, pages)
        for tab in (streamer, viewer):
            await tab.shows("ready")
            await tab.shows("listening to private-user@")
        yield streamer, viewer


def test_the_app_is_short_and_all_of_its_types_are_generated() -> None:
    text = (TYPESCRIPT / "app.ts").read_text()

    assert len(text.splitlines()) <= LINES_MAX
    assert [word for word in ("interface ", "\ntype ", ": any", " as any", "@ts-") if word in text] == []


async def test_both_sides_play_a_1_on_1_on_the_typescript_client(tabs: tuple[Tab, Tab]) -> None:
    streamer, viewer = tabs
    await streamer.click("broadcast")
    await streamer.shows("on air")
    await viewer.shows("on air")

    await viewer.click("invite")
    for tab in tabs:
        await tab.shows("TriggerExclusiveGoal active")
    await streamer.click("agree")
    for tab in tabs:
        await tab.shows("on air ExclusiveGoal active")
    await viewer.does("watch", "watching sd")

    begun = await viewer.exp()
    await viewer.does("pay", "paying 30")
    for tab in tabs:
        await until("a step more for its money", tab.exp, lambda exp: exp >= begun + STEP_SECONDS)
    paid = await streamer.exp()
    await streamer.click("extend")
    for tab in tabs:
        await until("a step more", tab.exp, lambda exp: exp >= paid + STEP_SECONDS)

    await streamer.click("end")
    for tab in tabs:
        await tab.shows("off air ExclusiveGoal ended")


async def test_an_invitation_is_played_on_the_python_client(world: World, tmp_path: Path) -> None:
    making = ("generate", "--path", DOCUMENT, "--config", PYTHON / "config.yaml", "--output-path", tmp_path / "made")
    said = run(sys.executable, "-m", "openapi_python_client", *making, cwd=tmp_path)
    assert "WARNING" not in said.upper(), said  # it drops what it does not understand
    strictly = ("--config-file=", "--strict", "--follow-imports=silent", PYTHON / "invitation.py")
    run(sys.executable, "-m", "mypy", *strictly, cwd=tmp_path, MYPYPATH=str(tmp_path / "made"))

    ada, max_ = world.person("Ada", "CREATOR"), world.person("Max")
    await world.credit(max_, 1_000)
    played = (PYTHON / "invitation.py", world.status["gateway"], ada.token, max_.token)
    earned = run(sys.executable, *played, cwd=tmp_path, PYTHONPATH=str(tmp_path / "made"))

    assert earned.strip() == "30"


async def test_a_client_that_has_an_answer_is_not_sent_it_again(world: World) -> None:
    """Also of what the gateway has compressed, whose tag it makes a weak one."""
    max_ = world.person("Max")
    for path, compressed in (("/shop/products?limit=100", True), ("/wallets/me", False)):
        first = await world.request(max_, "GET", path)
        tag = first.headers["etag"]

        again = await world.request(max_, "GET", path, None, **{"If-None-Match": tag})

        assert (first.status_code, first.headers.get("content-encoding") == "gzip") == (200, compressed), path
        assert (again.status_code, again.content, again.headers["etag"].removeprefix("W/")) == (
            304,
            b"",
            tag.removeprefix("W/"),
        )
