"""Throttle: in a steady stream, work begins at most so often and is done together; what comes alone is done at once.

A transaction costs about the same for one event as for twenty. Without this, a hundred events a second would be a
hundred transactions in each service that listens.
"""

import asyncio

from chassis.clock import Clock

INTERVAL_SECONDS = 0.05  # what a stream may cost in latency, per hop
INTERVAL_SECONDS_MAX = 0.5  # however long the last one took: that may have been an outage


class BatchThrottle:
    """When work may begin again: at most so often, and never for more than half of the time.

    On a machine that is busy, work takes longer; then there is more of it in one transaction, and less to do in all.
    """

    def __init__(self, clock: Clock) -> None:
        """It never did."""
        self._clock = clock
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
        self._next_at = self._began + INTERVAL_SECONDS

    def end(self, *, full: bool, rest: float = 1.0) -> None:
        """It has ended, and rests `rest` times as long as it took. When it was `full`, there is no use in waiting for
        more.
        """
        took = self._clock.monotonic() - self._began
        pause = 0.0 if full else min(INTERVAL_SECONDS_MAX, max(INTERVAL_SECONDS, (1 + rest) * took))
        self._next_at = self._began + pause
