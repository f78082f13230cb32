"""Waiting for a state of another process: polling with a deadline, and an error that says what was seen instead."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

WAIT_SECONDS = 90.0  # what takes milliseconds may take this long on a small machine that is busy, or stands still
POLL_SECONDS = 0.02  # short against what is waited for, long against what a look costs


class Unmet(AssertionError):
    """Something that was expected did not come, or something came that was not expected. The message is for people."""


async def until_time(unix_seconds: float) -> None:
    """Return once it is so late."""

    async def clock() -> float:
        return time.time()

    await until("that moment", clock, lambda now: now >= unix_seconds, unix_seconds - time.time() + WAIT_SECONDS)


async def until(
    what: str, look: Callable[[], Awaitable[T]], good: Callable[[T], bool], seconds: float = WAIT_SECONDS
) -> T:
    """Look again and again, and return what was seen once it is good.

    Raises:
        Unmet: it was not after so many seconds; says what was waited for, and what was seen last.
    """
    deadline = time.monotonic() + seconds
    while not good(seen := await look()):
        if time.monotonic() > deadline:
            raise Unmet(f"waited {seconds:.0f} s for {what}; saw {seen}")
        await asyncio.sleep(POLL_SECONDS)
    return seen
