"""What one process's HTTP edge holds, for all of its endpoints."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chassis.http.auth import Tokens
from chassis.runtime import Runtime
from chassis.tx import Tx

Guard = Callable[[Tx, set[str]], Awaitable[set[str]]]


async def none_parked(_tx: Tx, _keys: set[str]) -> set[str]:
    """The guard of a service whose keys are never parked."""
    return set()


@dataclass(frozen=True, slots=True)
class Edge:
    """The edge of one process."""

    runtime: Runtime
    tokens: Tokens
    unknown_wait_seconds: float
    parked_among: Guard
    """Which of these keys are parked: what would be published behind them must not overtake."""
