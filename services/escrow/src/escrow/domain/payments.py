"""Payments: money that goes to a streamer at once, for minutes or for a gift, and its way back (SPEC §5)."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from contracts import Event, PaymentFailedV1, PaymentReversedV1, PaymentSucceededV1
from contracts.escrow import Purpose
from contracts.sessions import ReversalReason
from contracts.values import Open, PricePreset
from escrow.domain import ledger
from escrow.domain.ledger import Transfer


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment. `fee_diamonds` is the platform's share of it."""

    id: str
    purpose: Purpose
    session_id: str
    streamer_id: str
    payer_id: str
    amount_diamonds: int
    status: Literal["requested", "succeeded", "failed", "reversed"] = "requested"
    fee_diamonds: int = 0
    duration: int | None = None
    preset: Open[PricePreset] | None = None
    exclusive_goal_id: str | None = None
    gift_id: str | None = None


@dataclass(frozen=True, slots=True)
class Paid:
    """What a payment, or its reversal, came to."""

    payment: Payment
    event: Event
    transfers: tuple[Transfer, ...]


def pay(payment: Payment, wallet_diamonds: int, *, share: Decimal, now: datetime) -> Paid:
    """Wallet to the streamer's earnings, less the platform's share; or a failure, for good."""
    if wallet_diamonds < payment.amount_diamonds:
        failed = replace(payment, status="failed")
        return Paid(failed, PaymentFailedV1(**_facts(payment), reason="insufficient_diamonds"), ())
    done = replace(payment, status="succeeded", fee_diamonds=ledger.platform_fee(payment.amount_diamonds, share))
    return Paid(done, PaymentSucceededV1(**_facts(payment)), _legs(done, now, back=False))


def reverse(payment: Payment, reason: Open[ReversalReason], now: datetime) -> Paid | None:
    """The opposite transfers, once. None when nothing was paid, or it is reversed already."""
    if payment.status != "succeeded":
        return None
    reversed_ = replace(payment, status="reversed")
    return Paid(reversed_, PaymentReversedV1(**_facts(payment), reason=reason), _legs(payment, now, back=True))


def _legs(payment: Payment, now: datetime, *, back: bool) -> tuple[Transfer, ...]:
    wallet = ledger.wallet(payment.payer_id)
    legs: tuple[tuple[ledger.Kind, str, int], ...] = (
        (
            "reversal" if back else "payment",
            ledger.earnings(payment.streamer_id),
            payment.amount_diamonds - payment.fee_diamonds,
        ),
        ("fee_reversal" if back else "fee", ledger.REVENUE, payment.fee_diamonds),
    )
    return tuple(
        ledger.transfer(
            kind,
            payment.id,
            debit=other if back else wallet,
            credit=wallet if back else other,
            amount_diamonds=amount,
            at=now,
        )
        for kind, other, amount in legs
        if amount
    )


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
