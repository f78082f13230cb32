"""Minutes and gifts: wallet to the streamer's earnings at once, and back."""

from chassis.errors import NotYet
from chassis.storage.tx import Tx
from contracts import SessionPaymentRequestedV1, SessionPaymentReversedV1
from escrow import store
from escrow.domain import ledger, payments
from escrow.domain.payments import Payment
from escrow.handlers.wallets import post_returned
from escrow.settings import Settings
from escrow.store import accounts, load


async def charge_minutes(event: SessionPaymentRequestedV1, tx: Tx) -> None:
    """Pay for minutes: wallet to the streamer's earnings."""
    await charge(tx, payments.payment_of_minutes(event))


async def charge(tx: Tx, payment: Payment) -> None:
    """Make a payment, once, or say why not."""
    if await tx.get(store.PAYMENTS, payment.id) is not None:
        return
    wallet = await accounts.wallet(tx, payment.payer_id)
    blocked = await load.is_blocked(tx, payment.streamer_id, payment.payer_id)
    share = tx.settings(Settings).platform_share
    in_wallet = wallet.balance_diamonds if wallet else 0
    paid = payments.pay(payment, in_wallet, blocked=blocked, share=share, now=tx.now)
    await accounts.post(tx, paid.transfers)
    tx.put(store.PAYMENTS, paid.payment)
    tx.emit(paid.event)


async def reverse_payment(event: SessionPaymentReversedV1, tx: Tx) -> None:
    """The time, or a part of it, could not be given: the opposite transfers of that part, once per event.

    Raises:
        NotYet: the payment has not been heard of.
    """
    payment = await tx.get(store.PAYMENTS, event.payment_id)
    if payment is None:
        raise NotYet("payment")
    cause = payments.reversal_cause(payment.id, tx.cause.event_id or "")
    made = {ledger.transfer_id(kind, cause) for kind in ("reversal", "fee_reversal")}
    if await tx.get_many(store.TRANSFERS, made):
        return
    back = payments.reverse(payment, event, cause, tx.now)
    if back is not None:
        await post_returned(tx, back.transfers)
        tx.put(store.PAYMENTS, back.payment)
        tx.emit(back.event)
