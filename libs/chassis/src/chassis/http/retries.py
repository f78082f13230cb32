"""Retries: a command is tried in one Tx after the other until one commits, is refused, or time is up."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from chassis.http.arrivals import Arrivals, Missing
from chassis.http.caller_queue import CallerQueue
from chassis.http.problems import TryAgain
from chassis.runtime.backoff import back_off
from chassis.storage.errors import is_commit_unknown, is_duplicate, is_transient
from chassis.storage.mongo import PyMongoError

A = TypeVar("A")

RETRY_SECONDS = 5.0  # ARCHITECTURE, the HTTP edge: conflicts and elections are over by then
LEFT_MAX = 100  # attempts that nobody waits for any more, and MongoDB has not answered: so many, and it is away
ALL_DONE_SECONDS = 1.0  # what a stopping process gives them: whoever asked has been answered
LISTEN_FIRST_SECONDS = 0.05  # before the second attempt where no document is waited for; then twice as long each time
DUPLICATES_MAX = 3  # the next run sees the document that was there first; if not, it is a bug

_in_hand: set[asyncio.Task[object]] = set()
_left: set[asyncio.Task[object]] = set()


async def retry(
    attempt: Callable[[], Awaitable[A]],
    arrivals: Arrivals,
    *,
    unknown_wait_seconds: float,
    place: Callable[[], AbstractContextManager[None]],
    queue: CallerQueue,
) -> A:
    """Run `attempt` until it returns or refuses. Whoever waits for another service's event takes a `place`.

    What an attempt has looked for in vain is waited for among the `arrivals`; it is tried again when some of that is
    there, and a last time when time is up.

    After a conflict it is tried again in its turn, and at once if nobody of the same caller is in the `queue`.

    Raises:
        NotYet: what it needs was not heard of within `unknown_wait_seconds`.
        TryAgain: MongoDB kept failing, said nothing, or did not say whether the commit went through; or there is no
            place to wait.
    """
    if len(_left) >= LEFT_MAX:
        raise TryAgain("The database does not answer.")
    with ExitStack() as held:
        return await _retry(attempt, arrivals, unknown_wait_seconds, lambda: held.enter_context(place()), queue)


async def _retry(
    attempt: Callable[[], Awaitable[A]],
    arrivals: Arrivals,
    unknown_wait_seconds: float,
    take_place: Callable[[], None],
    queue: CallerQueue,
) -> A:
    now = asyncio.get_running_loop().time
    began = now()
    failures = duplicates = looks = 0
    while True:
        try:
            if failures or not queue.is_empty:
                await _in_turn(began + RETRY_SECONDS - now(), queue)
            return await _within(began + RETRY_SECONDS - now(), attempt)
        except Missing as missing:
            left = began + unknown_wait_seconds - now()
            if left <= 0:
                raise
            if not looks:
                take_place()
            seconds = left if missing.refs else min(LISTEN_FIRST_SECONDS * 2**looks, left)
            await arrivals.wait(missing.refs, seconds)
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


async def _in_turn(seconds: float, queue: CallerQueue) -> None:
    """Wait for the turn of a command, but not for ever."""
    try:
        async with asyncio.timeout(seconds):
            await queue.wait_turn()
    except TimeoutError:
        raise TryAgain("Too many commands at once.") from None


async def _within(seconds: float, attempt: Callable[[], Awaitable[A]]) -> A:
    """Wait for an attempt, but not for ever: a server that is silent raises nothing."""
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await attempt()
    except TimeoutError:
        if not deadline.expired():
            raise
        raise TryAgain("The database did not answer in time: the outcome is not known.") from None


async def run_shielded(attempt: Coroutine[object, object, A]) -> A:
    """Run `attempt` in a task of its own, to its end: a caller who goes away never cancels a transaction, and nobody
    waits until a server that is silent has taken one back.
    """
    task = begin(attempt)
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            _left.add(task)


def begin(attempt: Coroutine[object, object, A]) -> "asyncio.Task[A]":
    """Run `attempt` in a task of its own, which a stopping process waits for."""
    task = asyncio.create_task(attempt)
    _in_hand.add(task)
    task.add_done_callback(_done)
    return task


async def all_done(seconds: float | None = None) -> None:
    """Wait until no attempt is running, for so long: what a stopping process does after its last request."""
    if _in_hand:
        await asyncio.wait(set(_in_hand), timeout=seconds)


def _done(task: asyncio.Task[object]) -> None:
    """Take note of how it ended, although the one who asked may be gone."""
    _in_hand.discard(task)
    _left.discard(task)
    if not task.cancelled():
        task.exception()
