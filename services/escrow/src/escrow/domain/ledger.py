"""The double-entry ledger: append-only transfers between accounts (SPEC §5).

A transfer's id follows from its kind and cause, so the same cause never moves money twice. Wallets and escrows have a
floor of zero, and therefore an exact balance row that every transfer writes. `earnings:*` and `system:*` have no floor:
each transfer adds a movement, and movements are folded into the balance row in the background, so that a popular
streamer's row is not written by every sale.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from chassis.decision import At, Timer, derived_id
from contracts import WalletCreditedV1

MINT = "system:mint"
REVENUE = "system:revenue"

Kind = Literal["credit", "hold", "release", "refund", "fee", "payment", "reversal", "fee_reversal", "take_back"]


class LedgerBroken(Exception):
    """The same cause asks for another transfer than before, or a floor would break: a bug, so nothing moves."""


FOLD_TIMER = "fold"
FOLD_EVERY = timedelta(seconds=5)  # only bounds how many movements a reader adds up


class FoldDue(Timer, name="fold-due"):
    """Movements wait to be folded into their accounts' balance rows."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """`amount_diamonds` went from `debit` to `credit`. Never edited; a correction is an opposite transfer."""

    id: str
    kind: Kind
    cause: str
    debit: str
    credit: str
    amount_diamonds: int
    at: datetime
    escrow_id: str | None = None
    earning_id: str | None = None
    wallets: tuple[str, ...] = ()
    """Those of its two accounts that are wallets: where it is shown to their owners."""
    by: str | None = None
    """The operator who made it by hand."""

    @property
    def legs(self) -> tuple[tuple[str, int], ...]:
        """What it does to each account."""
        return ((self.debit, -self.amount_diamonds), (self.credit, self.amount_diamonds))


@dataclass(frozen=True, slots=True)
class Balance:
    """An account and what lies in it: exact with a floor, without one all movements that were folded so far.

    `owed_diamonds` is, of a wallet, what was not there when what refunded orders had brought was taken back.
    """

    id: str
    balance_diamonds: int = 0
    owed_diamonds: int = 0


@dataclass(frozen=True, slots=True)
class Movement:
    """One leg of a transfer on an account without a floor, not folded yet."""

    id: str
    account: str
    amount_diamonds: int


@dataclass(frozen=True, slots=True)
class Posting:
    """What posting transfers writes."""

    transfers: tuple[Transfer, ...]
    balances: tuple[Balance, ...]
    movements: tuple[Movement, ...]


def wallet(user_id: str) -> str:
    """The account of what a user may spend."""
    return f"wallet:{user_id}"


def owner_of(account: str) -> str | None:
    """The user whose wallet this is."""
    return account.removeprefix("wallet:") if account.startswith("wallet:") else None


def escrow(escrow_id: str) -> str:
    """The account of what an escrow holds."""
    return f"escrow:{escrow_id}"


def escrow_of(account: str) -> str | None:
    """The escrow whose account this is."""
    return account.removeprefix("escrow:") if account.startswith("escrow:") else None


def earnings(streamer_id: str) -> str:
    """The account of what a streamer earned."""
    return f"earnings:{streamer_id}"


def has_floor(account: str) -> bool:
    """Whether the account may never go below zero."""
    return account.startswith(("wallet:", "escrow:"))


def platform_fee(amount_diamonds: int, share: Decimal) -> int:
    """The platform's share of an amount, rounded down (SPEC §5)."""
    return int(amount_diamonds * share)


def transfer_id(kind: Kind, cause: str) -> str:
    """The id of the one transfer of this kind that `cause` can make."""
    return derived_id("transfer", kind, cause)


def transfer(  # noqa: PLR0913 - a transfer is these facts
    kind: Kind,
    cause: str,
    *,
    debit: str,
    credit: str,
    amount_diamonds: int,
    at: datetime,
    escrow_id: str | None = None,
    earning_id: str | None = None,
    by: str | None = None,
) -> Transfer:
    """The transfer that `cause` makes."""
    id_ = transfer_id(kind, cause)
    wallets = tuple(account for account in (debit, credit) if account.startswith("wallet:"))
    return Transfer(id_, kind, cause, debit, credit, amount_diamonds, at, escrow_id, earning_id, wallets, by)


def credit_of(event: WalletCreditedV1, at: datetime) -> Transfer:
    """The transfer that is told by that event, or was: out of the mint, for the cause that it names."""
    return transfer(
        "credit",
        event.cause_id,
        debit=MINT,
        credit=wallet(event.user_id),
        amount_diamonds=event.amount_diamonds,
        at=at,
        by=event.credited_by,
    )


def credit_as_published(event: WalletCreditedV1, at: datetime) -> Transfer:
    """The transfer of which that was told. Of one by an operator the id is known, what it was derived from is not."""
    made = credit_of(event, at)
    return made if ":" in event.cause_id else replace(made, id=event.cause_id)


def post(transfers: Iterable[Transfer], known: Mapping[str, Transfer], balances: Mapping[str, Balance]) -> Posting:
    """Post `transfers` in order. One that is `known` already moves nothing; an account without a row is at zero.

    Raises:
        LedgerBroken: a known transfer has another content, or an account with a floor would go below zero.
    """
    fresh: list[Transfer] = []
    movements: list[Movement] = []
    changed: dict[str, Balance] = {}
    for wanted in transfers:
        before = known.get(wanted.id)
        if before is not None:
            if replace(wanted, at=before.at) != before:
                raise LedgerBroken(f"{wanted.kind} of {wanted.cause} was {before}, not {wanted}")
            continue
        fresh.append(wanted)
        for account, amount in wanted.legs:
            balance = changed.get(account) or balances.get(account)
            if has_floor(account):
                changed[account] = _moved(balance or Balance(account), amount)
            else:
                movements.append(Movement(derived_id("movement", wanted.id, account), account, amount))
                if balance is None:
                    changed[account] = Balance(account)
    return Posting(tuple(fresh), tuple(changed.values()), tuple(movements))


def _moved(balance: Balance, amount_diamonds: int) -> Balance:
    after = balance.balance_diamonds + amount_diamonds
    if after < 0:
        raise LedgerBroken(f"{balance.id} would be at {after}")
    return replace(balance, balance_diamonds=after)


def fold(movements: Iterable[Movement], balances: Mapping[str, Balance]) -> tuple[Balance, ...]:
    """The balance rows with `movements` in them."""
    folded: dict[str, Balance] = {}
    for movement in movements:
        balance = folded.get(movement.account) or balances.get(movement.account) or Balance(movement.account)
        after = balance.balance_diamonds + movement.amount_diamonds
        folded[movement.account] = replace(balance, balance_diamonds=after)
    return tuple(folded.values())


def fold_due(now: datetime) -> At:
    """Fold what waits at `now`; one timer for the whole ledger, which sets itself anew for ever."""
    return At(FoldDue(), FOLD_TIMER, now, "ledger")
