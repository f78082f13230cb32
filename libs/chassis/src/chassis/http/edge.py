"""What one process's HTTP edge holds, for all of its endpoints."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chassis.context import Runtime
from chassis.http.arrivals import Arrivals
from chassis.http.auth import Tokens
from chassis.http.caller_queue import CallerQueues
from chassis.http.denied import DeniedTokens
from chassis.http.group_commit import GroupCommit
from chassis.http.problems import TryAgain
from chassis.kafka.parking import ParkedKeys

REQUESTS_MAX = 1_000  # of one process at once; beyond them 503 is kinder than waiting
WAITING_MAX = 100  # of those, for another service's event: made-up ids must not take all the places
WAITING_OF_ONE_MAX = 5  # of one caller: nobody hurries further ahead of the events


class ConcurrencyLimit:
    """Room for so many requests at once."""

    def __init__(self, requests_max: int, *, of_one_max: int | None = None) -> None:
        """All of it is free; of one caller there may be `of_one_max`."""
        self._free = requests_max
        self._of_one_max = of_one_max
        self._of: Counter[str] = Counter()

    @contextmanager
    def acquire(self, caller: str = "") -> Iterator[None]:
        """For one request.

        Raises:
            TryAgain: there is none.
        """
        if not self._free or (self._of_one_max is not None and self._of[caller] >= self._of_one_max):
            raise TryAgain
        self._free -= 1
        self._of[caller] += 1
        try:
            yield
        finally:
            self._free += 1
            self._of[caller] -= 1
            if not self._of[caller]:
                del self._of[caller]


@dataclass(frozen=True, slots=True)
class Edge:
    """The edge of one process."""

    runtime: Runtime
    tokens: Tokens
    unknown_wait_seconds: float
    parked: ParkedKeys
    """Keys of which events wait for an operator: a command must not publish behind them."""
    group_commit: GroupCommit
    """Where commands that only insert share transactions."""
    concurrency: ConcurrencyLimit
    waiting: ConcurrencyLimit
    """For those requests that wait for another service's event."""
    arrivals: Arrivals
    """Where they wait for it."""
    caller_queues: CallerQueues
    """Where commands of one caller wait that have collided."""
    denied: DeniedTokens
    """Access tokens that an operator has stopped."""
