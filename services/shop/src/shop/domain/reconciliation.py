"""Reconciliation: what we say was paid on a day, against what a gateway says that it took (SPEC §8). Pure.

A gateway's statement is kept line by line; a difference is not, so it goes away by itself once it is mended. Lines and
orders find each other by the order whatever the day, since a gateway's day may begin at another hour than ours (UTC).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from chassis.decision import Call, Effect
from chassis.errors import Conflict
from contracts.shop import Gateway
from shop.domain.orders import Order, Payment

DifferenceKind = Literal[
    "paid_there_only", "paid_here_only", "other_amount", "other_payment", "paid_not_granted", "granted_not_paid"
]
SETTLED: Final[tuple[Payment, ...]] = ("paid", "refunded", "charged_back")
LISTING: Final[frozenset[Gateway]] = frozenset({"sandbox"})
"""The gateways that can be asked for a day. So-net cannot, as far as is known: people bring its list."""


class StatementNotTold(Conflict, slug="statement-not-told"):
    """This payment service cannot be asked what it took: bring its list with `POST /shop/statements`."""


class FetchStatement(Effect, name="fetch-statement"):
    """Have a gateway list what it took on a day (ISO 8601), from behind `after`."""

    gateway: Gateway
    day: str
    after: str | None = None


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A payment that a gateway says it took; `amount` in the smallest unit. `id` is `{gateway}:{reference}`."""

    id: str
    gateway: Gateway
    reference: str
    order_id: str
    amount: int
    currency: str
    day: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A part of what a gateway lists, and from behind what the next one begins; None after the last."""

    lines: tuple[StatementLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """What does not fit together: an order of ours, a line of theirs, or one of the two that has no other."""

    kind: DifferenceKind
    order_id: str
    order: Order | None
    line: StatementLine | None


def line(gateway: Gateway, reference: str, order_id: str, amount: int, currency: str, day: str) -> StatementLine:
    """The line of that payment: the same one, told again, is the same line."""
    return StatementLine(f"{gateway}:{reference}", gateway, reference, order_id, amount, currency, day)


def fetch(gateway: Gateway, day: str, after: str | None = None) -> Call:
    """Ask for a day, or for the next part of it.

    Raises:
        StatementNotTold: as it says.
    """
    if gateway not in LISTING:
        raise StatementNotTold
    key = f"fetch-statement:{gateway}:{day}"
    return Call(FetchStatement(gateway=gateway, day=day, after=after), f"{key}:{after or ''}", key)


def of_line(told: StatementLine, order: Order | None) -> tuple[Difference, ...]:
    """What is wrong with a payment that a gateway has taken."""
    if order is None or order.payment not in SETTLED:
        return (Difference("paid_there_only", told.order_id, order, told),)
    kinds: list[DifferenceKind] = []
    if (told.amount, told.currency) != (order.amount, order.currency):
        kinds.append("other_amount")
    if (told.gateway, told.reference) != (order.gateway, order.reference):
        kinds.append("other_payment")
    return tuple(Difference(kind, order.id, order, told) for kind in kinds)


def of_paid(order: Order, lines: Collection[str]) -> tuple[Difference, ...]:
    """What is wrong with an order that was paid; `lines` has the orders that any line names."""
    kinds: list[DifferenceKind] = []
    if order.id not in lines:
        kinds.append("paid_here_only")
    if order.fulfilment == "granting":
        kinds.append("paid_not_granted")
    return tuple(Difference(kind, order.id, order, None) for kind in kinds)


def of_granted(order: Order) -> tuple[Difference, ...]:
    """What is wrong with an order of which something was granted."""
    return () if order.payment in SETTLED else (Difference("granted_not_paid", order.id, order, None),)
