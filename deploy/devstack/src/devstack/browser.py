"""A headless Chromium, driven over the DevTools protocol: what a viewer's browser really does.

    async with open_page("http://127.0.0.1:4000/") as page:
        title = await page.evaluate("document.title")

Only tests use it, so only they install it (`tools.chromium`, 124 MB by apt).
"""

import asyncio
import json
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from devstack.downloads import Progress
from devstack.errors import StackError
from devstack.process import die_with
from devstack.settings import base_environment
from devstack.tools import chromium

START_SECONDS = 60.0  # a second at best; a busy machine may need far longer
CLOSE_SECONDS = 10.0
ANSWER_SECONDS = 60.0  # what the page is told to wait for may take this long
MESSAGE_BYTES_MAX = 16 << 20

OPTIONS = (
    "--headless",
    "--remote-debugging-port=0",  # any free one; the profile says which
    "--no-first-run",
    "--no-proxy-server",  # what it is to see is on this machine
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",  # a container's is small
    "--disable-gpu",
)


class PageError(StackError):
    """What the page was told to do threw something, or was not done."""


class Page:
    """A page of a browser. One question at a time, also with several pages: they share a line."""

    def __init__(self, line: ClientConnection, session_id: str = "") -> None:
        """Use `open_page`."""
        self._line, self._session_id = line, session_id
        self._asked = 0
        self._seen: set[str | None] = set()
        self._turn = asyncio.Lock()

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, of a promise what it comes to; as JSON can say it.

        Raises:
            PageError: it threw something, or took longer than ANSWER_SECONDS.
        """
        how = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = await self.tell("Runtime.evaluate", **how)
        if "exceptionDetails" in answer:
            raise PageError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def load(self, url: str) -> None:
        """Go there, and return once all of it is loaded. Raises PageError if that takes longer than ANSWER_SECONDS."""
        await self.tell("Page.enable")
        self._seen.clear()
        await self.tell("Page.navigate", url=url)
        await self._read("Page.loadEventFired", lambda _: "Page.loadEventFired" in self._seen)

    async def open_tab(self, url: str, *, alone: bool = False) -> "Page":
        """Another page of the same browser; `alone` with storage of its own, as in another browser.

        Raises:
            PageError: as `load` does.
        """
        whole = Page(self._line)
        context = await whole.tell("Target.createBrowserContext") if alone else {}
        target = await whole.tell("Target.createTarget", url="about:blank", **context)
        attached = await whole.tell("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self._line, attached["sessionId"])
        await page.load(url)
        return page

    async def tell(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its result. Raises PageError if it is refused or not done."""
        async with self._turn:
            self._asked += 1
            message = {"id": self._asked, "method": method, "params": params}
            await self._line.send(json.dumps(message | ({"sessionId": self._session_id} if self._session_id else {})))
            answer = await self._read(method, lambda message: message.get("id") == self._asked)
        if "error" in answer:
            raise PageError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def _read(self, what: str, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message that is good; of events before it, that they came."""
        message: dict[str, Any] = {}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while not good(message):
                    message = json.loads(await self._line.recv())
                    self._seen.add(message.get("method"))
        except TimeoutError:
            raise PageError(f"{what} did not come in {ANSWER_SECONDS:.0f} s") from None
        return message


@asynccontextmanager
async def open_page(url: str, say: Progress) -> AsyncIterator[Page]:
    """A browser of one's own that shows this page while the block runs; nothing of it stays.

    Raises:
        StackError: Chromium is missing and may not be installed here, or does not start.
    """
    path = chromium(say)
    with tempfile.TemporaryDirectory(prefix="footlights-chromium-", ignore_cleanup_errors=True) as profile:
        as_root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # there is none for root; the page is our own
        process = await asyncio.create_subprocess_exec(
            path,
            *OPTIONS,
            *as_root,
            f"--user-data-dir={profile}",
            "about:blank",
            env={**base_environment(), "HOME": profile},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            preexec_fn=die_with(os.getpid()),
            start_new_session=True,
        )
        try:
            line_url = await _line_url(process, Path(profile))
            async with connect(line_url, max_size=MESSAGE_BYTES_MAX, proxy=None) as line:
                yield await Page(line).open_tab(url)
        finally:
            await _end(process)


async def _line_url(process: asyncio.subprocess.Process, profile: Path) -> str:
    """Where the browser listens: it writes port and path into its profile once it does."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.returncode is None:
        with suppress(FileNotFoundError, ValueError):
            port, path = (profile / "DevToolsActivePort").read_text().splitlines()
            return f"ws://127.0.0.1:{port}{path}"
        await asyncio.sleep(0.05)
    raise StackError(f"chromium did not start in {START_SECONDS:.0f} s (exit status {process.returncode})")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it and the processes that it has started, which are its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), CLOSE_SECONDS)
