"""Escrow: money waits for a promise. Hold, answer, verdict, settlement (SPEC §5).

An earning is settled as soon as two facts are known, in whatever order they come: goals' answer to the hold, and the
verdict on its escrow. Rejected means refunded, whatever the verdict. The first verdict is final. Escrow never judges
another service's facts: the owner's event is the verdict, and a timer only sets the earliest time.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from chassis.decision import At, Decision, Timer, derived_id
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowHeldV1,
    EscrowRejectedV1,
    EscrowSettledV1,
    Event,
    GoalCreatedV1,
    GoalEndedV1,
    GoalLapsedV1,
    SessionGoalClosedV1,
)
from contracts.escrow import HoldRejection, RefundReason, Verdict
from escrow.domain import ledger
from escrow.domain.ledger import Transfer

Status = Literal["held", "released", "refunded", "rejected"]
HELD_TOO_LONG = timedelta(hours=13)  # a session lasts 12 h at most; an hour more is an alarm (SPEC §5)

LOOK_AGAIN = timedelta(hours=1)


class RefundCheckDue(Timer, name="refund-check-due"):
    """From now on a lapsed promise is refunded (`check_funding_goal_refundable`, `check_trigger_exclusive_goal_…`)."""

    escrow_id: str


class SettlementDue(Timer, name="settlement-due"):
    """A verdict is known; the next slice of its earnings is to be settled."""

    escrow_id: str


class HeldTooLong(Timer, name="held-too-long"):
    """By now everything in this escrow should be settled."""

    escrow_id: str


@dataclass(frozen=True, slots=True)
class Escrow:
    """The money of one promise. Grows with nothing; each buyer's part is an Earning."""

    id: str
    goal_id: str
    session_id: str
    streamer_id: str
    verdict: Verdict | None = None
    reason: RefundReason | None = None
    lapsed: RefundReason | None = None
    check_passed: bool = False
    paid_diamonds: int = 0
    released_diamonds: int = 0
    refunded_diamonds: int = 0
    open_earnings: int = 0
    released: int = 0
    refunded: int = 0
    settled: bool = False

    @property
    def held_diamonds(self) -> int:
        """What is neither released nor refunded."""
        return self.paid_diamonds - self.released_diamonds - self.refunded_diamonds


@dataclass(frozen=True, slots=True)
class Earning:
    """One buyer's part of an escrow. Held, and then either released or refunded, once.

    A hold that was refused is remembered as `rejected`, without money, so that its cause stays refused.
    """

    id: str
    escrow_id: str
    session_id: str
    streamer_id: str
    buyer_id: str
    goal_id: str
    cause_id: str
    amount_diamonds: int
    count: int
    status: Status
    at: datetime
    accepted: bool | None = None
    gift_id: str | None = None


def earning_id(escrow_id: str, cause_id: str) -> str:
    """The id of the one earning that this cause can make."""
    return derived_id("earning", escrow_id, cause_id)


def only_cause(escrow_id: str) -> str | None:
    """The one cause of an escrow with one earning: an invitation is paid by who invites, and by nobody else."""
    kind, _, goal_id = escrow_id.partition(":")
    return goal_id if kind == "trigger_exclusive" else None


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """Somebody's wish to hold a buyer's money for a promise; `cause_id` makes it one of a kind."""

    escrow_id: str
    session_id: str
    streamer_id: str
    buyer_id: str
    goal_id: str
    cause_id: str
    amount_diamonds: int
    count: int
    exp: datetime | None = None
    gift_id: str | None = None

    @property
    def earning_id(self) -> str:
        """The id of the one earning that this cause can make."""
        return earning_id(self.escrow_id, self.cause_id)


@dataclass(frozen=True, slots=True)
class Held:
    """What a hold request came to."""

    earning: Earning
    escrow: Escrow
    event: Event
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """What settling earnings writes."""

    escrow: Escrow
    earnings: tuple[Earning, ...]
    transfers: tuple[Transfer, ...]
    events: tuple[Event, ...]


