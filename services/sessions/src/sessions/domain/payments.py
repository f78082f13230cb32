"""Paying by the minute: asked here, charged by escrow, given here, and reversed when it came too late (SPEC §4).

    requested ── payment.failed ──▶ failed
        │
        └── payment.succeeded ──▶ succeeded ── payment.reversed, all of it ──▶ reversed

The money can go back in parts, together never more than was paid: `reversed_duration` is what escrow was told of,
`reversed_diamonds` what it has paid back, and `reversal` says why.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from chassis.errors import Conflict, Forbidden, Invalid, NotFound
from contracts import (
    PricePreset,
    ReversalReason,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
    SessionViewerRevokedV1,
)
from contracts.values import STEPS_MAX
from sessions.domain.changes import NOTHING, Changes, changed, joined
from sessions.domain.grants import Grant, Holder, give, take_back
from sessions.domain.session import Session, SessionOver
from sessions.domain.viewer import Viewer

Status = Literal["requested", "succeeded", "failed", "reversed"]


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
    reversed_duration: int = 0
    """Seconds of it that escrow was told to pay back."""
    reversed_diamonds: int = 0
    """What escrow has paid back."""
    unpaid_at: datetime | None = None
    """When it failed; it never cost anything, and is forgotten."""

    @property
    def gone_duration(self) -> int:
        """Seconds of it that go back; all of them where a reversal was told before there were parts."""
        return self.reversed_duration or (self.duration if self.reversal else 0)

    def price_of(self, seconds: int) -> int:
        """What the first `seconds` of it cost."""
        return self.amount_diamonds * seconds // self.duration


class PaymentNotFound(NotFound, slug="payment-not-found"):
    """The caller has made no such payment."""


class NoActiveSession(NotFound, slug="no-active-session"):
    """This streamer is not on air."""


class BlockedByStreamer(Forbidden, slug="blocked-by-streamer"):
    """The streamer has blocked you."""


class OwnSession(Forbidden, slug="own-session"):
    """Nobody buys from themselves."""


class NotWholeSteps(Invalid, slug="not-whole-steps"):
    """Time is bought in whole steps, 1 to 60 of them."""


class ExclusiveToAnother(Conflict, slug="exclusive-to-another"):
    """The session is exclusive to another viewer."""


class ExclusiveNotYetStarted(Conflict, slug="exclusive-not-yet-started"):
    """The caller's exclusive has been agreed, but has not begun."""


class PriceNotSet(Conflict, slug="price-not-set"):
    """The streamer sells no time at the moment."""


class PriceChanged(Conflict, slug="price-changed"):
    """It costs more than you have agreed to: `amount_diamonds`."""


class SessionTooShort(Conflict, slug="session-too-short"):
    """The session ends before this would."""


def check_steps(duration: int, step_seconds: int) -> None:
    """See that `duration` can be bought.

    Raises:
        NotWholeSteps: it never can.
    """
    if duration % step_seconds or not 1 <= duration // step_seconds <= STEPS_MAX:
        raise NotWholeSteps(errors=[{"field": "duration", "message": f"must be 1 to {STEPS_MAX} times {step_seconds}"}])


def price_payment(
    session: Session, viewer: Viewer, payment_id: str, duration: int, step_seconds: int, now: datetime
) -> Payment:
    """The payment that the viewer can make now: of the viewer's exclusive while that runs, else of watching.

    Raises:
        OwnSession: the viewer is the streamer.
        SessionOver, ExclusiveToAnother, ExclusiveNotYetStarted, PriceNotSet, SessionTooShort: it cannot be bought now.
    """
    payer_id = viewer.viewer_id
    if payer_id == session.streamer_id:
        raise OwnSession
    if not session.is_on(now):
        raise SessionOver
    exclusive_goal_id = _exclusive_of(session, payer_id)
    preset: PricePreset = "sd" if exclusive_goal_id is None else "exclusive"
    amount_diamonds = get_price(session, preset, duration, step_seconds)
    if session.exp is not None and max(now, viewer.exp or now) + timedelta(seconds=duration) > session.exp:
        raise SessionTooShort
    return Payment(
        id=payment_id,
        session_id=session.id,
        streamer_id=session.streamer_id,
        payer_id=payer_id,
        amount_diamonds=amount_diamonds,
        duration=duration,
        preset=preset,
        exclusive_goal_id=exclusive_goal_id,
    )


