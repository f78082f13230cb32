"""Diamonds that were bought with money: what is told of each order item's, and how they go back (SPEC §8). Pure."""

from dataclasses import dataclass
from datetime import datetime

from contracts import OrderPaidV1, OrderRefundedV1, WalletCreditedV1, WalletDebitedV1
from escrow.domain import ledger
from escrow.domain.ledger import Transfer


@dataclass(frozen=True, slots=True)
class Debit:
    """What became of an order item's diamonds when its buyer had the money back; `id` is the cause of their credit.

    Decided once: what comes into the wallet later is not taken for it.
    """

    id: str
    user_id: str
    amount_diamonds: int
    missing_diamonds: int


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
    debit = Debit(event.cause_id, event.user_id, event.amount_diamonds, event.missing_diamonds)
    return debit, (taken,) if event.amount_diamonds else ()