def hold(request: HoldRequest, escrow: Escrow, wallet_diamonds: int, now: datetime) -> Held:
    """Take the money out of the wallet, or say why not. A proposal that is read after its `exp` holds nothing."""
    if request.exp is not None and now > request.exp:
        return _refuse(request, escrow, "proposal_expired", now)
    if wallet_diamonds < request.amount_diamonds:
        return _refuse(request, escrow, "insufficient_diamonds", now)
    earning = _earning(request, "held", now)
    moved = ledger.transfer(
        "hold",
        earning.id,
        debit=ledger.wallet(request.buyer_id),
        credit=ledger.escrow(request.escrow_id),
        amount_diamonds=request.amount_diamonds,
        at=now,
        escrow_id=request.escrow_id,
        earning_id=earning.id,
    )
    paid = replace(
        escrow,
        paid_diamonds=escrow.paid_diamonds + request.amount_diamonds,
        open_earnings=escrow.open_earnings + 1,
    )
    told = EscrowHeldV1(
        session_id=request.session_id,
        streamer_id=request.streamer_id,
        goal_id=request.goal_id,
        escrow_id=request.escrow_id,
        earning_id=earning.id,
        buyer_id=request.buyer_id,
        amount_diamonds=request.amount_diamonds,
        count=request.count,
        cause_id=request.cause_id,
        gift_id=request.gift_id,
    )
    return Held(earning, paid, told, (moved,))


def _refuse(request: HoldRequest, escrow: Escrow, reason: HoldRejection, now: datetime) -> Held:
    told = EscrowRejectedV1(
        session_id=request.session_id,
        streamer_id=request.streamer_id,
        goal_id=request.goal_id,
        escrow_id=request.escrow_id,
        buyer_id=request.buyer_id,
        amount_diamonds=request.amount_diamonds,
        cause_id=request.cause_id,
        gift_id=request.gift_id,
        reason=reason,
    )
    return Held(_earning(request, "rejected", now), escrow, told, ())


def _earning(request: HoldRequest, status: Status, now: datetime) -> Earning:
    return Earning(
        id=request.earning_id,
        escrow_id=request.escrow_id,
        session_id=request.session_id,
        streamer_id=request.streamer_id,
        buyer_id=request.buyer_id,
        goal_id=request.goal_id,
        cause_id=request.cause_id,
        amount_diamonds=request.amount_diamonds,
        count=request.count,
        status=status,
        at=now,
        gift_id=request.gift_id,
    )


def alarm(escrow: Escrow, now: datetime) -> At:
    """Look at the escrow again when all of it should be settled."""
    return At(HeldTooLong(escrow_id=escrow.id), f"held:{escrow.id}", now + HELD_TOO_LONG, escrow.session_id)


def look_again(escrow: Escrow, now: datetime) -> At:
    """Look at an escrow again that should have been settled long ago."""
    return At(HeldTooLong(escrow_id=escrow.id), f"held:{escrow.id}", now + LOOK_AGAIN, escrow.session_id)


# -- verdicts: the table of SPEC §5, one function per event -----------------------------------------------------------


def goal_of(escrow_id: str) -> str:
    """The goal that made the promise."""
    return escrow_id.partition(":")[2]


def escrow_of_goal(event: GoalCreatedV1 | GoalEndedV1) -> str | None:
    """The escrow that a goal is paid from: a show from its funding's, an exclusive from its invitation's."""
    context = event.context
    match event.kind:
        case "ShowFundingGoal":
            return f"show_funding:{event.goal_id}"
        case "ShowGoal":
            return f"show_funding:{context.funding_goal_id}" if context.funding_goal_id else None
        case "TriggerExclusiveGoal":
            return f"trigger_exclusive:{event.goal_id}"
        case "ExclusiveGoal":
            invitation = context.trigger_exclusive_goal_id
            return f"trigger_exclusive:{invitation}" if invitation else None
        case "TriggerPrivateGoal":
            return f"trigger_private:{event.goal_id}"
        case "KaraokeGoal":
            return None


