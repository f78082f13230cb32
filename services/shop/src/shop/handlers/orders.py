"""Orders: what others have granted of them, and taken back."""

from chassis.storage.tx import Tx
from contracts import WalletCreditedV1, WalletDebitedV1
from shop import store
from shop.domain import fulfilment, refunds
from shop.domain.orders import Order
from shop.store.orders import grant


async def fulfill_credited_order(event: WalletCreditedV1, tx: Tx) -> None:
    """The diamonds of an order item are in the wallet: it is granted."""
    order = await _order(event, tx)
    granted = fulfilment.credited(order, event.cause_id, tx.now) if order else None
    if granted is not None:
        grant(tx, granted)


async def record_debit(event: WalletDebitedV1, tx: Tx) -> None:
    """The diamonds of an order item have left the wallet, as far as they were there or have come back."""
    order = await _order(event, tx)
    debited = refunds.debited(order, event.cause_id, event.missing_diamonds, tx.now) if order else None
    if debited is not None:
        tx.put(store.ORDERS, debited)


async def _order(event: store.OfWallet, tx: Tx) -> Order | None:
    order_id = store.order_of(event)
    return await tx.get(store.ORDERS, order_id) if order_id else None
