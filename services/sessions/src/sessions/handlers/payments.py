"""What escrow says of payments by the minute, and what goals says of those made to go on with an exclusive."""

from chassis.tx import Tx
from contracts import GoalExtensionRejectedV1, PaymentFailedV1, PaymentReversedV1, PaymentSucceededV1
from sessions import store
from sessions.domain import payments as domain


async def give_paid_time(event: PaymentSucceededV1, tx: Tx) -> None:
    """Minutes were paid: give them from now on, or have the money go back."""
    if event.purpose != "minutes":
        return
    payment = await store.payment(tx, event.payment_id)
    session = await store.session(tx, payment.session_id)
    holder = await store.holder(tx, session.id, payment.payer_id)
    store.save(tx, domain.settle(payment, session, holder, tx.now))


async def fail_payment(event: PaymentFailedV1, tx: Tx) -> None:
    """Nothing was paid."""
    if event.purpose == "minutes":
        payment = await store.payment(tx, event.payment_id)
        store.save(tx, domain.fail(payment, event.reason))


async def confirm_payment_reversed(event: PaymentReversedV1, tx: Tx) -> None:
    """The money is back."""
    if event.purpose == "minutes":
        payment = await store.payment(tx, event.payment_id)
        session = await store.session(tx, payment.session_id)
        holder = await store.holder(tx, session.id, payment.payer_id)
        store.save(tx, domain.confirm_reversed(payment, session, holder))


async def reverse_rejected_extension(event: GoalExtensionRejectedV1, tx: Tx) -> None:
    """A payment for more of an exclusive came too late: its time is taken back, its money returned."""
    payment = await store.payment(tx, event.payment_id)
    session = await store.session(tx, payment.session_id)
    holder = await store.holder(tx, session.id, payment.payer_id)
    store.save(tx, domain.reverse(payment, session, holder, "extension_rejected"))