def escrow_of_closed(event: SessionGoalClosedV1) -> str | None:
    """The escrow whose money sessions' judgement concerns."""
    match event.kind:
        case "ShowGoal" if event.funding_goal_id:
            return f"show_funding:{event.funding_goal_id}"
        case "ExclusiveGoal" if event.trigger_exclusive_goal_id:
            return f"trigger_exclusive:{event.trigger_exclusive_goal_id}"
        case "TriggerPrivateGoal":
            return f"trigger_private:{event.goal_id}"
        case _:
            return None


def escrow_of_lapsed(event: GoalLapsedV1) -> str | None:
    """The escrow whose promise died after its goal had ended."""
    match event.kind:
        case "ShowFundingGoal":
            return f"show_funding:{event.goal_id}"
        case "TriggerExclusiveGoal":
            return f"trigger_exclusive:{event.goal_id}"
        case _:
            return None


def when_ended(
    escrow: Escrow, event: GoalEndedV1, *, show_refund_seconds: float, invitation_refund_seconds: float
) -> Decision[Escrow]:
    """`trigger_show_escrow_refund`, `trigger_exclusive_goal_escrow_refund`, `handle_trigger_private_goal_escrow`."""
    match event.kind, event.outcome:
        case ("ShowFundingGoal", "unfunded"):
            hesitation = event.context.hesitation_countdown or 0
            return _check_later(escrow, event.exp + timedelta(seconds=hesitation + show_refund_seconds))
        case ("TriggerExclusiveGoal", "agreed"):
            return _check_later(escrow, event.exp + timedelta(seconds=invitation_refund_seconds))
        case ("TriggerExclusiveGoal" | "ShowGoal" | "ExclusiveGoal" | "TriggerPrivateGoal", outcome):
            if outcome in ("refused", "timed_out", "cancelled"):
                return _judge(escrow, "refund", outcome)
            return Decision(None)  # completed: sessions judges it by `session.goal_closed`
        case _:
            return Decision(None)


def when_lapsed(escrow: Escrow, event: GoalLapsedV1) -> Decision[Escrow]:
    """Refund at once if the session ended, else no earlier than the refund check."""
    if event.reason == "session_ended":
        return _judge(escrow, "refund", "session_ended")
    lapsed = replace(escrow, lapsed=escrow.lapsed or event.reason)
    return _judge(lapsed, "refund", event.reason) if escrow.check_passed else Decision(lapsed)


def when_check_due(escrow: Escrow) -> Decision[Escrow]:
    """Refund if goals said that the promise lapsed; if it has not said so yet, as soon as it does."""
    checked = replace(escrow, check_passed=True)
    return _judge(checked, "refund", checked.lapsed) if checked.lapsed else Decision(checked)


def when_closed(escrow: Escrow, event: SessionGoalClosedV1) -> Decision[Escrow]:
    """Kept: release. Not kept: refund; for the reason that the goal's end gives, whichever of the two is read first."""
    if event.kept:
        return _judge(escrow, "release", None)
    outcome = event.outcome
    return _judge(escrow, "refund", outcome if outcome in ("refused", "timed_out", "cancelled") else "not_kept")


def _check_later(escrow: Escrow, due: datetime) -> Decision[Escrow]:
    check = At(RefundCheckDue(escrow_id=escrow.id), f"refund-check:{escrow.id}", due, escrow.session_id)
    return Decision(escrow, timers=() if escrow.verdict or escrow.check_passed else (check,))


def _judge(escrow: Escrow, verdict: Verdict, reason: RefundReason | None) -> Decision[Escrow]:
    """The first verdict is final."""
    if escrow.verdict is not None:
        return Decision(escrow)
    return Decision(replace(escrow, verdict=verdict, reason=reason))


# -- settlement --------------------------------------------------------------------------------------------------------


def answered(earning: Earning, *, accepted: bool) -> Earning:
    """Goals' answer to the hold; the first one stands."""
    return earning if earning.accepted is not None else replace(earning, accepted=accepted)


def verdict_on(earning: Earning, escrow: Escrow) -> tuple[Verdict, RefundReason | None] | None:
    """What is to be done with this earning now, and why; None while a fact is missing or it is settled already."""
    if earning.status != "held" or earning.accepted is None:
        return None
    if not earning.accepted:
        return "refund", "contribution_rejected"
    return (escrow.verdict, escrow.reason) if escrow.verdict else None


