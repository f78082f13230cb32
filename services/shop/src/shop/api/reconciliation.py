"""Reconciliation: what payment services say that they took, and what of it does not fit our orders. For operators."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import AfterValidator, Field, StringConstraints

from chassis.http import Body, CallerDep, Page, RankedPageDep, Slice, TxDep, TxRouter, invalid, paged
from contracts.shop import Currency, Gateway
from contracts.values import ObjectIdStr
from shop import store
from shop.domain import reconciliation
from shop.domain.orders import Fulfilment, GatewayNotOffered, Order, Payment
from shop.domain.reconciliation import Difference, DifferenceKind, StatementLine, StatementNotTold
from shop.settings import ShopSettings

router = TxRouter(tags=["operations"])

LINES_MAX = 200  # of one request: some 40 KB
AMOUNT_MAX = 10**12


def _is_a_day(day: str) -> str:
    date.fromisoformat(day)
    return day


Day = Annotated[str, StringConstraints(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_is_a_day)]
"""ISO 8601."""
DayQuery = Annotated[Day, Query(description="The day, in UTC, such as `2026-11-28`")]


class Line(Body):
    """A payment that the payment service took: by its own id, for which order, and how much, in the smallest unit."""

    reference: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,64}$")]
    order_id: ObjectIdStr
    amount: Annotated[int, Field(ge=0, le=AMOUNT_MAX)]
    currency: Currency


class StatementBody(Body):
    """A part of what a payment service lists for a day, as its own desk shows it."""

    gateway: Gateway
    day: Day
    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=LINES_MAX)]


class Fetch(Body):
    """Which day to ask which payment service about."""

    gateway: Gateway
    day: Day


class DifferenceView(Body):
    """What does not fit: what we know of the order, null if there is none, and what was told of a payment for it.

    `kind`: `paid_there_only` (not paid here), `paid_here_only` (no payment was told of), `other_amount`,
    `other_payment` (paid by another payment than the one that was confirmed: perhaps twice), `paid_not_granted`,
    `granted_not_paid`.
    """

    kind: DifferenceKind
    order_id: str
    payment: Payment | None
    fulfilment: Fulfilment | None
    amount: int | None
    currency: str | None
    gateway: Gateway | None
    reference: str | None
    told_gateway: Gateway | None
    told_reference: str | None
    told_amount: int | None
    told_currency: str | None


@router.post("/shop/statements", status_code=204, scope="OPS")
async def put_statement(body: StatementBody, caller: CallerDep, tx: TxDep) -> None:  # noqa: ARG001 - who may is in `scope`
    """Bring what a payment service says that it took on a day, part by part. A line told again replaces the first."""
    for one in body.lines:
        told = (body.gateway, one.reference, one.order_id, one.amount, one.currency, body.day)
        tx.put(store.STATEMENT_LINES, reconciliation.line(*told))


@router.post("/shop/statements/fetch", status_code=202, scope="OPS", refuses=(GatewayNotOffered, StatementNotTold))
async def fetch_statement(body: Fetch, caller: CallerDep, tx: TxDep) -> Fetch:  # noqa: ARG001 - who may is in `scope`
    """Ask a payment service what it took on a day, where it can be asked; `GET /shop/reconciliation` then knows.

    What is being asked is told back.
    """
    call = reconciliation.fetch(body.gateway, body.day)
    if body.gateway not in tx.settings(ShopSettings).payment_gateways:
        raise GatewayNotOffered
    tx.schedule_effect(call)
    return body


@router.get("/shop/reconciliation", scope="OPS")
async def reconcile(day: DayQuery, wanted: RankedPageDep, caller: CallerDep, tx: TxDep) -> Page[DifferenceView]:  # noqa: ARG001 - who may is in `scope`
    """What does not fit together on a day. A page shows what so many payments and orders have in them: often nothing,
    and then `next` leads on all the same.
    """
    parts = list(PARTS)
    part, after = (wanted.after[0], wanted.after[1:] or None) if wanted.after else (parts[0], None)
    if part not in parts:
        raise invalid("after", "is not a cursor of this list")
    found: list[Difference] = []
    left = wanted.limit
    for name in parts[parts.index(part) :]:
        page, differences = await PARTS[name](day, Slice(left, after), tx)
        found += differences
        left -= len(page.items)
        last, after = name + (page.last or ""), None
        following = name + page.next if page.next else None
        if not left or following:
            following = following or next(iter(parts[parts.index(name) + 1 :]), None)
            break
    return Page([_view(one) for one in found], following, last)


async def _told(day: str, wanted: Slice, tx: TxDep) -> tuple[Page[StatementLine], list[Difference]]:
    page = await paged(tx, store.STATEMENT_LINES, {"day": day}, wanted, _itself)
    known = await tx.get_many(store.ORDERS, (line.order_id for line in page.items))
    return page, [one for line in page.items for one in reconciliation.of_line(line, known.get(line.order_id))]


async def _paid(day: str, wanted: Slice, tx: TxDep) -> tuple[Page[Order], list[Difference]]:
    page = await paged(tx, store.ORDERS, {"paid_on": day}, wanted, _itself)
    there = await store.orders_with_lines(tx, [order.id for order in page.items])
    return page, [one for order in page.items for one in reconciliation.of_paid(order, there)]


async def _granted(day: str, wanted: Slice, tx: TxDep) -> tuple[Page[Order], list[Difference]]:
    page = await paged(tx, store.ORDERS, {"granted_on": day}, wanted, _itself)
    return page, [one for order in page.items for one in reconciliation.of_granted(order)]


PARTS: Final[Mapping[str, Callable[[str, Slice, TxDep], Awaitable[tuple[Page[Any], list[Difference]]]]]] = {
    "t": _told,
    "p": _paid,
    "g": _granted,
}
"""What is looked at, one after the other, by the letter that a cursor begins with."""


def _itself(document: Any) -> Any:
    return document


def _view(difference: Difference) -> DifferenceView:
    order, told = difference.order, difference.line
    return DifferenceView(
        kind=difference.kind,
        order_id=difference.order_id,
        payment=order.payment if order else None,
        fulfilment=order.fulfilment if order else None,
        amount=order.amount if order else None,
        currency=order.currency if order else None,
        gateway=order.gateway if order else None,
        reference=order.reference if order else None,
        told_gateway=told.gateway if told else None,
        told_reference=told.reference if told else None,
        told_amount=told.amount if told else None,
        told_currency=told.currency if told else None,
    )
