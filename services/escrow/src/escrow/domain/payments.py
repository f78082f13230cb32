"""Payments: money that goes to a streamer at once, for minutes or for a gift, and its way back (SPEC §5)."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from chassis.decision import derived_id
from contracts import (
    Event,
    GiftRequestedV1,
    PaymentFailedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
)
from contracts.escrow import PaymentFailure, Purpose
from contracts.values import Open, PricePreset
from escrow.domain import ledger
from escrow.domain.holds import forget_refused_at, is_late
from escrow.domain.ledger import Transfer


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment. `fee_diamonds` is the platform's share of it; `reversed` means all of it.

    One that failed is remembered until `forget_at`, when its request is too late to be taken; then nobody need know.
    """

    id: str
    purpose: Purpose
    session_id: str
    streamer_id: str
    payer_id: str
    amount_diamonds: int
    status: Literal["requested", "succeeded", "failed", "reversed"] = "requested"
    fee_diamonds: int = 0
    reversed_diamonds: int = 0
    duration: int | None = None
    preset: Open[PricePreset] | None = None
    exclusive_goal_id: str | None = None
    gift_id: str | None = None
    exp: datetime | None = None
    forget_at: datetime | None = None

    @property
    def fee_kept_diamonds(self) -> int:
        """The platform's share of what has not been given back, rounded down: nothing, once all is back."""
        left = self.amount_diamonds - self.reversed_diamonds
        return self.fee_diamonds * left // self.amount_diamonds if left else 0


def payment_of_gift(event: GiftRequestedV1) -> Payment:
    """A gift that is paid to the streamer at once."""
    return Payment(
        id=derived_id("payment", event.gift_id),
        purpose="gift",
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        payer_id=event.sender_id,
        amount_diamonds=event.amount_diamonds,
        gift_id=event.gift_id,
        exp=event.exp,
    )


def payment_of_minutes(event: SessionPaymentRequestedV1) -> Payment:
    """Minutes that a viewer pays for."""
    return Payment(
        id=event.payment_id,
        purpose="minutes",
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        payer_id=event.payer_id,
        amount_diamonds=event.amount_diamonds,
        duration=event.duration,
        preset=event.preset,
        exclusive_goal_id=event.exclusive_goal_id,
        exp=event.exp,
    )


@dataclass(frozen=True, slots=True)
class Paid:
    """What a payment, or its reversal, came to."""

    payment: Payment
    event: Event
    transfers: tuple[Transfer, ...]


def pay(payment: Payment, wallet_diamonds: int, *, blocked: bool, share: Decimal, now: datetime) -> Paid:
    """Wallet to the streamer's earnings, less the platform's share; or a failure, for good."""
    if is_late(payment.exp, now):
        return fail(payment, "expired", now)
    if blocked:
        return fail(payment, "blocked", now)
    if wallet_diamonds < payment.amount_diamonds:
        return fail(payment, "insufficient_diamonds", now)
    fee = ledger.platform_fee(payment.amount_diamonds, share)
    done = replace(payment, status="succeeded", fee_diamonds=fee)
    wallet = ledger.wallet(payment.payer_id)
    legs: tuple[tuple[ledger.Kind, str, int], ...] = (
        ("payment", ledger.earnings(payment.streamer_id), payment.amount_diamonds - fee),
        ("fee", ledger.REVENUE, fee),
    )
    moved = tuple(
        ledger.transfer(kind, payment.id, debit=wallet, credit=credit, amount_diamonds=amount, at=now)
        for kind, credit, amount in legs
        if amount
    )
    return Paid(done, PaymentSucceededV1(**_facts(payment)), moved)


def fail(payment: Payment, reason: PaymentFailure, now: datetime) -> Paid:
    """Pay nothing for this cause, for good."""
    failed = replace(payment, status="failed", forget_at=forget_refused_at(payment.exp, now))
    return Paid(failed, PaymentFailedV1(**_facts(payment), reason=reason), ())


def reversal_cause(payment_id: str, event_id: str) -> str:
    """What the transfers of one reversal follow from: its event, so that whoever reads it again makes the same."""
    return f"{payment_id}:{event_id}"


def paid_by(cause: str) -> str:
    """The payment that a transfer's cause is, or is a reversal of."""
    return cause.partition(":")[0]


def reverse(payment: Payment, event: SessionPaymentReversedV1, cause: str, now: datetime) -> Paid | None:
    """The opposite transfers of that part, never more than is left. None when nothing was paid, or all is back.

    The platform's share comes back in proportion: it keeps its share of what is left, rounded down, so that after the
    last part exactly everything is back.
    """
    part = min(event.amount_diamonds, payment.amount_diamonds - payment.reversed_diamonds)
    if payment.status != "succeeded" or not part:
        return None
    after = replace(payment, reversed_diamonds=payment.reversed_diamonds + part)
    if after.reversed_diamonds == after.amount_diamonds:
        after = replace(after, status="reversed")
    fee = payment.fee_kept_diamonds - after.fee_kept_diamonds
    wallet = ledger.wallet(payment.payer_id)
    legs: tuple[tuple[ledger.Kind, str, int], ...] = (
        ("reversal", ledger.earnings(payment.streamer_id), part - fee),
        ("fee_reversal", ledger.REVENUE, fee),
    )
    moved = tuple(
        ledger.transfer(kind, cause, debit=debit, credit=wallet, amount_diamonds=amount, at=now)
        for kind, debit, amount in legs
        if amount
    )
    facts = _facts(payment) | {"amount_diamonds": part}
    if event.duration is not None:
        facts["duration"] = event.duration
    return Paid(after, PaymentReversedV1(**facts, reason=event.reason), moved)


def _facts(payment: Payment) -> dict[str, Any]:
    return {
        "session_id": payment.session_id,
        "streamer_id": payment.streamer_id,
        "payment_id": payment.id,
        "purpose": payment.purpose,
        "payer_id": payment.payer_id,
        "amount_diamonds": payment.amount_diamonds,
        "duration": payment.duration,
        "preset": payment.preset,
        "exclusive_goal_id": payment.exclusive_goal_id,
        "gift_id": payment.gift_id,
    }
