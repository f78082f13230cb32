"""Staying inside the vendor's rate limits, which hold for an account: all its apps and all our processes together."""

import asyncio
import contextlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, Self

BURST_PART: Final = 0.1  # of a second's calls may leave at once
SPREAD_PART: Final = 0.8  # may follow, spread over it. The rest is room for calls that arrive closer than they left


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls a second for each family of actions: this process' share of what the account may do.

    The vendor's documents: snapshots and rooms' users from Volcengine's pages, as BytePlus' name no number for
    snapshots. Zero or less is an error of the settings.
    """

    snapshots: float = 150.0  # StartSnapshot and StopSnapshot together
    snapshot_queries: float = 60.0  # GetSnapshotTask
    bans: float = 40.0  # BanRoomUser
    ban_updates: float = 20.0  # UpdateBanRoomUserRule
    user_queries: float = 40.0  # GetRoomOnlineUsers


class TokenBucket:
    """At most `capacity` at once, and `per_second` in the long run. `now` is seconds that never go back."""

    def __init__(self, per_second: float, capacity: float, now: float) -> None:
        """Start full."""
        if per_second <= 0 or capacity < 1:
            raise ValueError("a bucket that never holds a token lets nobody through")
        self._per_second, self._capacity = per_second, capacity
        self._tokens, self._at = capacity, now

    @classmethod
    def within(cls, calls_a_second: float, now: float) -> Self:
        """A bucket that lets no more than `calls_a_second` through in any second, the burst included."""
        burst = max(1.0, calls_a_second * BURST_PART)
        spread = min(calls_a_second * SPREAD_PART, calls_a_second - burst)
        return cls(max(spread, calls_a_second * BURST_PART), burst, now)

    def wait_seconds(self, now: float) -> float:
        """How long until there is a token; 0 if there is one."""
        self._fill(now)
        return max(0.0, (1.0 - self._tokens) / self._per_second)

    def take(self, now: float) -> None:
        """Take a token, which must be there."""
        self._fill(now)
        self._tokens -= 1.0

    def drain(self, now: float) -> None:
        """Be empty: the vendor says that somebody has used up what there was."""
        self._at, self._tokens = now, min(self._tokens, 0.0)

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._per_second)
            self._at = now


class Gate:
    """Lets callers through as a bucket allows: the smallest `priority` first, then who came first."""

    def __init__(self, calls_a_second: float, monotonic: Callable[[], float]) -> None:
        """Let no more than `calls_a_second` through in any second."""
        self._bucket = TokenBucket.within(calls_a_second, monotonic())
        self._monotonic = monotonic
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._turns = count()
        self._opening: asyncio.Task[None] | None = None

    async def enter(self, priority: float = 0.0) -> None:
        """Wait for one's turn. Who is cancelled while waiting has used nothing."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._turns), turn))
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        await turn

    def drain(self) -> None:
        """Nobody passes until the next token has come: the vendor has refused a call as one too many."""
        self._bucket.drain(self._monotonic())

    async def close(self) -> None:
        """Let nobody in any more: who waits is cancelled."""
        while self._waiting:
            heapq.heappop(self._waiting)[2].cancel()
        if self._opening is not None:
            self._opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._opening

    async def _open(self) -> None:
        while self._waiting:
            seconds = self._bucket.wait_seconds(self._monotonic())
            if seconds > 0:
                await asyncio.sleep(seconds)
                continue
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                self._bucket.take(self._monotonic())
                turn.set_result(None)
