"""Paying by the minute: asked here, charged by escrow, given here, and reversed when it came too late (SPEC §4).

    requested ── payment.failed ──▶ failed
        │
        └── payment.succeeded ──▶ succeeded ── payment.reversed ──▶ reversed

`reversal` says why the money shall go back; it is set, and escrow told, once.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Literal

from chassis.errors import Conflict, Forbidden, Invalid, NotFound
from contracts import (
    PricePreset,
    ReversalReason,
    RevocationReason,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
    SessionViewerRevokedV1,
)
from sessions.domain.changes import NOTHING, Changes, changed, joined
from sessions.domain.grants import Grant, Holder, give, take_back
from sessions.domain.session import Session, SessionOver

Status = Literal["requested", "succeeded", "failed", "reversed"]

STEPS_MAX = 60  # of one payment (SPEC §4)


@dataclass(frozen=True, slots=True)
class Payment:
    """Minutes that a viewer buys, `duration` in seconds."""

    id: str
    session_id: str
    streamer_id: str
    payer_id: str
    amount_diamonds: int
    duration: int
    preset: PricePreset
    exclusive_goal_id: str | None = None
    status: Status = "requested"
    reason: str | None = None
    """Why it failed."""
    reversal: ReversalReason | None = None


class PaymentNotFound(NotFound, slug="payment-not-found"):
    """The caller has made no such payment."""


class NoActiveSession(NotFound, slug="no-active-session"):
    """This streamer is not on air."""


class BlockedByStreamer(Forbidden, slug="blocked-by-streamer"):
    """The streamer has blocked the caller."""


class NotWholeSteps(Invalid, slug="not-whole-steps"):
    """The duration must be whole steps, 1 to 60 of them."""


class ExclusiveToAnother(Conflict, slug="exclusive-to-another"):
    """The session is exclusive to somebody else."""


class ExclusiveNotYetStarted(Conflict, slug="exclusive-not-yet-started"):
    """The caller's exclusive has been agreed, but has not begun."""


class PriceNotSet(Conflict, slug="price-not-set"):
    """The streamer sells no time at the moment."""


def check_steps(duration: int, step_seconds: int) -> None:
    """See that `duration` can be bought.

    Raises:
        NotWholeSteps: it never can.
    """
    if duration % step_seconds or not 1 <= duration // step_seconds <= STEPS_MAX:
        raise NotWholeSteps(errors=[{"field": "duration", "message": f"must be 1 to {STEPS_MAX} times {step_seconds}"}])


def price_payment(session: Session, payment_id: str, payer_id: str, duration: int, step_seconds: int) -> Payment:
    """The payment that the payer can make now: of the payer's exclusive while that runs, else of watching.

    Raises:
        SessionOver, ExclusiveToAnother, ExclusiveNotYetStarted, PriceNotSet: nothing can be bought now.
    """
    if not session.active:
        raise SessionOver
    exclusive_goal_id = _exclusive_of(session, payer_id)
    preset: PricePreset = "sd" if exclusive_goal_id is None else "exclusive"
    return Payment(
        id=payment_id,
        session_id=session.id,
        streamer_id=session.streamer_id,
        payer_id=payer_id,
        amount_diamonds=get_price(session, preset, duration, step_seconds),
        duration=duration,
        preset=preset,
        exclusive_goal_id=exclusive_goal_id,
    )


def request(payment: Payment) -> Changes:
    """Ask escrow to charge it. Only inserts: what becomes of the session meanwhile is judged once it is paid."""
    requested = SessionPaymentRequestedV1(
        session_id=payment.session_id,
        streamer_id=payment.streamer_id,
        payment_id=payment.id,
        payer_id=payment.payer_id,
        amount_diamonds=payment.amount_diamonds,
        duration=payment.duration,
        preset=payment.preset,
        exclusive_goal_id=payment.exclusive_goal_id,
    )
    return changed(payment, events=[requested])


