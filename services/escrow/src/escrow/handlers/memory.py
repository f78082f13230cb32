"""After a restore: the money moves again as escrow has told since, whatever the hour is now (SPEC §5).

What escrow has heard since it will hear again, and finds it done. Nothing is told twice here: it was told then.
"""

from chassis.errors import NotYet
from chassis.storage.tx import Tx
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowHeldV1,
    EscrowRejectedV1,
    PaymentFailedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
    SessionPaymentReversedV1,
    WalletCreditedV1,
    WalletDebitedV1,
)
from contracts.escrow import Verdict
from escrow import store
from escrow.domain import holds, ledger, payments, purchases, settlement
from escrow.domain.holds import HoldRequest
from escrow.domain.ledger import Transfer
from escrow.domain.payments import Payment
from escrow.domain.purchases import Debit
from escrow.settings import Settings
from escrow.store import accounts, load


async def remember_credit(event: WalletCreditedV1, tx: Tx) -> None:
    """Diamonds came from outside: nobody else can say so again."""
    credit = ledger.credit_as_published(event, tx.cause.at)
    if await tx.get(store.TRANSFERS, credit.id) is None:
        await accounts.post(tx, (credit,), new=True)


async def remember_debit(event: WalletDebitedV1, tx: Tx) -> None:
    """So much was there to be taken back, or came back later."""
    known = await tx.get(store.DEBITS, event.cause_id)
    if event.from_cause_id is not None:
        await _remember_taking(event, known, tx)
    elif known is None:
        debit, transfers = purchases.debit_of(event, tx.cause.at)
        await _post(tx, transfers)
        await accounts.owe(tx, debit, debit.missing_diamonds)


async def _remember_taking(event: WalletDebitedV1, debit: Debit | None, tx: Tx) -> None:
    """Not before that is back of which it was taken: until then others count on what lies in the wallet."""
    if debit is None:
        raise NotYet("debit")
    if not await tx.get_many(store.TRANSFERS, purchases.returns_for(event.from_cause_id or "")):
        raise NotYet("diamonds")
    taken = purchases.taking_of(debit, event, tx.cause.at)
    if await tx.get(store.TRANSFERS, taken.transfer.id) is None:
        await _post(tx, (taken.transfer,))
        await accounts.owe(tx, taken.debit, -event.amount_diamonds)


async def remember_hold(event: EscrowHeldV1, tx: Tx) -> None:
    """It was in time, and there was money."""
    if await tx.get(store.EARNINGS, event.earning_id) is not None:
        return
    escrow = await load.escrow(tx, event.escrow_id, event)
    held = holds.hold(_request(event, event.count), escrow, event.amount_diamonds, blocked=False, now=tx.cause.at)
    await _post(tx, held.transfers)
    tx.put(store.EARNINGS, held.earning)
    if held.escrow is not None:
        tx.put(store.ESCROWS, held.escrow)


async def remember_refused_hold(event: EscrowRejectedV1, tx: Tx) -> None:
    """It was refused for good."""
    refused = holds.refuse(_request(event, 1), "expired", tx.cause.at)
    if await tx.get(store.EARNINGS, refused.earning.id) is None:
        tx.put(store.EARNINGS, refused.earning)


async def remember_release(event: EscrowCompletedV1, tx: Tx) -> None:
    """It is the streamer's."""
    await _settle(event, "release", tx)


async def remember_refund(event: EscrowFailedV1, tx: Tx) -> None:
    """It is the buyer's again."""
    await _settle(event, "refund", tx)


async def remember_payment(event: PaymentSucceededV1, tx: Tx) -> None:
    """It was in time, and there was money."""
    if await tx.get(store.PAYMENTS, event.payment_id) is not None:
        return
    share = tx.settings(Settings).platform_share
    paid = payments.pay(_payment(event), event.amount_diamonds, blocked=False, share=share, now=tx.cause.at)
    await _post(tx, paid.transfers)
    tx.put(store.PAYMENTS, paid.payment)


async def remember_failed_payment(event: PaymentFailedV1, tx: Tx) -> None:
    """It failed for good."""
    if await tx.get(store.PAYMENTS, event.payment_id) is None:
        tx.put(store.PAYMENTS, payments.fail(_payment(event), "expired", tx.cause.at).payment)


async def remember_reversal(event: PaymentReversedV1, tx: Tx) -> None:
    """A part of a payment went back, because of the event that this one followed from.

    Raises:
        NotYet: the payment is not remembered yet.
    """
    payment = await tx.get(store.PAYMENTS, event.payment_id)
    if payment is None:
        raise NotYet("payment")
    cause = payments.reversal_cause(payment.id, tx.cause.event_id or "")
    made = {ledger.transfer_id(kind, cause) for kind in ("reversal", "fee_reversal")}
    if await tx.get_many(store.TRANSFERS, made):
        return
    asked = SessionPaymentReversedV1(
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        payment_id=event.payment_id,
        payer_id=event.payer_id,
        amount_diamonds=event.amount_diamonds,
        reason=event.reason or "session_ended",
    )
    back = payments.reverse(payment, asked, cause, tx.cause.at)
    if back is not None:
        await _post(tx, back.transfers)
        tx.put(store.PAYMENTS, back.payment)


async def _settle(event: EscrowCompletedV1 | EscrowFailedV1, verdict: Verdict, tx: Tx) -> None:
    earning = await tx.get(store.EARNINGS, event.earning_id)
    if earning is None:
        raise NotYet("earning")
    if earning.status != "held":
        return
    escrow = await load.escrow(tx, event.escrow_id, event)
    share = tx.settings(Settings).platform_share
    done = settlement.settle_as_published(escrow, earning, verdict, share=share, now=tx.cause.at)
    await _post(tx, done.transfers)
    for settled in done.earnings:
        tx.put(store.EARNINGS, settled)
    tx.put(store.ESCROWS, done.escrow)


async def _post(tx: Tx, transfers: tuple[Transfer, ...]) -> None:
    """Raises NotYet while a wallet lacks what another session, or somebody else's event, has put into it."""
    balances = await tx.get_many(store.BALANCES, (one.debit for one in transfers))
    for account in {one.debit for one in transfers if ledger.has_floor(one.debit)}:
        there = balances[account].balance_diamonds if account in balances else 0
        if there < sum(one.amount_diamonds for one in transfers if one.debit == account):
            raise NotYet("diamonds")
    await accounts.post(tx, transfers)


def _request(event: EscrowHeldV1 | EscrowRejectedV1, count: int) -> HoldRequest:
    return HoldRequest(
        escrow_id=event.escrow_id,
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        buyer_id=event.buyer_id,
        goal_id=event.goal_id,
        cause_id=event.cause_id,
        amount_diamonds=event.amount_diamonds,
        count=count,
        gift_id=event.gift_id,
    )


def _payment(event: PaymentSucceededV1 | PaymentFailedV1) -> Payment:
    return Payment(
        id=event.payment_id,
        purpose=event.purpose,  # type: ignore[arg-type] # our own, of this release or an older one
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        payer_id=event.payer_id,
        amount_diamonds=event.amount_diamonds,
        duration=event.duration,
        preset=event.preset,
        exclusive_goal_id=event.exclusive_goal_id,
        gift_id=event.gift_id,
    )
