"""What escrow does when something happened: load, decide, save."""

from chassis.decision import Decision
from chassis.errors import NotYet
from chassis.tx import Tx
from contracts import (
    GiftRequestedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    GoalProposedV1,
    SessionGoalClosedV1,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
)
from contracts.event import SessionEvent
from escrow import store
from escrow.domain import escrows, holds, ledger, payments, settlement, verdicts
from escrow.domain.escrows import Earning, Escrow, HeldTooLong
from escrow.domain.holds import HoldRequest
from escrow.domain.payments import Payment
from escrow.domain.settlement import SettlementDue
from escrow.domain.verdicts import RefundCheckDue
from escrow.settings import Settings

# -- holds and their answers -------------------------------------------------------------------------------------------


async def remember_promise(event: GoalCreatedV1, tx: Tx) -> None:
    """A promise is made: from now on its escrow can be looked at, also before anybody paid."""
    escrow_id = verdicts.escrow_of_goal(event)
    if escrow_id is not None:
        tx.put(store.ESCROWS, await _escrow(tx, escrow_id, event))


async def hold_invitation_price(event: GoalProposedV1, tx: Tx) -> None:
    """Take an invitation's price out of the viewer's wallet, or say why not."""
    await _hold(tx, store.request_of_proposal(event), event)


async def hold_or_charge_gift(event: GiftRequestedV1, tx: Tx) -> None:
    """A gift's money: held for the promise it is given for, or paid to the streamer at once."""
    request = store.request_of_gift(event)
    if request is not None:
        await _hold(tx, request, event)
    else:
        await _charge(tx, store.payment_of_gift(event))


async def _hold(tx: Tx, request: HoldRequest, event: SessionEvent) -> None:
    if await tx.get(store.EARNINGS, request.earning_id) is not None:
        return
    escrow = await _escrow(tx, request.escrow_id, event)
    wallet = await store.wallet(tx, request.buyer_id)
    held = holds.hold(request, escrow, wallet.balance_diamonds if wallet else 0, tx.now)
    if held.transfers and not escrow.open_earnings:
        tx.set_timer(escrows.alarm(escrow, tx.now))
    await store.post(tx, held.transfers)
    tx.put(store.EARNINGS, held.earning)
    tx.put(store.ESCROWS, held.escrow)
    tx.emit(held.event)


async def accept_earning(event: GoalProgressedV1, tx: Tx) -> None:
    """Goals counts this hold."""
    await _answer(tx, event, accepted=True)


async def refund_rejected_earning(event: GoalContributionRejectedV1, tx: Tx) -> None:
    """Goals does not count this hold: its buyer has the money back at once, whatever the verdict."""
    await _answer(tx, event, accepted=False)


async def _answer(tx: Tx, event: GoalProgressedV1 | GoalContributionRejectedV1, *, accepted: bool) -> None:
    earning = await tx.get(store.EARNINGS, event.earning_id)
    if earning is None:
        raise NotYet("earning")
    answered = settlement.answered(earning, accepted=accepted)
    tx.put(store.EARNINGS, answered)
    escrow = await _escrow(tx, earning.escrow_id, event)
    await _settle(tx, escrow, (answered,))


# -- verdicts ----------------------------------------------------------------------------------------------------------


async def judge_ended_goal(event: GoalEndedV1, tx: Tx) -> None:
    """A goal ended: refund now, look again later, or leave it to sessions' judgement (SPEC §5, settlement table)."""
    escrow_id = verdicts.escrow_of_goal(event)
    if escrow_id is None:
        return
    settings = tx.settings(Settings)
    escrow = await _escrow(tx, escrow_id, event)
    decision = verdicts.when_ended(
        escrow,
        event,
        show_refund_seconds=settings.show_refund_seconds,
        invitation_refund_seconds=settings.invitation_refund_seconds,
    )
    await _judge(tx, escrow, decision)


async def judge_lapsed_goal(event: GoalLapsedV1, tx: Tx) -> None:
    """A promise died: refund, but never before its refund check."""
    escrow_id = verdicts.escrow_of_lapsed(event)
    if escrow_id is not None:
        escrow = await _escrow(tx, escrow_id, event)
        await _judge(tx, escrow, verdicts.when_lapsed(escrow, event))


async def judge_closed_goal(event: SessionGoalClosedV1, tx: Tx) -> None:
    """Sessions says whether the promise was kept: release, or refund."""
    escrow_id = verdicts.escrow_of_closed(event)
    if escrow_id is not None:
        escrow = await _escrow(tx, escrow_id, event)
        await _judge(tx, escrow, verdicts.when_closed(escrow, event))


