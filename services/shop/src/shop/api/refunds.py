"""Refunds: an operator says that a payer has the money back. Nothing here moves money at a gateway."""

from chassis.http import Body, CallerDep, TxDep, TxRouter
from contracts.shop import OrderRefundReason
from shop import store
from shop.api.orders import OrderPath, OrderView, view_of
from shop.domain import refunds
from shop.domain.orders import OrderNotFound, Refund, Returned
from shop.domain.refunds import NothingToRefund
from shop.store.orders import take_back

router = TxRouter(tags=["shop"])


class Why(Body):
    """Why the money goes back; the buyer sees it."""

    reason: OrderRefundReason


@router.post("/shop/orders/{order_id}/refund", status_code=202, scope="OPS", refuses=(OrderNotFound, NothingToRefund))
async def refund_order(order_id: OrderPath, body: Why, caller: CallerDep, tx: TxDep) -> OrderView:
    """Say that the payer has the money back: what it bought is taken back, as far as it is still there.

    The money itself is given back by people, at the payment service. Asked again it changes nothing.
    """
    return await _take_back(order_id, "refunded", body, caller.user_id, tx)


@router.post(
    "/shop/orders/{order_id}/chargeback", status_code=202, scope="OPS", refuses=(OrderNotFound, NothingToRefund)
)
async def charge_back_order(order_id: OrderPath, body: Why, caller: CallerDep, tx: TxDep) -> OrderView:
    """Say that the payer has fetched the money back through their bank: the same is taken back as by a refund."""
    return await _take_back(order_id, "charged_back", body, caller.user_id, tx)


async def _take_back(order_id: str, returned: Returned, why: Why, operator_id: str, tx: TxDep) -> OrderView:
    order = await tx.get(store.ORDERS, order_id)
    if order is None:
        raise OrderNotFound
    if order.payment == returned:
        return view_of(order)
    backpack = await tx.get_many(store.BACKPACK, refunds.pieces_of(order))
    taken = refunds.take_back(order, returned, Refund(why.reason, operator_id, tx.now), backpack)
    take_back(tx, taken)
    return view_of(taken.order)
