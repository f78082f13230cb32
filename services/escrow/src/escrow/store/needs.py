"""What handlers need, for a whole batch at once."""

from collections.abc import Iterable

from chassis.storage.collection import Ref
from contracts import (
    GiftRequestedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    GoalProposedV1,
    OrderCreatedV1,
    OrderPaidV1,
    OrderRefundedV1,
    SessionGoalClosedV1,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from escrow.domain import escrows, holds, ledger, payments, purchases, verdicts
from escrow.domain.blocks import BlockRefundDue, block_id
from escrow.domain.holds import HoldRequest
from escrow.domain.payments import Payment
from escrow.domain.settlement import SettlementDue
from escrow.domain.verdicts import FundingRefundCheckDue, InvitationRefundCheckDue, RefundCheckDue
from escrow.store import BALANCES, BLOCKS, DEBITS, EARNINGS, ESCROWS, EXTERNAL_ACCOUNTS, PAYMENTS, TRANSFERS


def of_request(request: HoldRequest) -> Iterable[Ref]:
    """Everything that a hold reads."""
    yield ESCROWS.ref(request.escrow_id)
    yield EARNINGS.ref(request.earning_id)
    yield TRANSFERS.ref(ledger.transfer_id("hold", request.earning_id))
    yield BALANCES.ref(ledger.wallet(request.buyer_id))
    yield BALANCES.ref(ledger.escrow(request.escrow_id))
    yield BLOCKS.ref(block_id(request.streamer_id, request.buyer_id))


def of_created(event: GoalCreatedV1) -> Iterable[Ref]:
    """The escrow of a new promise."""
    escrow_id = verdicts.escrow_of_goal(event)
    return (ESCROWS.ref(escrow_id),) if escrow_id else ()


def of_proposal(event: GoalProposedV1) -> Iterable[Ref]:
    """Everything that holding an invitation's price reads."""
    return of_request(holds.request_of_proposal(event))


def of_gift(event: GiftRequestedV1) -> Iterable[Ref]:
    """Everything that holding or charging a gift's price reads."""
    request = holds.request_of_gift(event)
    return of_request(request) if request is not None else _of_charge(payments.payment_of_gift(event))


def of_answer(event: GoalProgressedV1 | GoalContributionRejectedV1) -> Iterable[Ref]:
    """Everything that an answer to a hold reads."""
    return _of_settlement(event.escrow_id, event.earning_id, event.user_id, event.streamer_id)


def of_ended(event: GoalEndedV1) -> Iterable[Ref]:
    """Everything that the end of a goal reads; an invitation's one earning is settled with it."""
    escrow_id = verdicts.escrow_of_goal(event)
    if escrow_id is None:
        return ()
    invitation, buyer = escrows.only_cause(escrow_id), event.conditions.exclusive_to
    if invitation is None or buyer is None:
        return (ESCROWS.ref(escrow_id),)
    return _of_settlement(escrow_id, escrows.earning_id(escrow_id, invitation), buyer, event.streamer_id)


def of_lapsed(event: GoalLapsedV1) -> Iterable[Ref]:
    """The escrow of a promise that lapsed."""
    escrow_id = verdicts.escrow_of_lapsed(event)
    return (ESCROWS.ref(escrow_id),) if escrow_id else ()


def of_closed(event: SessionGoalClosedV1) -> Iterable[Ref]:
    """The escrow of a promise that was judged."""
    escrow_id = verdicts.escrow_of_closed(event)
    return (ESCROWS.ref(escrow_id),) if escrow_id else ()


def of_buyer(event: OrderCreatedV1) -> Iterable[Ref]:
    """The wallets of who orders, ours and the external one."""
    return BALANCES.ref(ledger.wallet(event.user_id)), EXTERNAL_ACCOUNTS.ref(event.user_id)


def of_order(event: OrderPaidV1) -> Iterable[Ref]:
    """Everything that crediting an order's diamonds reads."""
    for bought in purchases.diamonds_bought(event):
        yield TRANSFERS.ref(ledger.transfer_id("credit", bought.cause_id))
        yield BALANCES.ref(ledger.wallet(event.user_id))
        yield BALANCES.ref(ledger.MINT)


def of_refund(event: OrderRefundedV1) -> Iterable[Ref]:
    """Everything that taking an order's diamonds back reads."""
    for bought in purchases.diamonds_bought(event):
        yield DEBITS.ref(bought.cause_id)
        for kind in ("credit", "take_back"):
            yield TRANSFERS.ref(ledger.transfer_id(kind, bought.cause_id))
        yield BALANCES.ref(ledger.wallet(event.user_id))
        yield BALANCES.ref(ledger.MINT)


def of_minutes(event: SessionPaymentRequestedV1) -> Iterable[Ref]:
    """Everything that charging minutes reads."""
    return _of_charge(payments.payment_of_minutes(event))


def of_reversal(event: SessionPaymentReversedV1) -> Iterable[Ref]:
    """Everything that giving a payment back reads."""
    yield PAYMENTS.ref(event.payment_id)
    yield BALANCES.ref(ledger.wallet(event.payer_id))
    yield BALANCES.ref(ledger.earnings(event.streamer_id))


def _of_charge(payment: Payment) -> Iterable[Ref]:
    yield PAYMENTS.ref(payment.id)
    yield BALANCES.ref(ledger.wallet(payment.payer_id))
    yield BALANCES.ref(ledger.earnings(payment.streamer_id))
    yield TRANSFERS.ref(ledger.transfer_id("payment", payment.id))
    yield BLOCKS.ref(block_id(payment.streamer_id, payment.payer_id))


def of_block(event: ViewerBlockedV1 | ViewerUnblockedV1 | BlockRefundDue) -> Iterable[Ref]:
    """What is known of a viewer's block by a streamer."""
    return (BLOCKS.ref(block_id(event.streamer_id, event.viewer_id)),)


def of_timer(
    timer: FundingRefundCheckDue | InvitationRefundCheckDue | RefundCheckDue | SettlementDue,
) -> Iterable[Ref]:
    """The escrow that a timer is about."""
    return (ESCROWS.ref(timer.escrow_id),)


def _of_settlement(escrow_id: str, earning_id: str, buyer_id: str, streamer_id: str) -> Iterable[Ref]:
    yield ESCROWS.ref(escrow_id)
    yield EARNINGS.ref(earning_id)
    yield BALANCES.ref(ledger.wallet(buyer_id))
    yield BALANCES.ref(ledger.escrow(escrow_id))
    yield BLOCKS.ref(block_id(streamer_id, buyer_id))
