"""Orders: what is saved together when something is heard of a payment, or granted."""

from chassis.storage.tx import Tx
from shop.domain import fulfilment, orders, payments
from shop.domain.fulfilment import Granted
from shop.domain.orders import Fact, Order
from shop.domain.payments import Receipt
from shop.domain.refunds import TakenBack
from shop.store import BACKPACK, ORDERS, RECEIPTS


def settle(tx: Tx, order: Order, fact: Fact, reference: str | None = None) -> None:
    """Save what `fact` makes of an order's payment; what is paid from now on is granted at once, as far as shop can."""
    decision = orders.after(order, fact, tx.now, reference)
    tx.apply(ORDERS, decision)
    if decision.state is not None and decision.state.payment == "paid":
        grant(tx, fulfilment.fulfill(decision.state, tx.now))


def ask(tx: Tx, order: Order) -> None:
    """Have the gateway asked how the payment of an order stands; nobody can have paid before it was ready for it."""
    if order.authorization is not None:
        settle(tx, order, "asked")
        tx.schedule_effect(payments.confirm(order, tx.now))


async def spend(tx: Tx, receipt: Receipt) -> bool:
    """Whether a payment is for this order; it is for the first that it was confirmed for, for good."""
    known = await tx.get(RECEIPTS, receipt.id)
    if known is None:
        tx.insert(RECEIPTS, receipt)
    return known is None or known == receipt


def grant(tx: Tx, granted: Granted) -> None:
    """Save an order of which something was granted, and what now lies in the backpack."""
    tx.put(ORDERS, granted.order)
    for item in granted.backpack:
        tx.insert(BACKPACK, item)
    for event in granted.events:
        tx.emit(event)


def take_back(tx: Tx, taken: TakenBack) -> None:
    """Save an order whose payer has the money back, and what leaves the backpack with it."""
    tx.put(ORDERS, taken.order)
    for piece in taken.pieces:
        tx.delete(BACKPACK, piece)
    tx.emit(taken.event)
