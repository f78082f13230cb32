"""Pace: under a steady stream, work begins at most so often and is done together; what comes alone is done at once.

A transaction costs about the same for one event as for twenty. Without this, a hundred events a second would be a
hundred transactions in each service that listens.
"""

import asyncio

from chassis.clock import Clock

PACE_SECONDS = 0.05  # what a stream may cost in latency, per hop


class Pace:
    """When something last began."""

    def __init__(self, clock: Clock) -> None:
        """It never did."""
        self._clock = clock
        self._next_at = float("-inf")

    @property
    def seconds_left(self) -> float:
        """Until it may begin again."""
        return max(0.0, self._next_at - self._clock.monotonic())

    async def keep(self) -> None:
        """Return at once if the last time is long enough ago, else as soon as it is."""
        await asyncio.sleep(self.seconds_left)

    def begin(self) -> None:
        """It begins now."""
        self._next_at = self._clock.monotonic() + PACE_SECONDS
