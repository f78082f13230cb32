"""Wallets of those who buy: there before they pay, and filled with the diamonds that they have paid for."""

from chassis.storage.tx import Tx
from contracts import OrderCreatedV1, OrderPaidV1
from escrow import store
from escrow.domain import ledger, purchases
from escrow.store import accounts


async def ensure_wallet_and_bank(event: OrderCreatedV1, tx: Tx) -> None:
    """Who is about to pay has a wallet."""
    await accounts.ensure_wallet(tx, event.user_id, event.order_id)


async def credit_order(event: OrderPaidV1, tx: Tx) -> None:
    """Credit the diamonds of each item, once, whether or not `order.created` has been heard."""
    bought = purchases.diamonds_bought(event)
    if bought:
        await accounts.ensure_wallet(tx, event.user_id, event.order_id)
    for credited in bought:
        credit = ledger.credit_of(credited, tx.now)
        known = await tx.get(store.TRANSFERS, credit.id)
        await accounts.post(tx, (credit,))
        if known is None:
            tx.emit(credited)
