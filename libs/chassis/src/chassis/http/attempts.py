"""Attempts: a command is tried in one Tx after the other until one commits, is refused, or time is up."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import TypeVar

from chassis.backoff import back_off
from chassis.errors import NotYet
from chassis.http.problems import TryAgain
from chassis.mongo import PyMongoError
from chassis.storage import is_commit_unknown, is_duplicate, is_transient
from chassis.tx import Tx

A = TypeVar("A")

RETRY_SECONDS = 5.0  # ARCHITECTURE, the HTTP edge: conflicts and elections are over by then
LISTEN_FIRST_SECONDS = 0.05  # before the second look for an event of another service; then twice as long each time
DUPLICATES_MAX = 3  # the next run sees the document that was there first; if not, it is a bug

_in_hand: set[asyncio.Task[object]] = set()


async def until_settled(
    attempt: Callable[[], Awaitable[A]],
    *,
    unknown_wait_seconds: float,
    place: Callable[[], AbstractContextManager[None]],
) -> A:
    """Run `attempt` until it returns or refuses. Whoever waits for another service's event takes a `place`.

    Raises:
        NotYet: what it needs was not heard of within `unknown_wait_seconds`.
        TryAgain: MongoDB kept failing, or did not say whether the commit went through; or there is no place to wait.
    """
    with ExitStack() as held:
        return await _until_settled(attempt, unknown_wait_seconds, lambda: held.enter_context(place()))


async def _until_settled(
    attempt: Callable[[], Awaitable[A]], unknown_wait_seconds: float, take_place: Callable[[], None]
) -> A:
    now = asyncio.get_running_loop().time
    began = now()
    failures = duplicates = looks = 0
    while True:
        try:
            return await attempt()
        except NotYet:
            left = began + unknown_wait_seconds - now()
            if left <= 0:
                raise
            if not looks:
                take_place()
            await asyncio.sleep(min(LISTEN_FIRST_SECONDS * 2**looks, left))
            looks += 1
        except PyMongoError as error:
            if is_commit_unknown(error):
                raise TryAgain("The outcome is not known.") from error
            duplicates += is_duplicate(error)
            if not is_transient(error) and not (is_duplicate(error) and duplicates <= DUPLICATES_MAX):
                raise
            if now() - began > RETRY_SECONDS:
                raise TryAgain from error
            failures += 1
            await back_off(failures)


async def undisturbed(attempt: Coroutine[object, object, A]) -> A:
    """Run `attempt` in a task of its own, to its end: a caller who goes away never cancels a transaction."""
    return await asyncio.shield(begin(attempt))


def begin(attempt: Coroutine[object, object, A]) -> "asyncio.Task[A]":
    """Run `attempt` in a task of its own, which a stopping process waits for."""
    task = asyncio.create_task(attempt)
    _in_hand.add(task)
    task.add_done_callback(_done)
    return task


async def all_done() -> None:
    """Wait until no attempt is running: what a stopping process does after its last request."""
    while _in_hand:
        await asyncio.wait(set(_in_hand))


async def give_back(tx: Tx) -> None:
    """Abort what was not committed; a server that cannot be reached aborts it by itself after 5 s."""
    with suppress(PyMongoError):
        await tx.abort()


def _done(task: asyncio.Task[object]) -> None:
    """Take note of how it ended, although the one who asked may be gone."""
    _in_hand.discard(task)
    if not task.cancelled():
        task.exception()