async def check_refundable(timer: RefundCheckDue, tx: Tx) -> None:
    """`check_funding_goal_refundable`, `check_trigger_exclusive_goal_refundable`: refund if the promise lapsed."""
    escrow = await tx.get(store.ESCROWS, timer.escrow_id)
    if escrow is not None:
        await _judge(tx, escrow, verdicts.when_check_due(escrow))


async def _judge(tx: Tx, before: Escrow, decision: Decision[Escrow]) -> None:
    """Save a verdict and begin to settle: an invitation's one earning at once, any other escrow slice by slice."""
    tx.apply(store.ESCROWS, decision)
    escrow = decision.state
    if escrow is None or escrow.verdict is None or before.verdict is not None:
        return
    cause = escrows.only_cause(escrow.id)
    if cause is None:
        tx.set_timer(settlement.settlement_due(escrow, tx.now))
        return
    earning = await tx.get(store.EARNINGS, escrows.earning_id(escrow.id, cause))
    await _settle(tx, escrow, (earning,) if earning else ())


# -- settlement --------------------------------------------------------------------------------------------------------


async def settle_slice(timer: SettlementDue, tx: Tx) -> None:
    """Settle the next slice of an escrow's earnings, and set the timer anew while there are more. Stops anywhere."""
    escrow = await tx.get(store.ESCROWS, timer.escrow_id)
    if escrow is None:
        return
    slice_max = tx.settings(Settings).settlement_slice
    earnings = await store.settle_run(tx, escrow.id, slice_max)
    if len(earnings) == slice_max:
        tx.set_timer(settlement.settlement_due(escrow, tx.now))
    await _settle(tx, escrow, earnings)


async def _settle(tx: Tx, escrow: Escrow, earnings: tuple[Earning, ...]) -> None:
    settled = settlement.settle(escrow, earnings, share=tx.settings(Settings).platform_share, now=tx.now)
    await store.post(tx, settled.transfers, new=True)  # an earning and its transfers change together: it was held
    for earning in settled.earnings:
        tx.put(store.EARNINGS, earning)
    tx.put(store.ESCROWS, settled.escrow)
    for event in settled.events:
        tx.emit(event)


async def alert_held_too_long(timer: HeldTooLong, tx: Tx) -> None:
    """Money that is held for 13 h is a promise that nobody judged: an alarm for ops, and a look again every hour."""
    escrow = await tx.get(store.ESCROWS, timer.escrow_id)
    if escrow is not None and escrow.open_earnings:
        store.alert_held_too_long(escrow)
        tx.set_timer(escrows.look_again(escrow, tx.now))


# -- payments and the ledger -------------------------------------------------------------------------------------------


async def charge_minutes(event: SessionPaymentRequestedV1, tx: Tx) -> None:
    """Pay for minutes: wallet to the streamer's earnings."""
    await _charge(tx, store.payment_of_minutes(event))


async def _charge(tx: Tx, payment: Payment) -> None:
    if await tx.get(store.PAYMENTS, payment.id) is not None:
        return
    wallet = await store.wallet(tx, payment.payer_id)
    share = tx.settings(Settings).platform_share
    paid = payments.pay(payment, wallet.balance_diamonds if wallet else 0, share=share, now=tx.now)
    await store.post(tx, paid.transfers)
    tx.put(store.PAYMENTS, paid.payment)
    tx.emit(paid.event)


async def reverse_payment(event: SessionPaymentReversedV1, tx: Tx) -> None:
    """The time could not be given: the opposite transfer, once."""
    payment = await tx.get(store.PAYMENTS, event.payment_id)
    if payment is None:
        raise NotYet("payment")
    back = payments.reverse(payment, event.reason, tx.now)
    if back is not None:
        await store.post(tx, back.transfers)
        tx.put(store.PAYMENTS, back.payment)
        tx.emit(back.event)


async def fold_movements(_: ledger.FoldDue, tx: Tx) -> None:
    """Fold a slice of movements into their accounts' balances: the next slice at once, or look again soon."""
    more = await store.fold(tx)
    tx.set_timer(ledger.fold_due(tx.now if more else tx.now + ledger.FOLD_EVERY))


async def _escrow(tx: Tx, escrow_id: str, event: SessionEvent) -> Escrow:
    """The escrow, which comes into being when it is first heard of."""
    known = await tx.get(store.ESCROWS, escrow_id)
    return known or Escrow(escrow_id, escrows.goal_of(escrow_id), event.session_id, event.streamer_id)
