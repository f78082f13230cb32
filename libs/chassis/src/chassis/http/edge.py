"""What one process's HTTP edge holds, for all of its endpoints."""

from dataclasses import dataclass

from chassis.http.auth import Tokens
from chassis.http.gathering import Gathering
from chassis.parking import ParkedKeys
from chassis.runtime import Runtime


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
