"""Refunds and charge-backs: the payer has the money back, so what it bought is taken back (SPEC §8). Pure.

Only a person decides that. What can be taken is what is still there: pieces that nobody has activated, and diamonds
that are still in the wallet, or come back into it, which escrow takes and tells of. The rest is said, and stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from chassis.errors import Conflict
from contracts import OrderRefundedV1, RefundedItem
from shop.domain.backpack import BackpackItem
from shop.domain.fulfilment import credit_cause, piece_ids
from shop.domain.orders import PAYMENTS, Order, OrderItem, Refund, Returned, facts


class NothingToRefund(Conflict, slug="nothing-to-refund"):
    """We do not have the money of this order: nobody has paid it, or it has gone back already."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """An order whose payer has the money back, the pieces that leave the backpack, and what is told."""

    order: Order
    pieces: tuple[str, ...]
    event: OrderRefundedV1


def pieces_of(order: Order) -> tuple[str, ...]:
    """The ids of all that an order has put into the backpack."""
    return tuple(id_ for item in order.items if not item.diamonds for id_ in piece_ids(order, item))


def take_back(order: Order, returned: Returned, refund: Refund, backpack: Mapping[str, BackpackItem]) -> TakenBack:
    """Take back what an order has brought; `backpack` is what is there of it.

    Raises:
        NothingToRefund: as it says.
    """
    if returned not in PAYMENTS[order.payment]:
        raise NothingToRefund
    items = order.items
    if order.paid_at is not None:
        items = tuple(_taken(order, item, backpack, refund.at) for item in order.items)
    changed = replace(order, payment=returned, refund=refund, items=items)
    idle = tuple(id_ for id_ in pieces_of(order) if id_ in backpack and backpack[id_].activated is None)
    return TakenBack(changed, idle, _told(changed, returned, refund))


def debited(order: Order, cause_id: str, missing_diamonds: int, now: datetime) -> Order | None:
    """Escrow has taken the diamonds of the item with this cause, or later more of them; None: that changes nothing.

    What is missing only falls, so that of two words the one that says less stands, whichever comes first.
    """
    if order.refund is None:
        return None
    items = tuple(
        _debited(item, missing_diamonds, now) if item.diamonds and credit_cause(order, item) == cause_id else item
        for item in order.items
    )
    return replace(order, items=items) if items != order.items else None


def _debited(item: OrderItem, missing_diamonds: int, now: datetime) -> OrderItem:
    known = missing_diamonds if item.missing_diamonds is None else item.missing_diamonds
    return replace(item, taken_back_at=item.taken_back_at or now, missing_diamonds=min(known, missing_diamonds))


def _taken(order: Order, item: OrderItem, backpack: Mapping[str, BackpackItem], now: datetime) -> OrderItem:
    """Of diamonds only escrow knows."""
    if item.diamonds:
        return item
    activated = sum(id_ in backpack and backpack[id_].activated is not None for id_ in piece_ids(order, item))
    return replace(item, taken_back_at=now, activated=activated)


def _told(order: Order, returned: Returned, refund: Refund) -> OrderRefundedV1:
    told = facts(order)
    paid_for = zip(told["items"], order.items, strict=True) if order.paid_at else ()
    items = tuple(RefundedItem(**told_.model_dump(), activated=item.activated) for told_, item in paid_for)
    return OrderRefundedV1(**told | {"items": items}, payment=returned, reason=refund.reason, refunded_by=refund.by)