def settlement_due(escrow: Escrow, now: datetime) -> At:
    """Settle the escrow's next slice, now."""
    return At(SettlementDue(escrow_id=escrow.id), f"settle:{escrow.id}", now, escrow.session_id)


def settle(escrow: Escrow, earnings: tuple[Earning, ...], *, share: Decimal, now: datetime) -> Settled:
    """Settle those of `earnings` for which both facts are known; tell `escrow.settled` once nothing is left open."""
    settled: list[Earning] = []
    transfers: list[Transfer] = []
    events: list[Event] = []
    for earning in earnings:
        todo = verdict_on(earning, escrow)
        if todo is None:
            continue
        verdict, reason = todo
        amount = earning.amount_diamonds
        if verdict == "release":
            settled.append(replace(earning, status="released"))
            transfers += _release(earning, share, now)
            escrow = replace(
                escrow,
                released=escrow.released + 1,
                released_diamonds=escrow.released_diamonds + amount,
                open_earnings=escrow.open_earnings - 1,
            )
        else:
            settled.append(replace(earning, status="refunded"))
            transfers.append(_refund(earning, now))
            escrow = replace(
                escrow,
                refunded=escrow.refunded + 1,
                refunded_diamonds=escrow.refunded_diamonds + amount,
                open_earnings=escrow.open_earnings - 1,
            )
        events.append(_told(earning, verdict, reason))
    if escrow.verdict and not escrow.open_earnings and not escrow.settled:
        escrow = replace(escrow, settled=True)
        events.append(_all_settled(escrow, escrow.verdict or "refund"))
    return Settled(escrow, tuple(settled), tuple(transfers), tuple(events))


def _release(earning: Earning, share: Decimal, now: datetime) -> list[Transfer]:
    """Escrow to the streamer's earnings, less the platform's share."""
    fee = ledger.platform_fee(earning.amount_diamonds, share)
    held = ledger.escrow(earning.escrow_id)
    parts: tuple[tuple[ledger.Kind, str, int], ...] = (
        ("release", ledger.earnings(earning.streamer_id), earning.amount_diamonds - fee),
        ("fee", ledger.REVENUE, fee),
    )
    return [
        ledger.transfer(
            kind,
            earning.id,
            debit=held,
            credit=credit,
            amount_diamonds=amount,
            at=now,
            escrow_id=earning.escrow_id,
            earning_id=earning.id,
        )
        for kind, credit, amount in parts
        if amount
    ]


def _refund(earning: Earning, now: datetime) -> Transfer:
    """Escrow back to the buyer's wallet."""
    return ledger.transfer(
        "refund",
        earning.id,
        debit=ledger.escrow(earning.escrow_id),
        credit=ledger.wallet(earning.buyer_id),
        amount_diamonds=earning.amount_diamonds,
        at=now,
        escrow_id=earning.escrow_id,
        earning_id=earning.id,
    )


def _told(earning: Earning, verdict: Verdict, reason: RefundReason | None) -> Event:
    facts: dict[str, Any] = {
        "session_id": earning.session_id,
        "streamer_id": earning.streamer_id,
        "goal_id": earning.goal_id,
        "escrow_id": earning.escrow_id,
        "earning_id": earning.id,
        "buyer_id": earning.buyer_id,
        "gift_id": earning.gift_id,
    }
    amount = earning.amount_diamonds
    if verdict == "release":
        return EscrowCompletedV1(**facts, amount_diamonds=amount, reason="kept")
    return EscrowFailedV1(**facts, amount_diamonds=amount, reason=reason or "not_kept")


def _all_settled(escrow: Escrow, verdict: Verdict) -> EscrowSettledV1:
    return EscrowSettledV1(
        session_id=escrow.session_id,
        streamer_id=escrow.streamer_id,
        goal_id=escrow.goal_id,
        escrow_id=escrow.id,
        verdict=verdict,
        released=escrow.released,
        refunded=escrow.refunded,
    )