def get_price(session: Session, preset: PricePreset, duration: int, step_seconds: int) -> int:
    """What `duration` costs, in diamonds.

    Raises:
        PriceNotSet: it is not for sale.
    """
    price = session.prices.exclusive if preset == "exclusive" else session.prices.sd
    if price is None:
        raise PriceNotSet
    return price * duration // step_seconds


def settle(payment: Payment, session: Session, holder: Holder, now: datetime) -> Changes:
    """Give the time that was paid for, from `now` on; or have the money go back, if it cannot be given any more."""
    if payment.status != "requested":
        return NOTHING
    succeeded = replace(payment, status="succeeded")
    reason = payment.reversal or _obstacle(session, payment)
    grant = Grant(
        id=payment.id,
        session_id=session.id,
        viewer_id=payment.payer_id,
        reason="paid",
        nbf=now,
        duration=payment.duration,
        exclusive_goal_id=payment.exclusive_goal_id,
        stands=reason is None,
    )
    given = joined(changed(succeeded), give(session, holder, grant))
    return given if reason is None else joined(given, reverse(succeeded, session, holder, reason))


def fail(payment: Payment, reason: str | None) -> Changes:
    """Remember that nothing was paid."""
    if payment.status != "requested":
        return NOTHING
    return changed(replace(payment, status="failed", reason=reason))


def reverse(payment: Payment, session: Session, holder: Holder, reason: ReversalReason) -> Changes:
    """Take back what the payment gave, and have escrow pay it back; once, also on an ended session."""
    if payment.reversal is not None or payment.status == "failed":
        return changed(payment)
    reversed_ = SessionPaymentReversedV1(
        session_id=payment.session_id,
        streamer_id=payment.streamer_id,
        payment_id=payment.id,
        payer_id=payment.payer_id,
        amount_diamonds=payment.amount_diamonds,
        reason=reason,
    )
    revocation: RevocationReason = "extension_rejected" if reason == "extension_rejected" else "reversed"
    return joined(
        changed(replace(payment, reversal=reason)),
        _take_back(payment, session, holder, revocation),
        changed(events=[reversed_]),
    )


def confirm_reversed(payment: Payment, session: Session, holder: Holder) -> Changes:
    """Remember that escrow has paid it back."""
    if payment.status == "reversed":
        return NOTHING
    return joined(changed(replace(payment, status="reversed")), _take_back(payment, session, holder, "reversed"))


def _take_back(payment: Payment, session: Session, holder: Holder, reason: RevocationReason) -> Changes:
    revoked = partial(
        SessionViewerRevokedV1,
        session_id=payment.session_id,
        streamer_id=payment.streamer_id,
        viewer_id=payment.payer_id,
        payment_id=payment.id,
        exclusive_goal_id=payment.exclusive_goal_id,
        reason=reason,
    )
    gone = [grant for grant in holder.grants if grant.id == payment.id]
    return take_back(session, holder, gone, lambda remaining: revoked(remaining=remaining))


def _exclusive_of(session: Session, payer_id: str) -> str | None:
    """The payer's running exclusive; None while the session is open to everyone."""
    if not session.exclusive_to:
        return None
    if payer_id not in session.exclusive_to:
        raise ExclusiveToAnother
    pair = session.exclusive_pair
    if pair is None or pair.exclusive_goal is None:
        raise ExclusiveNotYetStarted
    return pair.exclusive_goal


def _obstacle(session: Session, payment: Payment) -> ReversalReason | None:
    """Why the time cannot be given any more."""
    if not session.active:
        return "session_ended"
    if session.exclusive_to and payment.payer_id not in session.exclusive_to:
        return "exclusive_to_another"
    pair = session.exclusive_pair
    if payment.exclusive_goal_id is not None and (pair is None or pair.exclusive_goal != payment.exclusive_goal_id):
        return "exclusive_over"
    return None
