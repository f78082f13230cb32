"""The books: what is held and for how long, counted every few seconds, and the ledger's proof (SPEC §5, proof)."""

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
PROVE_TIMER = "prove"
PROVE_EVERY = timedelta(minutes=1)
PROVE_EVERY_MAX = timedelta(minutes=20)  # the alarm waits for an hour
ACCOUNTS_A_MINUTE = 100_000  # added up in 0.1 s; 5 000 000 would take as long as a transaction may


class CountDue(Timer, name="count-due"):
    """What is held is to be counted."""


class ProofDue(Timer, name="proof-due"):
    """All accounts together are to be added up."""


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


@dataclass(frozen=True, slots=True)
class Total:
    """All accounts together; zero when no diamond was created or destroyed."""

    accounts: int
    """Those that have a balance row."""
    diamonds: int


def proof_due(at: datetime) -> At:
    """Prove at that moment; one timer for the whole ledger, which sets itself anew for ever."""
    return At(ProofDue(), PROVE_TIMER, at, "ledger")


def prove_every(accounts: int) -> timedelta:
    """How long to wait between two proofs: what one costs grows with the accounts there are."""
    return min(PROVE_EVERY_MAX, max(PROVE_EVERY, timedelta(minutes=accounts / ACCOUNTS_A_MINUTE)))
