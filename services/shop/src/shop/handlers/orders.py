"""Orders: what others have granted of them."""

from chassis.storage.tx import Tx
from contracts import WalletCreditedV1
from shop import store
from shop.domain import fulfilment
from shop.store.orders import grant


async def fulfill_credited_order(event: WalletCreditedV1, tx: Tx) -> None:
    """The diamonds of an order item are in the wallet: it is granted."""
    order_id = store.order_of_credit(event)
    order = await tx.get(store.ORDERS, order_id) if order_id else None
    granted = fulfilment.credited(order, event.cause_id, tx.now) if order else None
    if granted is not None:
        grant(tx, granted)
