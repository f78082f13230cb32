"""The one place that reads the time, so that tests, the demo and simulations can own it."""

import time
from datetime import UTC, datetime, timedelta
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final, Protocol

AHEAD_BYTES: Final = 8  # microseconds, as this machine writes an integer


class Clock(Protocol):
    """What a process takes the time from."""

    def micros(self) -> int:
        """Microseconds since the epoch; may step back when the machine's clock is set."""

    def machine_micros(self) -> int:
        """The same, of the machine: to compare with what others read off their own clocks, of which nobody moves one.

        It differs from `micros` on a local stack whose clock was moved ahead, nowhere else.
        """

    def monotonic(self) -> float:
        """Seconds since some moment; never steps back."""


class SystemClock:
    """The machine's clock."""

    def micros(self) -> int:
        """Microseconds since the epoch."""
        return self.machine_micros()

    def machine_micros(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Seconds since some moment; never steps back."""
        return time.monotonic()


class MovedClock(SystemClock):
    """The machine's clock, and how far a local stack has moved it ahead (`devstack clock`).

    The stack's processes map one file, so it moves for all of them at the same instant. Only their time of day moves:
    what is measured (`monotonic`) goes on as it was.
    """

    def __init__(self, file: Path) -> None:
        """Follow `file`.

        Raises:
            OSError, ValueError: there is none, or it is too short.
        """
        with file.open("rb") as opened:
            self._ahead = memoryview(mmap(opened.fileno(), AHEAD_BYTES, access=ACCESS_READ)).cast("q")

    @property
    def ahead_micros(self) -> int:
        """How far ahead of the machine's it is now, in microseconds; never grows less while a stack runs."""
        return self._ahead[0]

    def micros(self) -> int:
        """Microseconds since the epoch, as all of the stack has them."""
        return self.machine_micros() + self.ahead_micros


class ManualClock:
    """A clock that moves only when told to, for tests and simulations."""

    def __init__(self, start: datetime) -> None:
        """Stand still at `start`."""
        self._micros = int(start.timestamp() * 1_000_000)

    def micros(self) -> int:
        """Microseconds since the epoch."""
        return self._micros

    def machine_micros(self) -> int:
        """The same: nobody else has a clock here."""
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
