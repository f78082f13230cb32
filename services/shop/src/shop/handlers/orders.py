"""Orders: whether they are paid, and what was granted of them."""

from chassis.storage.tx import Tx
from contracts import WalletCreditedV1
from shop import store
from shop.domain import fulfilment, orders
from shop.domain.fulfilment import Granted
from shop.domain.orders import Fact, Order, PaymentCheckDue


async def check_payment(timer: PaymentCheckDue, tx: Tx) -> None:
    """An order that nobody was sent to pay in time will not be paid."""
    order = await tx.get(store.ORDERS, timer.order_id)
    if order is not None:
        settle(tx, order, "expired")


async def fulfill_credited_order(event: WalletCreditedV1, tx: Tx) -> None:
    """The diamonds of an order item are in the wallet: it is granted."""
    order_id = store.order_of_credit(event)
    order = await tx.get(store.ORDERS, order_id) if order_id else None
    granted = fulfilment.credited(order, event.cause_id, tx.now) if order else None
    if granted is not None:
        _grant(tx, granted)


def settle(tx: Tx, order: Order, fact: Fact, reference: str | None = None) -> None:
    """Save what `fact` makes of an order's payment; what is paid from now on is granted at once, as far as shop can."""
    decision = orders.after(order, fact, tx.now, reference)
    tx.apply(store.ORDERS, decision)
    if decision.state is not None and decision.state.payment == "paid":
        _grant(tx, fulfilment.fulfill(decision.state, tx.now))


def _grant(tx: Tx, granted: Granted) -> None:
    tx.put(store.ORDERS, granted.order)
    for item in granted.backpack:
        tx.insert(store.BACKPACK, item)
    for event in granted.events:
        tx.emit(event)
