"""Diamonds that were bought with money: what is told of each order item's, and how they go back (SPEC §8). Pure.

Who has the money back and has spent the diamonds owes them. What they were spent on may still come to nothing: what
comes back into the wallet then is taken for them. What is bought anew, or given, is not: that was paid for, or meant.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from contracts import OrderPaidV1, OrderRefundedV1, WalletCreditedV1, WalletDebitedV1
from escrow.domain import ledger
from escrow.domain.ledger import Kind, Transfer

RETURNS: Final[frozenset[Kind]] = frozenset({"refund", "reversal", "fee_reversal"})


@dataclass(frozen=True, slots=True)
class Debit:
    """What became of an order item's diamonds when its buyer had the money back; `id` is the cause of their credit.

    `amount_diamonds` were taken, `missing_diamonds` are not yet: they wait for what comes back into the wallet.
    """

    id: str
    user_id: str
    amount_diamonds: int
    missing_diamonds: int
    at: datetime | None = None
    """When it was decided: the oldest is served first. None: by an older release."""


@dataclass(frozen=True, slots=True)
class Returned:
    """Diamonds that came back into a wallet for one cause: they had been spent, and what for came to nothing."""

    user_id: str
    cause: str
    amount_diamonds: int


@dataclass(frozen=True, slots=True)
class Taking:
    """What is taken later for one debit: the debit after it, what moves, and what is told."""

    debit: Debit
    transfer: Transfer
    event: WalletDebitedV1


def diamonds_bought(event: OrderPaidV1 | OrderRefundedV1) -> tuple[WalletCreditedV1, ...]:
    """What came into the buyer's wallet, an entry for each item; the cause of its transfer is `order_id:item_id`."""
    return tuple(
        WalletCreditedV1(
            user_id=event.user_id,
            amount_diamonds=item.diamonds * item.quantity,
            cause_id=f"{event.order_id}:{item.item_id}",
        )
        for item in event.items
        if item.diamonds and item.quantity
    )


def take_back(bought: WalletCreditedV1, in_wallet_diamonds: int) -> WalletDebitedV1:
    """Take the diamonds back that an item has brought, as far as the wallet has them."""
    taken = min(bought.amount_diamonds, in_wallet_diamonds)
    return WalletDebitedV1(
        user_id=bought.user_id,
        amount_diamonds=taken,
        missing_diamonds=bought.amount_diamonds - taken,
        cause_id=bought.cause_id,
    )


def debit_of(event: WalletDebitedV1, at: datetime) -> tuple[Debit, tuple[Transfer, ...]]:
    """What is recorded of what that event tells, or told, and its transfer: back to the mint; of nothing, none."""
    taken = ledger.transfer(
        "take_back",
        event.cause_id,
        debit=ledger.wallet(event.user_id),
        credit=ledger.MINT,
        amount_diamonds=event.amount_diamonds,
        at=at,
    )
    debit = Debit(event.cause_id, event.user_id, event.amount_diamonds, event.missing_diamonds, at)
    return debit, (taken,) if event.amount_diamonds else ()


def returned(transfers: Iterable[Transfer]) -> tuple[Returned, ...]:
    """What of these transfers came back into wallets, for each cause."""
    sums: dict[tuple[str, str], int] = {}
    for one in transfers:
        user_id = ledger.owner_of(one.credit)
        if user_id is not None and one.kind in RETURNS:
            sums[user_id, one.cause] = sums.get((user_id, one.cause), 0) + one.amount_diamonds
    return tuple(Returned(user_id, cause, amount) for (user_id, cause), amount in sums.items())


def returns_for(cause: str) -> tuple[str, ...]:
    """The ids of the transfers of which one at least was made when something came back for this cause."""
    return tuple(ledger.transfer_id(kind, cause) for kind in sorted(RETURNS))


def take_returned(debits: Sequence[Debit], back: Iterable[Returned], now: datetime) -> tuple[Taking, ...]:
    """Take what came back to a user for what is missing of their `debits`, in the order of both."""
    takings: list[Taking] = []
    missing = {debit.id: debit for debit in debits}
    for one in back:
        left = one.amount_diamonds
        for debit in tuple(missing.values()):
            amount = min(left, debit.missing_diamonds)
            if amount:
                taken = taking_of(debit, _told(debit, one.cause, amount), now)
                takings.append(taken)
                missing[debit.id] = taken.debit
                left -= amount
    return tuple(takings)


def taking_of(debit: Debit, event: WalletDebitedV1, at: datetime) -> Taking:
    """What that event tells, or told, of what was taken later for this debit."""
    taken = ledger.transfer(
        "take_back",
        f"{debit.id}:{event.from_cause_id}",
        debit=ledger.wallet(debit.user_id),
        credit=ledger.MINT,
        amount_diamonds=event.amount_diamonds,
        at=at,
    )
    after = replace(
        debit,
        amount_diamonds=debit.amount_diamonds + event.amount_diamonds,
        missing_diamonds=debit.missing_diamonds - event.amount_diamonds,
    )
    return Taking(after, taken, event)


def debit_id_of(cause: str) -> str:
    """The debit for which a `take_back` with this cause was made, at once or later."""
    return ":".join(cause.split(":")[:2])


def order_of(transfer: Transfer) -> str | None:
    """The order whose diamonds this transfer brought or took back."""
    order_id, has_item, _ = transfer.cause.partition(":")
    return order_id if has_item and transfer.kind in ("credit", "take_back") else None


def _told(debit: Debit, cause: str, amount_diamonds: int) -> WalletDebitedV1:
    return WalletDebitedV1(
        user_id=debit.user_id,
        amount_diamonds=amount_diamonds,
        missing_diamonds=debit.missing_diamonds - amount_diamonds,
        cause_id=debit.id,
        from_cause_id=cause,
    )
