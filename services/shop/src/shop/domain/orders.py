"""Orders: what is bought with money, on two axes (SPEC §8).

Whether it is paid follows from what is asked of the gateway and what the gateway answers; whether it is fulfilled, from
what has been granted of each item. Price, items and payer are fixed when the order is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from chassis.decision import At, Decision, Timer, derived_id
from chassis.errors import Conflict, NotFound
from contracts import OrderCreatedV1, OrderFailedV1, OrderPaidV1
from contracts.shop import Gateway, Item, OrderRefundReason, Subtype
from shop.domain.products import (
    LEGACY_PASS_SECONDS,
    PASS,
    DiamondPackProduct,
    PassProduct,
    SoldProduct,
)

Payment = Literal["open", "pending", "confirming", "paid", "failed", "review", "refunded", "charged_back"]
"""`open`: not handed over yet · `pending`: the payer is at the gateway · `confirming`: the gateway was asked, and
nobody knows yet · `paid`, `failed`: its word · `review`: what it confirmed is not what was ordered, for a person ·
`refunded`, `charged_back`: the payer has the money back, from us or through their bank, as an operator says."""

Fulfilment = Literal["none", "granting", "fulfilled", "taking_back", "taken_back"]

Returned = Literal["refunded", "charged_back"]
Fact = Literal["handed_over", "asked", "confirmed", "refused", "still_open", "differs", "expired"] | Returned
"""`expired` is our own clock's: nobody was sent to the gateway in time, or it knows of no payment a day after that.
What is `Returned` is an operator's. All else is the gateway's, or told to it."""

PAYMENTS: Final[Mapping[Payment, Mapping[Fact, Payment]]] = {
    "open": {"handed_over": "pending", "expired": "failed"},
    "pending": {
        "handed_over": "pending",
        "expired": "failed",
        "asked": "confirming",
        "confirmed": "paid",
        "refused": "failed",
        "differs": "review",
    },
    "confirming": {
        "expired": "failed",
        "confirmed": "paid",
        "refused": "failed",
        "still_open": "pending",
        "differs": "review",
    },
    "failed": {"confirmed": "paid", "differs": "review"},  # money that was taken after all buys what was ordered
    "paid": {"refunded": "refunded", "charged_back": "charged_back"},
    "review": {"refunded": "refunded", "charged_back": "charged_back"},
    "refunded": {},
    "charged_back": {},
}
"""What each fact makes of a payment; a fact that is not there changes nothing. Only a person leads away from `paid`."""

MAY_BE_PAID: Final[tuple[Payment, ...]] = ("pending", "confirming", "failed")
"""What a notification is a reason to ask the gateway about."""

HINTS_MAX = 5  # of one order; further ones push out the oldest
ORDER_LIVES = timedelta(minutes=30)  # to be handed over to a gateway; cards are typed in a few minutes
LATE = timedelta(days=1)  # who went to a gateway in time may pay there, and come back, so long after
UNPAID_KEPT = timedelta(days=30)  # long enough for a question about it
UNSETTLED: Final[tuple[Payment, ...]] = ("open", "pending", "confirming")
UNSETTLED_MAX = 20  # orders of one user that nobody knows the end of; each is looked at every minute


class OrderNotFound(NotFound, slug="order-not-found"):
    """There is no such order of yours."""


class GatewayNotOffered(Conflict, slug="gateway-not-offered"):
    """Nothing can be paid through this gateway here."""


class TooManyOpenOrders(Conflict, slug="too-many-open-orders"):
    """You have ordered a lot that is not paid yet: pay for it, or wait until it is over."""


class NotForMoney(Conflict, slug="not-for-money"):
    """This costs diamonds: it is given with `POST /gifts`."""


class PaymentCheckDue(Timer, name="payment-check-due"):
    """Whether an order was paid should be known by now."""

    order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderItem:
    """One line, as it was resolved when the order was made. `amount` (minor units) and `diamonds` are of one piece."""

    item_id: str
    product_id: str
    subtype: Subtype | None
    quantity: int
    amount: int
    diamonds: int | None = None
    pass_kind: str | None = None
    pass_seconds: int | None = None
    granted_at: datetime | None = None
    taken_back_at: datetime | None = None
    """Since when it is known how much of it could be taken back, and how much not:"""
    missing_diamonds: int | None = None
    activated: int | None = None
    """Pieces."""


@dataclass(frozen=True, slots=True)
class Hint:
    """The payment that a notification names, by the gateway's own id; its `amount` (minor units), if that is said."""

    reference: str
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """Who said that the payer has the money back, why, and when."""

    reason: OrderRefundReason
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order. `amount` in the smallest unit of `currency`; `reference` is the gateway's own id of the payment."""

    id: str
    user_id: str
    items: tuple[OrderItem, ...]
    amount: int
    currency: str
    gateway: Gateway
    created: datetime
    exp: datetime
    """Nobody is sent to the gateway from then on."""
    payment: Payment = "open"
    paid_at: datetime | None = None
    paid_on: str | None = None
    granted_on: str | None = None
    """The days (UTC, ISO 8601) on which it was paid, and on which something was granted first."""
    failed_at: datetime | None = None
    authorization: str | None = None
    """What its payer shows at the gateway, once that expects the payment."""
    reference: str | None = None
    hints: tuple[Hint, ...] = ()
    """What its gateway is asked about, where that knows payments by ids of its own."""
    refund: Refund | None = None
    forget_at: datetime | None = None
    """Of one that was never paid."""

    @property
    def fulfilment(self) -> Fulfilment:
        """How much of what was paid for has been granted, or taken back."""
        if self.paid_at is None:
            return "none"
        if self.refund is not None:
            return "taken_back" if all(item.taken_back_at for item in self.items) else "taking_back"
        return "fulfilled" if all(item.granted_at for item in self.items) else "granting"


