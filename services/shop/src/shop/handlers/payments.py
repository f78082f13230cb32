"""What gateways answer, recorded once; and the sweeper, which asks for what nobody told us of."""

from chassis.service import EffectResult
from chassis.storage.tx import Tx
from shop import store
from shop.domain import orders, payments
from shop.domain.orders import PaymentCheckDue
from shop.domain.payments import AuthorizePayment, ConfirmPayment
from shop.store.orders import ask, settle, spend


async def check_payment(timer: PaymentCheckDue, tx: Tx) -> None:
    """Who was never sent to pay will not; how it stands with those who were is asked, round by round."""
    order = await tx.get(store.ORDERS, timer.order_id)
    if order is None or order.payment not in orders.UNSETTLED:
        return
    if orders.was_never_sent(order, tx.now):
        settle(tx, order, "expired")
    else:
        ask(tx, order)
        tx.set_timer(payments.check_again(order, tx.now))


async def record_authorization(result: EffectResult[AuthorizePayment], tx: Tx) -> None:
    """The gateway expects the payment: its payer can be sent there."""
    order = await tx.get(store.ORDERS, result.effect.order_id)
    if order is not None:
        tx.put(store.ORDERS, orders.authorized(order, result.result))


async def record_answer(result: EffectResult[ConfirmPayment], tx: Tx) -> None:
    """What the gateway says of an order's payment: only by this is anything ever paid."""
    order = await tx.get(store.ORDERS, result.effect.order_id)
    if order is None:
        return
    answer = result.result
    fact = payments.fact_of(order, answer, tx.now)
    if fact == "confirmed" and not await spend(tx, payments.receipt(order, answer.reference)):
        fact = "differs"
    for other in answer.others:  # its payer has paid twice: no other order is paid by it, and the lists say so
        await spend(tx, payments.receipt(order, other))
    settle(tx, order, fact, answer.reference)
