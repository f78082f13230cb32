"""Holds: a buyer's money leaves the wallet and waits in an escrow, or is refused for good (SPEC §5)."""

from dataclasses import dataclass, replace
from datetime import datetime

from contracts import EscrowHeldV1, EscrowRejectedV1, Event
from contracts.escrow import HoldRejection
from escrow.domain import ledger
from escrow.domain.escrows import Earning, Escrow, Status, earning_id
from escrow.domain.ledger import Transfer


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


def hold(request: HoldRequest, escrow: Escrow, wallet_diamonds: int, now: datetime) -> Held:
    """Take the money out of the wallet, or say why not. A proposal that is read after its `exp` holds nothing."""
    if request.exp is not None and now > request.exp:
        return _refuse(request, escrow, "expired", now)
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