def resolve(product: SoldProduct, order_id: str, quantity: int) -> OrderItem:
    """The line that buys so many of a product: all that its fulfilment needs to know, whatever the product is later."""
    seconds = LEGACY_PASS_SECONDS.get(product.id)
    return OrderItem(
        item_id=derived_id("order-item", order_id, product.id),
        product_id=product.id,
        subtype=product.SUBTYPE,
        quantity=quantity,
        amount=product.amount,
        diamonds=product.diamonds if isinstance(product, DiamondPackProduct) else None,
        pass_kind=product.pass_kind if isinstance(product, PassProduct) else PASS if seconds else None,
        pass_seconds=product.pass_seconds if isinstance(product, PassProduct) else seconds,
    )


def create(
    order_id: str, user_id: str, basket: Mapping[SoldProduct, int], gateway: Gateway, now: datetime
) -> tuple[Order, OrderCreatedV1]:
    """An order of so many of each product, all of one currency; nothing has been asked of its gateway."""
    items = tuple(resolve(product, order_id, quantity) for product, quantity in basket.items())
    (currency,) = {product.currency for product in basket}
    order = Order(
        id=order_id,
        user_id=user_id,
        items=items,
        amount=sum(item.amount * item.quantity for item in items),
        currency=currency,
        gateway=gateway,
        created=now,
        exp=now + ORDER_LIVES,
    )
    return order, OrderCreatedV1(**facts(order))


def after(order: Order, fact: Fact, now: datetime, reference: str | None = None) -> Decision[Order]:
    """What `fact` makes of an order's payment; the state is None where it changes nothing."""
    payment = PAYMENTS[order.payment].get(fact)
    if payment is None or payment == order.payment:
        return Decision(None)
    changed = replace(order, payment=payment, reference=reference or order.reference)
    match payment:
        case "paid":
            changed = replace(changed, paid_at=now, paid_on=day(now), failed_at=None, forget_at=None)
            return Decision(changed, (OrderPaidV1(**facts(changed)),))
        case "failed":
            changed = replace(changed, failed_at=now, forget_at=now + UNPAID_KEPT)
            return Decision(changed, (OrderFailedV1(**facts(changed)),))
        case _:
            return Decision(changed)


def day(now: datetime) -> str:
    """The day of a moment, by which orders are looked for."""
    return now.date().isoformat()


def authorized(order: Order, authorization: str) -> Order:
    """The gateway expects the payment."""
    return replace(order, authorization=authorization)


def hinted(order: Order, hint: Hint) -> Order | None:
    """Remember what a notification says; None: it names no other payment than was named before, and no other amount."""
    is_named = any(one.reference == hint.reference for one in order.hints)
    is_new = hint not in order.hints and not (is_named and hint.amount in (None, order.amount))
    return replace(order, hints=(*order.hints, hint)[-HINTS_MAX:]) if is_new else None


def was_never_sent(order: Order, now: datetime) -> bool:
    """Whether nobody has been sent to pay, and nobody will be: the gateway has not been ready for it in time."""
    return order.authorization is None and now >= order.exp


def check_due(order: Order) -> At:
    """Look at an order when nobody is sent to the gateway any more."""
    return At(PaymentCheckDue(order_id=order.id), f"payment-check:{order.id}", order.exp, order.user_id)


def facts(order: Order) -> dict[str, Any]:
    """What every event of an order tells."""
    return {
        "order_id": order.id,
        "user_id": order.user_id,
        "items": tuple(
            Item(
                item_id=item.item_id,
                product_id=item.product_id,
                subtype=item.subtype,
                quantity=item.quantity,
                diamonds=item.diamonds,
                pass_kind=item.pass_kind,
            )
            for item in order.items
        ),
        "amount": order.amount,
        "currency": order.currency,
        "gateway": order.gateway,
    }
