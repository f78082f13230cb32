"""A queue per caller: commands that have collided are tried again one at a time.

Commands of one caller mostly write the same few documents. All at once they would lose against each other again and
again, at everybody's cost. So a first attempt is free, and whoever loses it queues with the caller's own; while
somebody is queued there, who comes later queues behind. Nobody waits for another caller.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from chassis.http.problems import TryAgain

QUEUED_MAX = 50  # commands of one caller, the one whose turn it is included: hardly more are done before time is up


class CallerQueue:
    """The queue of one caller, as one of their commands sees it: at first from outside."""

    def __init__(self, queued: deque["CallerQueue"]) -> None:
        """Use `CallerQueues.of`."""
        self._queued = queued
        self._turn = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """Whether nobody is queued."""
        return not self._queued

    async def wait_turn(self) -> None:
        """Queue, and wait for a turn, which lasts until this command is over. Who has it just goes on.

        Raises:
            TryAgain: too many of the same caller are queued.
        """
        if self not in self._queued:
            if len(self._queued) >= QUEUED_MAX:
                raise TryAgain("Too many commands at once.")
            self._queued.append(self)
            self._call_first()
        await self._turn.wait()

    def leave(self) -> None:
        """Let the next one have its turn."""
        if self in self._queued:
            self._queued.remove(self)
            self._call_first()

    def _call_first(self) -> None:
        if self._queued:
            self._queued[0]._turn.set()  # noqa: SLF001 - of the same class


class CallerQueues:
    """The queues of all callers of a process."""

    def __init__(self) -> None:
        """Nobody is queued."""
        self._queued: dict[str, deque[CallerQueue]] = {}
        self._commands: Counter[str] = Counter()

    @contextmanager
    def of(self, caller: str | None) -> Iterator[CallerQueue]:
        """That of a caller, for one command, which leaves it at the end. Who is nobody has one alone."""
        if caller is None:
            yield CallerQueue(deque())
            return
        self._commands[caller] += 1
        queue = CallerQueue(self._queued.setdefault(caller, deque()))
        try:
            yield queue
        finally:
            queue.leave()
            self._commands[caller] -= 1
            if not self._commands[caller]:
                del self._commands[caller], self._queued[caller]
