"""What is asked of a gateway, and what its answer means for an order (SPEC §8). Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from chassis.decision import At, Call, Effect
from contracts.shop import Gateway
from shop.domain.orders import LATE, Fact, Hint, Order, PaymentCheckDue

CHECK_EVERY: Final = timedelta(seconds=60)  # the sweeper's round: what was confirmed and not heard of is healed in it
ASKED_FOR: Final = timedelta(seconds=45)  # then the sweeper asks again; a silent gateway must not fill the queue


class Unknown(Exception):
    """The gateway has not said it, or not so that it is understood."""


class AuthorizePayment(Effect, name="authorize-payment"):
    """Have the gateway expect a payment; `amount` in the smallest unit of `currency`."""

    gateway: Gateway
    order_id: str
    user_id: str
    product_id: str
    amount: int
    currency: str
    return_url: str
    exp: int
    """Unix seconds: the gateway takes no money from then on."""


class ConfirmPayment(Effect, name="confirm-payment"):
    """Ask the gateway how the payment of an order stands; `amount` in the smallest unit of `currency`."""

    gateway: Gateway
    order_id: str
    amount: int
    currency: str
    hints: tuple[Hint, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """How a payment stands, as its gateway says: `amount` in the smallest unit of `currency`."""

    order_id: str
    status: Literal["open", "paid", "cancelled"]
    amount: int
    currency: str
    reference: str
    others: tuple[str, ...] = ()
    """Further payments of the same order that it took, by their references: somebody has paid more than once."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Which order a payment at a gateway was for: it pays no other. `id` is `{gateway}:{reference}`."""

    id: str
    order_id: str


@dataclass(frozen=True, slots=True)
class Form:
    """What the payer's browser posts to a gateway, and where: `path` at its `origin`."""

    origin: str
    path: str
    fields: Mapping[str, str]


def product_name(order: Order) -> str:
    """What a gateway is told that is bought: several pieces have a name of their own.

    A gateway may know products, and charge its own price for one; then three must not cost what one does.
    """
    item = order.items[0]
    return item.product_id if item.quantity == 1 else f"{item.product_id}_x{item.quantity}"


def authorize(order: Order, return_url: str) -> Call:
    """Ask the gateway of an order to expect its payment."""
    effect = AuthorizePayment(
        gateway=order.gateway,
        order_id=order.id,
        user_id=order.user_id,
        product_id=product_name(order),
        amount=order.amount,
        currency=order.currency,
        return_url=return_url,
        exp=int(order.exp.timestamp()),
    )
    return Call(effect, f"authorize-payment:{order.id}", order.id, order.exp)


def confirm(order: Order, now: datetime) -> Call:
    """Ask the gateway of an order how it stands; asked a hundred times at once it is one question."""
    effect = ConfirmPayment(
        gateway=order.gateway,
        order_id=order.id,
        amount=order.amount,
        currency=order.currency,
        hints=order.hints,
    )
    return Call(effect, f"confirm-payment:{order.id}", order.id, now + ASKED_FOR)


def check_again(order: Order, now: datetime) -> At:
    """Look at an order again, in the sweeper's next round."""
    return At(PaymentCheckDue(order_id=order.id), f"payment-check:{order.id}", now + CHECK_EVERY, order.user_id)


def receipt(order: Order, reference: str) -> Receipt:
    """This payment is for this order."""
    return Receipt(f"{order.gateway}:{reference}", order.id)


def best_of(asked: ConfirmPayment, paid: Sequence[Answer]) -> Answer:
    """Of several payments that were taken for one order the one that pays it; the others are named with it."""
    right = (asked.amount, asked.currency)
    best = next((one for one in paid if (one.amount, one.currency) == right), paid[0])
    return replace(best, others=tuple(one.reference for one in paid if one is not best))


def fact_of(order: Order, answer: Answer, now: datetime) -> Fact:
    """What an answer says of its order: money counts when it is of this amount, and is not waited for without end."""
    match answer.status:
        case "open":
            return "expired" if now >= order.exp + LATE else "still_open"
        case "cancelled":
            return "refused"
        case "paid":
            same = (answer.amount, answer.currency) == (order.amount, order.currency)
            return "confirmed" if same else "differs"
