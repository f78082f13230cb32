"""What a streamer has earned, transfer by transfer, and by whom: for the streamer alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chassis.storage.tx import Tx
from escrow.domain import ledger
from escrow.domain.escrows import Earning
from escrow.domain.ledger import Transfer
from escrow.domain.payments import Payment, paid_by
from escrow.store import EARNINGS, PAYMENTS


@dataclass(frozen=True, slots=True)
class Earned:
    """A transfer into or out of a streamer's earnings, and what it was for; None where that is not known any more."""

    transfer: Transfer
    amount_diamonds: int
    """Signed."""
    session_id: str | None
    payer_id: str | None
    goal_id: str | None = None
    gift_id: str | None = None
    payment_id: str | None = None


def of_streamer(streamer_id: str) -> list[dict[str, str]]:
    """The conditions of which one holds for each of a streamer's transfers."""
    account = ledger.earnings(streamer_id)
    return [{"credit": account}, {"debit": account}]


async def explained(tx: Tx, streamer_id: str, transfers: Sequence[Transfer]) -> list[Earned]:
    """Each with what it was for: of a promise one buyer's part of its escrow, else a payment or a part of it."""
    parts = await tx.get_many(EARNINGS, (one.earning_id for one in transfers if one.earning_id))
    payments = await tx.get_many(PAYMENTS, (paid_by(one.cause) for one in transfers if not one.earning_id))
    return [_explained(one, ledger.earnings(streamer_id), parts, payments) for one in transfers]


def _explained(
    transfer: Transfer, account: str, parts: Mapping[str, Earning], payments: Mapping[str, Payment]
) -> Earned:
    amount = transfer.amount_diamonds if transfer.credit == account else -transfer.amount_diamonds
    if transfer.earning_id:
        part = parts.get(transfer.earning_id)
        if part is None:
            return Earned(transfer, amount, None, None)
        return Earned(transfer, amount, part.session_id, part.buyer_id, part.goal_id, part.gift_id)
    paid = payments.get(paid_by(transfer.cause))
    if paid is None:
        return Earned(transfer, amount, None, None)
    return Earned(transfer, amount, paid.session_id, paid.payer_id, paid.exclusive_goal_id, paid.gift_id, paid.id)
