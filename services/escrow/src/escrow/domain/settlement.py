"""Settlement: an earning goes to the streamer or back to its buyer, once (SPEC §5).

It is settled as soon as two facts are known, in whatever order they come: goals' answer to the hold, and the verdict on
its escrow. Rejected means refunded, whatever the verdict; so does a block of its buyer, whatever the answer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from chassis.decision import At, Timer
from contracts import EscrowCompletedV1, EscrowFailedV1, EscrowSettledV1, Event
from contracts.escrow import RefundReason, Verdict
from contracts.values import Open
from escrow.domain import ledger
from escrow.domain.blocks import Block, block_id
from escrow.domain.escrows import Earning, Escrow
from escrow.domain.ledger import Transfer


class SettlementDue(Timer, name="settlement-due"):
    """A verdict is known; the next slice of its earnings is to be settled."""

    escrow_id: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What settling earnings writes."""

    escrow: Escrow
    earnings: tuple[Earning, ...]
    transfers: tuple[Transfer, ...]
    events: tuple[Event, ...]


def answered(earning: Earning, *, accepted: bool) -> Earning:
    """Goals' answer to the hold; the first one stands."""
    return earning if earning.accepted is not None else replace(earning, accepted=accepted)


def verdict_on(
    earning: Earning, escrow: Escrow, block: Block | None
) -> tuple[Verdict, Open[RefundReason] | None] | None:
    """What is to be done with this earning now, and why; None while a fact is missing or it is settled already."""
    if earning.status != "held":
        return None
    if block is not None and block.concerns(earning):
        return "refund", "blocked"
    if earning.accepted is None:
        return None
    if not earning.accepted:
        return "refund", "contribution_rejected"
    return (escrow.verdict, escrow.reason) if escrow.verdict else None


def settlement_due(escrow: Escrow, now: datetime) -> At:
    """Settle the escrow's next slice, now."""
    return At(SettlementDue(escrow_id=escrow.id), f"settle:{escrow.id}", now, escrow.session_id)


def settle(
    escrow: Escrow, earnings: Iterable[Earning], blocks: Mapping[str, Block], *, share: Decimal, now: datetime
) -> Settled:
    """Settle those of `earnings` of which enough is known; tell `escrow.settled` once nothing is left open.

    `blocks` are those of their buyers by their streamers, by id.
    """
    settled: list[Earning] = []
    transfers: list[Transfer] = []
    events: list[Event] = []
    for earning in earnings:
        todo = verdict_on(earning, escrow, blocks.get(block_id(earning.streamer_id, earning.buyer_id)))
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
        events.append(_settlement_event(earning, verdict, reason))
    if escrow.verdict and not escrow.open_earnings and not escrow.settled:
        escrow = replace(escrow, settled=True)
        events.append(_all_settled(escrow, escrow.verdict or "refund"))
    return Settled(escrow, tuple(settled), tuple(transfers), tuple(events))


def settle_as_published(
    escrow: Escrow, earning: Earning, verdict: Verdict, *, share: Decimal, now: datetime
) -> Settled:
    """What was done with a held earning, as was told then; goals' answer and the verdict are heard again by and by."""
    judged = replace(escrow, verdict=verdict, settled=True)
    done = settle(judged, [replace(earning, accepted=True)], {}, share=share, now=now)
    unjudged = replace(done.escrow, verdict=escrow.verdict, settled=escrow.settled)
    earnings = tuple(replace(one, accepted=earning.accepted) for one in done.earnings)
    return Settled(unjudged, earnings, done.transfers, ())


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


def _settlement_event(earning: Earning, verdict: Verdict, reason: Open[RefundReason] | None) -> Event:
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
