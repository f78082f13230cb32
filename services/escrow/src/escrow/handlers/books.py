"""What keeps the ledger's sums, proves them, and counts what is held."""

from typing import Final

from prometheus_client import Gauge

from chassis.clock import unix
from chassis.storage.tx import Tx
from escrow.domain import books, ledger
from escrow.domain.books import CountDue, ProofDue
from escrow.domain.escrows import HeldTooLong
from escrow.domain.ledger import FoldDue
from escrow.store import accounts, load

# Of whoever led last; a process that does not lead any more keeps what it counted then.
HELD_EARNINGS: Final = Gauge("escrow_held_earnings", "Earnings that are held.")
HELD_DIAMONDS: Final = Gauge("escrow_held_diamonds", "Diamonds that are held.")
OPEN_ESCROWS: Final = Gauge("escrow_open_escrows", "Escrows that hold something.")
OLDEST_SECONDS: Final = Gauge("escrow_oldest_held_seconds", "Age of the oldest earning that is held.")
HELD_LONGER: Final = Gauge(
    "escrow_held_longer_earnings", "Earnings held for longer than `than`. Alarm above 0 for 13h.", ["than"]
)
LEDGER_SUM: Final = Gauge("escrow_ledger_sum_diamonds", "All accounts together, at the last proof. Alarm beyond 0.")
LEDGER_PROVED: Final = Gauge(
    "escrow_ledger_proved_timestamp_seconds", "When all accounts were last added up. Alarm when that is an hour ago."
)


async def fold_movements(_: FoldDue, tx: Tx) -> None:
    """Fold a slice of movements into their accounts' balances: the next slice at once, or look again soon."""
    more = await accounts.fold(tx)
    tx.set_timer(ledger.fold_due(tx.now if more else tx.now + ledger.FOLD_EVERY))


async def count_held(_: CountDue, tx: Tx) -> None:
    """Tell what is held, and look again soon."""
    held = await load.count_held(tx)
    HELD_EARNINGS.set(held.earnings)
    HELD_DIAMONDS.set(held.diamonds)
    OPEN_ESCROWS.set(held.escrows)
    OLDEST_SECONDS.set(held.oldest_seconds)
    for than, earnings in held.longer.items():
        HELD_LONGER.labels(than).set(earnings)
    tx.set_timer(books.count_due(tx.now + books.COUNT_EVERY))


async def prove_ledger(_: ProofDue, tx: Tx) -> None:
    """Add up all accounts, tell what they come to, and do so again."""
    total = await accounts.total(tx)
    LEDGER_SUM.set(total.diamonds)
    LEDGER_PROVED.set(unix(tx.now))
    tx.set_timer(books.proof_due(tx.now + books.prove_every(total.accounts)))


async def let_go(_: HeldTooLong, tx: Tx) -> None:
    """An alarm of an older release: the gauges tell it now."""
