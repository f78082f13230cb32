"""Throttle: in a steady stream, work begins at most so often and is done together; what comes alone is done at once.

A transaction costs about the same for one event as for twenty. Without this, a hundred events a second would be a
hundred transactions in each service that listens.
"""

import asyncio

from chassis.clock import Clock

INTERVAL_SECONDS = 0.05  # what a stream may cost in latency, per hop
IDLE_SECONDS = 0.01  # after a look that has found nothing: what comes next comes alone, and waits for nobody
INTERVAL_SECONDS_MAX = 0.5  # however long the last one took: that may have been an outage


class BatchThrottle:
    """When work may begin again: at most so often, and never for more than half of the time.

    On a machine that is busy, work takes longer; then there is more of it in one transaction, and less to do in all.
    """

    def __init__(self, clock: Clock, interval_seconds: float | None = None) -> None:
        """It never did. Of who sets no interval of its own, work begins every 50 ms at most."""
        self._clock = clock
        self._interval = INTERVAL_SECONDS if interval_seconds is None else interval_seconds
        self._began = float("-inf")
        self._next_at = float("-inf")

    @property
    def seconds_left(self) -> float:
        """Until it may begin again."""
        return max(0.0, self._next_at - self._clock.monotonic())

    async def wait(self) -> None:
        """Return at once if the last time is long enough ago, else as soon as it is."""
        await asyncio.sleep(self.seconds_left)

    def begin(self) -> None:
        """It begins now."""
        self._began = self._clock.monotonic()
        self._next_at = self._began + self._interval

    def end(self, *, full: bool = False, idle: bool = False, rest: float = 1.0) -> None:
        """It has ended, and rests `rest` times as long as it took. When it was `full`, there is no use in waiting for
        more; when it was `idle`, there was nothing to do, and what comes next is no stream.
        """
        took = self._clock.monotonic() - self._began
        interval = IDLE_SECONDS if idle else self._interval
        pause = 0.0 if full else min(INTERVAL_SECONDS_MAX, max(interval, (1 + rest) * took))
        self._next_at = self._began + pause
