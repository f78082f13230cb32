"""The one place that reads the time, so that tests, the demo and simulations can own it."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What a process takes the time from."""

    def micros(self) -> int:
        """Microseconds since the epoch; may step back when the machine's clock is set."""

    def monotonic(self) -> float:
        """Seconds since some moment; never steps back."""


class SystemClock:
    """The machine's clock."""

    def micros(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Seconds since some moment; never steps back."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to, for tests and simulations."""

    def __init__(self, start: datetime) -> None:
        """Stand still at `start`."""
        self._micros = int(start.timestamp() * 1_000_000)

    def micros(self) -> int:
        """Microseconds since the epoch."""
        return self._micros

    def monotonic(self) -> float:
        """Seconds since the epoch."""
        return self._micros / 1_000_000

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._micros += int(seconds * 1_000_000)

    def advance_to(self, moment: datetime) -> None:
        """Let time pass until `moment`; never goes back."""
        self._micros = max(self._micros, int(moment.timestamp() * 1_000_000))


def instant(micros: int) -> datetime:
    """The UTC instant of `micros`, cut to milliseconds: what MongoDB and the wire can hold."""
    return datetime.fromtimestamp(micros // 1_000_000, UTC) + timedelta(milliseconds=micros // 1_000 % 1_000)


def unix(moment: datetime) -> float:
    """Unix seconds of `moment`, to the millisecond: how HTTP bodies and pushes carry time (SPEC §1)."""
    return round(moment.timestamp(), 3)


def from_unix(seconds: float) -> datetime:
    """The UTC instant of Unix `seconds`, cut to milliseconds.

    Raises:
        ValueError: it lies beyond the years 1 to 9999.
    """
    try:
        return instant(round(seconds * 1_000) * 1_000)
    except (OSError, OverflowError):  # so far beyond that the C library does not name the year
        raise ValueError("no year has this moment") from None
