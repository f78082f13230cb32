"""Fulfilment: what was paid for is granted, once per order item (SPEC §8).

By subtype, as the table says; a product without one is a pass by its id. Diamonds are escrow's to give, and it says so
with `wallet.credited`; everything else lies in the backpack from the moment of payment.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from chassis.decision import derived_id
from contracts import Event, OrderFulfilledV1, PassGrantedV1
from contracts.shop import Subtype
from shop.domain.backpack import BackpackItem
from shop.domain.orders import Order, OrderItem, day, facts
from shop.domain.products import streamer_of_pass


@dataclass(frozen=True, slots=True)
class Granted:
    """An order after something of it was granted, what now lies in the backpack, and what is told of it."""

    order: Order
    backpack: tuple[BackpackItem, ...] = ()
    events: tuple[Event, ...] = ()


def credit_cause(order: Order, item: OrderItem) -> str:
    """What escrow credits an item's diamonds for."""
    return f"{order.id}:{item.item_id}"


def piece_ids(order: Order, item: OrderItem) -> tuple[str, ...]:
    """The ids of an item's pieces in the backpack, as far as they are, or were, there."""
    return tuple(derived_id("backpack-item", order.id, item.item_id, str(number)) for number in range(item.quantity))


def fulfill(order: Order, now: datetime) -> Granted:
    """Grant of a paid order whatever shop grants itself and has not granted yet."""
    items: list[OrderItem] = []
    backpack: list[BackpackItem] = []
    for item in order.items:
        grant = None if item.granted_at else GRANTS[item.subtype]
        pieces = grant(order, item, now) if grant else ()
        backpack += pieces
        items.append(replace(item, granted_at=now) if pieces else item)
    passes = tuple(
        PassGrantedV1(user_id=one.user_id, pass_kind=one.pass_kind, streamer_id=one.streamer_id, nbf=None, exp=None)
        for one in backpack
        if one.pass_kind
    )
    granted = _granted(order, items, now) if backpack else order
    return _told(order, granted, tuple(backpack), passes)


def credited(order: Order, cause_id: str, now: datetime) -> Granted | None:
    """Escrow has credited the diamonds of the item with this cause; None: there is none that waits for it.

    Whatever the payment: that something was granted of an order that is not paid is for the reconciliation to find.
    """
    waiting = [item for item in order.items if item.diamonds and not item.granted_at]
    if all(credit_cause(order, item) != cause_id for item in waiting):
        return None
    items = (replace(item, granted_at=now) if credit_cause(order, item) == cause_id else item for item in order.items)
    return _told(order, _granted(order, items, now))


def fulfill_order_pass_product(order: Order, item: OrderItem, now: datetime) -> tuple[BackpackItem, ...]:
    """A pass, or something to wear, for each piece: what it is, its subtype has said."""
    return tuple(_piece(order, item, id_, now) for id_ in piece_ids(order, item))


def grant_passes(order: Order, item: OrderItem, now: datetime) -> tuple[BackpackItem, ...]:
    """The legacy path: a product without a subtype is the pass that its id stands for, and nothing else."""
    return tuple(_piece(order, item, id_, now) for id_ in piece_ids(order, item)) if item.pass_kind else ()


GRANTS: Final[Mapping[Subtype | None, Callable[[Order, OrderItem, datetime], tuple[BackpackItem, ...]] | None]] = {
    "DiamondPackProduct": None,  # escrow's
    "UserProduct": fulfill_order_pass_product,
    "PassProduct": fulfill_order_pass_product,
    "GiftProduct": None,  # never sold for money
    None: grant_passes,
}
"""Who grants an item: one, and one only."""


def _piece(order: Order, item: OrderItem, id_: str, now: datetime) -> BackpackItem:
    return BackpackItem(
        id=id_,
        user_id=order.user_id,
        order_id=order.id,
        product_id=item.product_id,
        subtype=item.subtype,
        granted=now,
        pass_kind=item.pass_kind,
        pass_seconds=item.pass_seconds,
        streamer_id=streamer_of_pass(item.pass_kind) if item.pass_kind else None,
    )


def _granted(order: Order, items: Iterable[OrderItem], now: datetime) -> Order:
    return replace(order, items=tuple(items), granted_on=order.granted_on or day(now))


def _told(
    before: Order, order: Order, backpack: tuple[BackpackItem, ...] = (), events: tuple[Event, ...] = ()
) -> Granted:
    """`order.fulfilled` when what was granted now was the last of it."""
    done = order.fulfilment == "fulfilled" != before.fulfilment
    return Granted(order, backpack, (*events, OrderFulfilledV1(**facts(order))) if done else events)
