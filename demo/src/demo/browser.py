"""A browser without a screen: it goes where pages lead, and posts the forms that it finds in them.

`python -m demo.browser URL NAME=VALUE` goes through them with one button pressed where a page has it, and prints what
each of them shows: as a person who pays, where no browser is at hand.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self

import httpx

from demo.waiting import WAIT_SECONDS, Unmet

PAGE_SECONDS = 30.0
REFRESH_SECONDS = 0.2  # a page that looks again by itself says after how many seconds; nobody reads it here
HIDDEN = ("script", "style", "title")


@dataclass(frozen=True, slots=True)
class Page:
    """What is shown, and where it leads: by a form, or by itself to what it will be."""

    url: httpx.URL
    text: str
    action: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    buttons: frozenset[tuple[str, str]] = frozenset()
    looks_again: bool = False


class Browser:
    """One person's; nobody is signed in with it."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(timeout=PAGE_SECONDS, follow_redirects=True, trust_env=False)

    async def __aenter__(self) -> Self:
        """It is open while the block runs."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """And closed after it."""
        await self._http.aclose()

    async def follow(self, url: str, pressed: tuple[str, str]) -> AsyncIterator[Page]:
        """Every page from there on, each once, until one leads no further; this button is pressed where there is one.

        Raises:
            httpx.HTTPError: nobody answers, or with an error.
            Unmet: a page went on looking again.
        """
        page = await self._open(url)
        yield page
        deadline = time.monotonic() + WAIT_SECONDS
        while page.action is not None or page.looks_again:
            before = page
            page = await self._submit(page, pressed) if page.action is not None else await self._look_again(page)
            if page.text != before.text:
                yield page
            elif time.monotonic() > deadline:
                raise Unmet(f"{page.url.path} still says {page.text!r} after {WAIT_SECONDS:.0f} s")

    async def _open(self, url: str) -> Page:
        return _shown(await self._http.get(url))

    async def _look_again(self, page: Page) -> Page:
        await asyncio.sleep(REFRESH_SECONDS)
        return await self._open(str(page.url))

    async def _submit(self, page: Page, pressed: tuple[str, str]) -> Page:
        button = dict([pressed]) if pressed in page.buttons else {}
        return _shown(await self._http.post(page.url.join(page.action or ""), data=page.fields | button))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.buttons: set[tuple[str, str]] = set()
        self.looks_again = False
        self.words: list[str] = []
        self._hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Forms, and what is filled in already."""
        given = {name: value or "" for name, value in attrs}
        self._hidden = tag in HIDDEN
        if tag == "form":
            self.action = given.get("action", "")
        elif tag == "input" and "name" in given:
            self.fields[given["name"]] = given.get("value", "")
        elif tag == "button" and "name" in given:
            self.buttons.add((given["name"], given.get("value", "")))
        elif tag == "meta" and given.get("http-equiv") == "refresh":
            self.looks_again = True

    def handle_endtag(self, tag: str) -> None:
        """What is not shown is over."""
        self._hidden = self._hidden and tag not in HIDDEN

    def handle_data(self, data: str) -> None:
        """What is shown."""
        if not self._hidden and data.strip():
            self.words.append(data.strip())


def _shown(answer: httpx.Response) -> Page:
    answer.raise_for_status()
    reader = _Reader()
    reader.feed(answer.text)
    text = " · ".join(reader.words)
    return Page(answer.url, text, reader.action, reader.fields, frozenset(reader.buttons), reader.looks_again)


async def main(url: str, button: str) -> None:
    """Go through the pages, and print what each shows."""
    name, _, value = button.partition("=")
    async with Browser() as browser:
        async for page in browser.follow(url, (name, value)):
            print(f"{page.url.host}{page.url.path}: {page.text}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
