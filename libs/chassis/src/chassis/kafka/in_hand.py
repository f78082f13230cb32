"""What a consumer has in hand: done to its end, and while that takes long, polling goes on with everything paused."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from chassis.clock import Clock
from chassis.kafka.group_member import GroupMember
from chassis.kafka.poller import Poller, cancel

T = TypeVar("T")

KEEP_POLLING_SECONDS = 0.5  # while a batch is in hand
HAND_SECONDS = 3.0  # for what is in hand when stopping; with all that is closed after it, it is some 6 in all


class InHand:
    """One thing at a time."""

    def __init__(self, member: GroupMember, poller: Poller, stopping: asyncio.Event, clock: Clock) -> None:
        """Nothing is in hand."""
        self.task: asyncio.Task[Any] | None = None
        self._member = member
        self._poller = poller
        self._stopping = stopping
        self._clock = clock

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end; when it takes long, pause and go on polling."""
        self.task = task = asyncio.create_task(work)
        paused = False
        asked_at: float | None = None
        try:
            while not (await asyncio.wait({task}, timeout=KEEP_POLLING_SECONDS))[0]:
                paused = True
                self._member.pause_all()
                self._poller.keep_polling()
                if self._stopping.is_set():
                    asked_at = asked_at or self._clock.monotonic()
                    if self._clock.monotonic() - asked_at > HAND_SECONDS:
                        task.cancel()
        finally:
            await cancel(task)
            self.task = None
        if paused:
            self._member.resume_all()
        return task.result()
