"""What one process's HTTP edge holds, for all of its endpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chassis.http.auth import Tokens
from chassis.http.gathering import Gathering
from chassis.http.problems import TryAgain
from chassis.parking import ParkedKeys
from chassis.runtime import Runtime

REQUESTS_MAX = 1_000  # of one process at once; beyond them 503 is kinder than waiting


class Room:
    """Room for so many requests at once."""

    def __init__(self, requests_max: int) -> None:
        """All of it is free."""
        self._free = requests_max

    @contextmanager
    def taken(self) -> Iterator[None]:
        """For one request.

        Raises:
            TryAgain: there is none.
        """
        if not self._free:
            raise TryAgain
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


@dataclass(frozen=True, slots=True)
class Edge:
    """The edge of one process."""

    runtime: Runtime
    tokens: Tokens
    unknown_wait_seconds: float
    parked: ParkedKeys
    """Keys of which events wait for an operator: a command must not publish behind them."""
    gathering: Gathering
    """Where commands that only insert share transactions."""
    room: Room