def request(payment: Payment, max_amount_diamonds: int | None, exp: datetime) -> Changes:
    """Ask escrow to charge it before `exp`.

    Only inserts: what becomes of the session meanwhile, and of who may watch it, is judged once it is paid.

    Raises:
        PriceChanged: it costs more than the payer agreed to.
    """
    if max_amount_diamonds is not None and payment.amount_diamonds > max_amount_diamonds:
        raise PriceChanged(amount_diamonds=payment.amount_diamonds)
    requested = SessionPaymentRequestedV1(
        session_id=payment.session_id,
        streamer_id=payment.streamer_id,
        payment_id=payment.id,
        payer_id=payment.payer_id,
        amount_diamonds=payment.amount_diamonds,
        duration=payment.duration,
        preset=payment.preset,
        exclusive_goal_id=payment.exclusive_goal_id,
        exp=exp,
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


def settle(payment: Payment, session: Session, holder: Holder, now: datetime, *, blocked: bool) -> Changes:
    """Give the time that was paid for, from `now` on; or have the money go back, if it cannot be given any more."""
    if payment.status != "requested":
        return NOTHING
    succeeded = replace(payment, status="succeeded")
    reason = "blocked" if blocked else _obstacle(session, payment, now)
    left = 0 if reason else payment.duration - payment.gone_duration
    grant = Grant(
        id=payment.id,
        session_id=session.id,
        viewer_id=payment.payer_id,
        reason="paid",
        nbf=now,
        duration=left or payment.duration,
        exclusive_goal_id=payment.exclusive_goal_id,
        stands=left > 0,
    )
    given = joined(changed(session, succeeded), give(session, holder, grant))
    return given if reason is None else joined(given, reverse(succeeded, reason))


def fail(payment: Payment, reason: str | None, now: datetime) -> Changes:
    """Remember for a while that nothing was paid."""
    if payment.status != "requested":
        return NOTHING
    return changed(replace(payment, status="failed", reason=reason, unpaid_at=now))


def reject_extension(payment: Payment, session: Session, holder: Holder, seconds: int | None) -> Changes:
    """Goals could not perform so many seconds of it, or any: take them back and have escrow pay them back.

    What was paid back of it before counts: the same unbegun time goes back once, whoever says first that it cannot be.
    """
    if payment.status == "failed":
        return NOTHING
    rejected = payment.duration if seconds is None else min(seconds, payment.duration)
    more = rejected - payment.gone_duration
    if more <= 0:
        return NOTHING
    revoked = partial(
        SessionViewerRevokedV1,
        session_id=payment.session_id,
        streamer_id=payment.streamer_id,
        viewer_id=payment.payer_id,
        payment_id=payment.id,
        exclusive_goal_id=payment.exclusive_goal_id,
        reason="extension_rejected",
    )
    return joined(
        take_back(session, holder, {payment.id: more}, lambda remaining: revoked(remaining=remaining)),
        reverse(payment, "extension_rejected", rejected),
    )


def reverse(payment: Payment, reason: ReversalReason, seconds: int | None = None) -> Changes:
    """Have escrow pay back the first `seconds` of what was paid for, or all; less what it was told before."""
    until = payment.duration if seconds is None else seconds
    if until <= payment.gone_duration:
        return changed(payment)
    reversed_ = SessionPaymentReversedV1(
        session_id=payment.session_id,
        streamer_id=payment.streamer_id,
        payment_id=payment.id,
        payer_id=payment.payer_id,
        amount_diamonds=payment.price_of(until) - payment.price_of(payment.gone_duration),
        duration=until - payment.gone_duration,
        reason=reason,
    )
    return changed(replace(payment, reversal=reason, reversed_duration=until), events=[reversed_])


def confirm_reversed(payment: Payment, amount_diamonds: int) -> Changes:
    """Remember what escrow has paid back: read again, never more than it was told to."""
    if payment.status == "reversed":
        return NOTHING
    back = min(payment.reversed_diamonds + amount_diamonds, payment.price_of(payment.gone_duration))
    status: Status = "reversed" if back == payment.amount_diamonds else payment.status
    return changed(replace(payment, status=status, reversed_diamonds=back))


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


def _obstacle(session: Session, payment: Payment, now: datetime) -> ReversalReason | None:
    """Why the time cannot be given any more."""
    if not session.is_on(now):
        return "session_ended"
    if session.exclusive_to and payment.payer_id not in session.exclusive_to:
        return "exclusive_to_another"
    pair = session.exclusive_pair
    if payment.exclusive_goal_id is not None and (pair is None or pair.exclusive_goal != payment.exclusive_goal_id):
        return "exclusive_over"
    return None
