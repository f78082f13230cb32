"""The poller: gets what has come from Kafka, ahead of the loop that handles it.

aiokafka unpacks records in `getmany`, so the next one runs while MongoDB is at work on the last. And `getmany` is never
cancelled: it would count as polling for ever, and a member that is stuck would never leave the group.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiokafka import TopicPartition

from chassis.clock import Clock
from chassis.runtime.throttle import BatchThrottle
from chassis.storage.batch import BATCH_MAX

POLL_SECONDS = 0.2  # also how late `stop` is heard
FULL_MIN = BATCH_MAX // 2  # messages in a poll, from which on the next one is not worth waiting for

Polled = Mapping[TopicPartition, list[Any]]


class Poller:
    """One `getmany` at a time, what they have brought, and the throttle by which it is handed out."""

    def __init__(self, get: Callable[[float], Coroutine[Any, Any, Polled]], clock: Clock) -> None:
        """`get` asks aiokafka for what there is, and waits so many seconds if there is nothing."""
        self._get = get
        self._clock = clock
        self._throttle = BatchThrottle(clock)
        self._getting: asyncio.Task[Polled] | None = None
        self._buffer: dict[TopicPartition, list[Any]] = {}

    async def poll(self, until: float) -> Polled:
        """What has come, or nothing when it is time to do something else, at the latest `until`."""
        await self._wait_for_throttle()
        self._take_got()
        if self._buffer:  # with what came meanwhile
            self._begin_getting(0)
            await self._wait(POLL_SECONDS)
        else:
            self._begin_getting(POLL_SECONDS)
            await self._wait(max(0.0, min(2 * POLL_SECONDS, until - self._clock.monotonic())))
        polled, self._buffer = self._buffer, {}
        return polled

    def begin(self) -> None:
        """What was brought is taken in hand; the next is unpacked while MongoDB is at work."""
        self._begin_getting(POLL_SECONDS)
        self._throttle.begin()

    def end(self, polled: Polled) -> None:
        """What was brought is done."""
        self._throttle.end(full=_count(polled) >= FULL_MIN)

    def keep_polling(self) -> None:
        """Go on polling while something is in hand for long."""
        self._take_got()
        self._begin_getting(0)

    def put_back(self, tp: TopicPartition, records: list[Any]) -> None:
        """Bring these again with the next poll, before what has come meanwhile."""
        self._buffer[tp] = records + self._buffer.get(tp, [])

    def full(self) -> set[TopicPartition]:
        """Partitions of which there is as much as one poll brings: they can wait."""
        return {tp for tp, records in self._buffer.items() if len(records) >= BATCH_MAX}

    @property
    def idle(self) -> bool:
        """Whether everything that aiokafka has given out was brought."""
        return not self._buffer and (self._getting is None or not self._getting.done())

    async def drain(self) -> bool:
        """Wait for what was begun before now, but not for long; returns whether it has ended."""
        if self._getting is not None:
            await self._wait(2 * POLL_SECONDS)
        return self._getting is None

    def forget(self, *tps: TopicPartition) -> None:
        """Drop what has come of `tps`, or of all."""
        for tp in tps or tuple(self._buffer):
            self._buffer.pop(tp, None)

    async def close(self) -> None:
        """End what is under way, once the consumer has stopped."""
        if self._getting is not None:
            await cancel(self._getting)

    async def _wait_for_throttle(self) -> None:
        """Wait until the next batch may begin, or for so much that it is not worth waiting for more."""
        if self._getting is not None and (seconds := self._throttle.seconds_left):
            await self._wait(seconds)
        if _count(self._buffer) < FULL_MIN:
            await self._throttle.wait()

    def _begin_getting(self, seconds: float) -> None:
        if self._getting is None:
            self._getting = asyncio.create_task(self._get(seconds))

    async def _wait(self, seconds: float) -> None:
        if self._getting is not None:
            await asyncio.wait({self._getting}, timeout=seconds)
            self._take_got()

    def _take_got(self) -> None:
        if self._getting is not None and self._getting.done():
            got, self._getting = self._getting.result(), None
            for tp, records in got.items():
                self._buffer.setdefault(tp, []).extend(records)


def _count(polled: Polled) -> int:
    return sum(map(len, polled.values()))


async def cancel(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel until they are done: a cancellation can get lost in what a task awaits, as in aiokafka's time-outs."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=POLL_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # what it failed of while it ended is no news; whoever wants it has the task
