"""Orders: made, and looked at by who made them."""

from typing import Annotated

from fastapi import Path
from pydantic import Field

from chassis import ids
from chassis.errors import NotYet
from chassis.http import Body, CallerDep, Page, PageDep, TxDep, TxRouter, UnixTime, paged
from contracts.shop import Gateway, OrderRefundReason, Subtype
from contracts.values import ObjectIdStr, ProductId
from shop import store
from shop.domain import gifts, orders
from shop.domain.orders import Fulfilment, Order, OrderItem, OrderNotFound, Payment
from shop.domain.products import (
    GIFT_BY_ID,
    SOLD_BY_ID,
    ProductNotFound,
    SoldProduct,
    pass_of_streamer,
    streamer_of_pass,
)
from shop.domain.projection import block_id
from shop.settings import ShopSettings

router = TxRouter(tags=["shop"])

QUANTITY_MAX = 10  # a piece of a pass is a document; who wants more orders again

OrderPath = Annotated[ObjectIdStr, Path(description="The order")]


class Checkout(Body):
    """What to buy, how many of it, and through which gateway to pay."""

    product_id: ProductId
    quantity: Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
    gateway: Gateway


class ItemView(Body):
    """One line of an order. `amount` and `diamonds` are those of one piece; `granted` once it is all the buyer's.

    `taken_back` once a refund has taken what it could: `missing_diamonds` were spent and `activated_pieces` are in use
    by then; null: not known yet, or nothing of that kind. What comes back of the diamonds later is taken, too.
    """

    item_id: str
    product_id: str
    subtype: Subtype | None
    quantity: int
    amount: int
    diamonds: int | None
    pass_kind: str | None
    pass_seconds: int | None
    granted: bool
    taken_back: bool
    missing_diamonds: int | None
    activated_pieces: int | None


class OrderView(Body):
    """An order. `amount` is all of it, in the smallest unit of `currency`.

    `payment`: `open` (not handed over to the gateway yet), `pending` (its payer is there), `confirming` (the gateway
    was asked, and nobody knows yet), `paid`, `failed`, `review` (for a person to look at), `refunded` or `charged_back`
    (the payer has the money back, from us or through their bank). `fulfilment`: `none`, `granting`, `fulfilled`,
    `taking_back`, `taken_back`. Nobody is handed over to the gateway after `exp`.
    """

    order_id: str
    payment: Payment
    fulfilment: Fulfilment
    items: tuple[ItemView, ...]
    amount: int
    currency: str
    gateway: Gateway
    created: UnixTime
    exp: UnixTime
    paid_at: UnixTime | None
    refunded_at: UnixTime | None
    refund_reason: OrderRefundReason | None


@router.post(
    "/shop/checkout",
    status_code=201,
    group_commit=True,
    refuses=(
        ProductNotFound,
        orders.NotForMoney,
        orders.GatewayNotOffered,
        orders.TooManyOpenOrders,
        gifts.OwnSession,
        gifts.BlockedByStreamer,
    ),
)
async def check_out(body: Checkout, caller: CallerDep, tx: TxDep) -> OrderView:
    """Order something that costs money: price, items and payer are fixed from here on; nothing has been paid yet."""
    product = await _product(body.product_id, caller.user_id, tx)
    if body.gateway not in tx.settings(ShopSettings).payment_gateways:
        raise orders.GatewayNotOffered
    await _require_room(caller.user_id, tx)
    order, created = orders.create(ids.new_id(), caller.user_id, {product: body.quantity}, body.gateway, tx.now)
    tx.insert(store.ORDERS, order)
    tx.emit(created)
    tx.set_timer(orders.check_due(order))
    return view_of(order)


@router.get("/shop/orders")
async def list_orders(wanted: PageDep, caller: CallerDep, tx: TxDep) -> Page[OrderView]:
    """The caller's orders, newest last."""
    return await paged(tx, store.ORDERS, {"user_id": caller.user_id}, wanted, view_of)


@router.get("/shop/orders/{order_id}", refuses=(OrderNotFound,))
async def read_order(order_id: OrderPath, caller: CallerDep, tx: TxDep) -> OrderView:
    """What became of the caller's order, or for OPS of anybody's. To others it does not exist."""
    order = await tx.get(store.ORDERS, order_id)
    if order is None or not (order.user_id == caller.user_id or "OPS" in caller.scopes):
        raise OrderNotFound
    return view_of(order)


async def _product(product_id: str, buyer_id: str, tx: TxDep) -> SoldProduct:
    """What is bought; a streamer's pass only of one who has been on air, and who takes something from this buyer."""
    if product_id in GIFT_BY_ID:
        raise orders.NotForMoney
    if product_id in SOLD_BY_ID:
        return SOLD_BY_ID[product_id]
    streamer_id = streamer_of_pass(product_id)
    if streamer_id is None:
        raise ProductNotFound
    session = await tx.find_one(store.SESSIONS, {"streamer_id": streamer_id})
    if session is None:
        raise NotYet("product")
    block = await tx.get(store.BLOCKS, block_id(streamer_id, buyer_id))
    gifts.require_welcome(buyer_id, session, blocked=block is not None)
    return pass_of_streamer(streamer_id)


async def _require_room(user_id: str, tx: TxDep) -> None:
    """Refuse who fills the shop. A bound against floods, no promise: several orders at once may go beyond it."""
    unsettled = {"user_id": user_id, "payment": {"$in": list(orders.UNSETTLED)}}
    if len(await tx.find(store.ORDERS, unsettled, limit=orders.UNSETTLED_MAX)) == orders.UNSETTLED_MAX:
        raise orders.TooManyOpenOrders


def view_of(order: Order) -> OrderView:
    """An order as its buyer sees it."""
    return OrderView(
        order_id=order.id,
        payment=order.payment,
        fulfilment=order.fulfilment,
        items=tuple(_item(item) for item in order.items),
        amount=order.amount,
        currency=order.currency,
        gateway=order.gateway,
        created=order.created,
        exp=order.exp,
        paid_at=order.paid_at,
        refunded_at=order.refund.at if order.refund else None,
        refund_reason=order.refund.reason if order.refund else None,
    )


def _item(item: OrderItem) -> ItemView:
    return ItemView(
        item_id=item.item_id,
        product_id=item.product_id,
        subtype=item.subtype,
        quantity=item.quantity,
        amount=item.amount,
        diamonds=item.diamonds,
        pass_kind=item.pass_kind,
        pass_seconds=item.pass_seconds,
        granted=item.granted_at is not None,
        taken_back=item.taken_back_at is not None,
        missing_diamonds=item.missing_diamonds,
        activated_pieces=item.activated,
    )
