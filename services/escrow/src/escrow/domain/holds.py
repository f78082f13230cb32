"""Holds: a buyer's money leaves the wallet and waits in an escrow, or is refused for good (SPEC §5)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts import EscrowHeldV1, EscrowRejectedV1, Event, GiftRequestedV1, GoalProposedV1
from contracts.escrow import HoldRejection
from contracts.escrow_ids import make_escrow_id
from escrow.domain import ledger
from escrow.domain.escrows import Earning, Escrow, Status, earning_id, goal_of
from escrow.domain.ledger import Transfer

REFUSED_KEPT = timedelta(days=7)  # past the inbox's 24 h; whoever reads the request again by then finds it expired


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


def request_of_proposal(event: GoalProposedV1) -> HoldRequest:
    """An invitation asks to hold its price until it is answered."""
    return HoldRequest(
        escrow_id=make_escrow_id("trigger_exclusive", event.goal_id),
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        buyer_id=event.payer_id,
        goal_id=event.goal_id,
        cause_id=event.goal_id,
        amount_diamonds=event.amount_diamonds,
        count=1,
        exp=event.exp,
    )


def request_of_gift(event: GiftRequestedV1) -> HoldRequest | None:
    """A ticket is held for its funding, a gift that names a goal for that; any other is not held at all."""
    if event.funding_goal_id is not None:
        escrow_id = make_escrow_id("show_funding", event.funding_goal_id)
    elif event.goal_id is not None:
        escrow_id = make_escrow_id("trigger_private", event.goal_id)
    else:
        return None
    return HoldRequest(
        escrow_id=escrow_id,
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        buyer_id=event.sender_id,
        goal_id=goal_of(escrow_id),
        cause_id=event.gift_id,
        amount_diamonds=event.amount_diamonds,
        count=event.count,
        exp=event.exp,
        gift_id=event.gift_id,
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What a hold request came to. Refused, it leaves its escrow as it is."""

    earning: Earning
    escrow: Escrow | None
    event: Event
    transfers: tuple[Transfer, ...]


def hold(request: HoldRequest, escrow: Escrow, wallet_diamonds: int, *, blocked: bool, now: datetime) -> Held:
    """Take the money out of the wallet, or say why not: read after its `exp`, or from somebody who is blocked."""
    if is_late(request.exp, now):
        return refuse(request, "expired", now)
    if blocked:
        return refuse(request, "blocked", now)
    if wallet_diamonds < request.amount_diamonds:
        return refuse(request, "insufficient_diamonds", now)
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
    event = EscrowHeldV1(
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
    return Held(earning, paid, event, (moved,))


def is_late(exp: datetime | None, now: datetime) -> bool:
    """Whether nobody waits for this money any more. A request of an older release has no `exp`, and is taken."""
    return exp is not None and now > exp


def forget_refused_at(exp: datetime | None, now: datetime) -> datetime | None:
    """When a refused request may be forgotten: read again, it is too late. Never without `exp`: it would be taken."""
    return max(exp, now) + REFUSED_KEPT if exp is not None else None


def refuse(request: HoldRequest, reason: HoldRejection, now: datetime) -> Held:
    """Hold nothing for this cause, for good."""
    event = EscrowRejectedV1(
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
    refused = replace(_earning(request, "rejected", now), forget_at=forget_refused_at(request.exp, now))
    return Held(refused, None, event, ())


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
