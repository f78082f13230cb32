"""A stack of the tests' own, and the command line as people call it."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from devstack.browser import Page, PageError, open_page
from devstack.errors import NotInstalled
from devstack.settings import VARIABLES
from devstack.stack import Stack
from devstack.tools import chromium

INFRASTRUCTURE = ("mongod", "kafka", "soketi", "nginx")

WAIT_SECONDS, POLL_SECONDS = 120.0, 0.1
TAB_STOPS_MAX = 100  # more than the page has
ENGLISH = "if (location.protocol !== 'about:') localStorage['footlights-language'] ??= 'en';"
SHOTS = os.environ.get("STAGE_SHOTS")
"""A folder for pictures of what is seen on the stage, for who wants to look."""

Done = subprocess.CompletedProcess[str]
Devstack = Callable[..., Done]


@pytest.fixture(scope="session")
def plain_environ() -> Mapping[str, str]:
    """Our environment without what would change a stack."""
    ours = (*VARIABLES, "DEVSTACK_DATA", "DEVSTACK_PORT_BASE")
    return {name: value for name, value in os.environ.items() if name not in ours}


@pytest.fixture(scope="session")
def devstack(plain_environ: Mapping[str, str]) -> Devstack:
    """Call the command line: the words, then variables to set."""

    def call(*words: str | Path, **variables: str) -> Done:
        return subprocess.run(
            (sys.executable, "-m", "devstack", *map(str, words)),
            env={**plain_environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,  # which ends only when nobody holds the pipes any more
            text=True,
            timeout=400,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, devstack: Devstack, plain_environ: Mapping[str, str]
) -> Iterator[Stack]:
    """The servers and the gateway, started by the command line and shared by all tests that leave it whole."""
    data = tmp_path_factory.mktemp("stack")
    up = devstack("up", "--data", data, "--only", *INFRASTRUCTURE, STEP_SECONDS="7")
    assert up.returncode == 0, up.stderr
    yield Stack(data, only=INFRASTRUCTURE, environ=plain_environ)
    assert devstack("down", "--data", data).returncode == 0


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
        selector = f"[data-act={act}]:not([aria-disabled])"
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

    async def clicks(self, selector: str) -> None:
        """As its page may be gone before it answers, nothing is asked of it."""
        with suppress(PageError):
            await self.asks(f"document.querySelector({json.dumps(selector)}).click()")

    async def follows(self, selector: str) -> "Tab":
        """A link, in another tab."""
        await self.waits_for(selector)
        return Tab(await self.page.open_tab(await self.asks(f"document.querySelector({json.dumps(selector)}).href")))

    async def looks(self, scheme: str, width: int) -> None:
        """Prefer such colours, on such a screen."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.page.tell("Emulation.setEmulatedMedia", features=features)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        await self.page.tell("Emulation.setDeviceMetricsOverride", **size)

    async def faults(self, axe: str) -> list[str]:
        """What axe-core, of which this is the source, finds on the page as it is now."""
        await self.asks(f"{axe}; 0")
        rows = "[one.impact, one.id, ...one.nodes.map((node) => node.target.join(' '))].join(' ')"
        found: list[str] = await self.asks(f"axe.run().then((result) => result.violations.map((one) => {rows}))")
        return found

    async def types(self, text: str) -> None:
        await self.page.tell("Input.insertText", text=text)

    async def presses_key(self, key: str) -> None:
        code, text = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, "")}[key]
        for kind in ("keyDown", "keyUp"):
            said = {"text": text} if text and kind == "keyDown" else {}
            await self.page.tell("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **said)

    async def tabs_to(self, selector: str) -> None:
        """With the Tab key, from where the focus is."""
        await self.waits_for(selector)
        for _ in range(TAB_STOPS_MAX):
            if await self.asks(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            await self.presses_key("Tab")
        raise AssertionError(f"the Tab key does not lead to {selector}")

    async def has_focus(self) -> str:
        """What has it: nothing would be the body."""
        return str(await self.asks("document.activeElement.tagName"))

    async def picture(self, name: str) -> None:
        if SHOTS:
            shot = await self.page.tell("Page.captureScreenshot", captureBeyondViewport=True)
            (Path(SHOTS) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


class OnStage(Protocol):
    """Opens the stage, in a browser of somebody's own: what others keep in theirs is not there.

    `query` is the address's, `before` a script that runs before the page's own.
    """

    async def __call__(self, query: str = "", *, before: str = "") -> Tab: ...


@pytest.fixture
async def on_stage(running: Stack) -> AsyncIterator[OnStage]:
    """On the stack that runs for these tests."""
    try:
        chromium(print)
    except NotInstalled as error:
        pytest.skip(str(error))
    address = f"{running.gateway}/stage/"
    async with open_page("about:blank", print) as browser:

        async def opened(query: str = "", *, before: str = "") -> Tab:
            page = await browser.open_tab("about:blank", alone=True)
            await page.tell("Page.addScriptToEvaluateOnNewDocument", source=f"{ENGLISH}{before}")
            await page.tell("Emulation.setFocusEmulationEnabled", enabled=True)  # as if each were the tab in front
            await page.load(f"{address}{query}")
            return Tab(page)

        yield opened
