"""The books: what is held and for how long, counted every few seconds (SPEC §5, proof)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from chassis.decision import At, Timer

COUNT_TIMER = "count"
COUNT_EVERY = timedelta(seconds=10)  # an alarm that waits for hours can wait for this
LONG: Final[Mapping[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "13h": timedelta(hours=13),  # a session lasts 12 h at most: somebody owes a verdict
}


class CountDue(Timer, name="count-due"):
    """What is held is to be counted."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is held at a moment; `longer` says how many earnings for longer than each of `LONG`."""

    escrows: int
    earnings: int
    diamonds: int
    oldest_seconds: float
    longer: Mapping[str, int]


def count_due(at: datetime) -> At:
    """Count at that moment; one timer for all escrows, which sets itself anew for ever."""
    return At(CountDue(), COUNT_TIMER, at, "ledger")
