"""What escrow says of payments by the minute, what goals says of those for an exclusive, and minutes paid back."""

from chassis.storage.tx import Tx
from contracts import GoalExtensionRejectedV1, PaymentFailedV1, PaymentReversedV1, PaymentSucceededV1
from sessions import store
from sessions.domain import minutes
from sessions.domain import payments as domain
from sessions.domain.blocks import block_id
from sessions.settings import SessionsSettings
from sessions.store import holders, load


async def give_paid_time(event: PaymentSucceededV1, tx: Tx) -> None:
    """Minutes were paid: give them from now on, or have the money go back."""
    if event.purpose != "minutes":
        return
    payment = await load.payment(tx, event.payment_id)
    session = await load.session(tx, payment.session_id)
    blocked = await tx.get(store.BLOCKS, block_id(session.streamer_id, payment.payer_id)) is not None
    holder = await holders.holder(tx, session.id, payment.payer_id, payment.id, tx.now)
    store.save(tx, domain.settle(payment, session, holder, tx.now, blocked=blocked))


async def fail_payment(event: PaymentFailedV1, tx: Tx) -> None:
    """Nothing was paid. Who hears of it once more after a day has forgotten the payment."""
    payment = await tx.get(store.PAYMENTS, event.payment_id) if event.purpose == "minutes" else None
    if payment is not None:
        store.save(tx, domain.fail(payment, event.reason, tx.now))


async def confirm_payment_reversed(event: PaymentReversedV1, tx: Tx) -> None:
    """The money is back, or a part of it."""
    if event.purpose == "minutes":
        payment = await load.payment(tx, event.payment_id)
        store.save(tx, domain.confirm_reversed(payment, event.amount_diamonds))


async def reverse_rejected_extension(event: GoalExtensionRejectedV1, tx: Tx) -> None:
    """A payment for more of an exclusive came too late: its time is taken back, its money returned."""
    payment = await load.payment(tx, event.payment_id)
    session = await load.session(tx, payment.session_id)
    holder = await holders.holder(tx, session.id, payment.payer_id, payment.id, tx.now)
    store.save(tx, domain.reject_extension(payment, session, holder, event.duration))


async def pay_back_minutes(left: minutes.MinutesLeft, tx: Tx) -> None:
    """The next slice of viewers gets back what it paid for and cannot watch."""
    session = await load.session(tx, left.session_id)
    step_seconds = tx.settings(SessionsSettings).step_seconds
    slice_ = await holders.viewers_with_minutes(tx, left, step_seconds)
    await holders.pay_back(tx, session, left, slice_, step_seconds)
    store.save(tx, minutes.go_on(left, slice_, tx.now))
