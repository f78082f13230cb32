"""Balances, counters and statuses as the transfers alone give them, against what is stored (SPEC §5). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeVar

from escrow.domain.escrows import Earning, Escrow, Status
from escrow.domain.ledger import Balance, Kind, Transfer
from escrow.domain.payments import Payment
from escrow.domain.purchases import Debit, debit_id_of

Of = Literal["account", "escrow", "earning", "payment", "debit"]
Value = int | str | bool
ID_LENGTH = 24  # a payment's id is what the cause of its transfers begins with
D = TypeVar("D", Balance, Escrow, Earning, Payment, Debit)


@dataclass(frozen=True, slots=True)
class Difference:
    """One stored value that is not what the transfers give."""

    of: Of
    id: str
    field: str
    stored: Value
    counted: Value
    mended: bool = False


@dataclass(frozen=True, slots=True)
class EscrowCount:
    """The counters of an escrow, by the names that they have there."""

    paid_diamonds: int = 0
    released_diamonds: int = 0
    refunded_diamonds: int = 0
    open_earnings: int = 0
    released: int = 0
    refunded: int = 0

    @property
    def held_diamonds(self) -> int:
        """What is neither released nor refunded."""
        return self.paid_diamonds - self.released_diamonds - self.refunded_diamonds


def counters_of(escrow: Escrow) -> EscrowCount:
    """What an escrow says itself."""
    return EscrowCount(
        paid_diamonds=escrow.paid_diamonds,
        released_diamonds=escrow.released_diamonds,
        refunded_diamonds=escrow.refunded_diamonds,
        open_earnings=escrow.open_earnings,
        released=escrow.released,
        refunded=escrow.refunded,
    )


def recount_escrow(escrow: Escrow, counted: EscrowCount) -> Escrow:
    """The escrow as it should be."""
    return replace(
        escrow,
        paid_diamonds=counted.paid_diamonds,
        released_diamonds=counted.released_diamonds,
        refunded_diamonds=counted.refunded_diamonds,
        open_earnings=counted.open_earnings,
        released=counted.released,
        refunded=counted.refunded,
    )


def recount_earning(earning: Earning, amounts: Mapping[Kind, int]) -> Earning | None:
    """The earning as it should be, by its transfers; None if it was both released and refunded."""
    released, refunded = bool(amounts.keys() & {"release", "fee"}), "refund" in amounts
    if released and refunded:
        return None
    status: Status = "released" if released else "refunded" if refunded else "held" if "hold" in amounts else "rejected"
    return replace(earning, status=status, amount_diamonds=amounts.get("hold", earning.amount_diamonds))


def recount_payment(payment: Payment, amounts: Mapping[Kind, int], reversed_: int) -> Payment:
    """The payment as it should be, by its transfers and what was reversed of it."""
    fee = amounts.get("fee", 0)
    paid = amounts.get("payment", 0) + fee
    if not paid and not payment.amount_diamonds:
        return payment  # nothing to pay leaves no transfer
    return replace(
        payment,
        status="failed" if not paid else "reversed" if reversed_ == paid else "succeeded",
        amount_diamonds=paid or payment.amount_diamonds,
        fee_diamonds=fee,
        reversed_diamonds=reversed_,
    )


def recount_debit(debit: Debit, bought_diamonds: int, taken_diamonds: int) -> Debit:
    """What was taken back, at once and later, and what is missing, by the transfers of an order item."""
    return replace(debit, amount_diamonds=taken_diamonds, missing_diamonds=bought_diamonds - taken_diamonds)


def moved_for(transfer: Transfer) -> tuple[Literal["earning", "payment", "debit"], str] | None:
    """The earning, payment or debit that this transfer is a part of; None if it stands for itself, as a credit does."""
    if transfer.earning_id is not None:
        return "earning", transfer.earning_id
    if transfer.kind in ("payment", "fee", "reversal", "fee_reversal"):
        return "payment", transfer.cause[:ID_LENGTH]
    if transfer.kind == "take_back":
        return "debit", debit_id_of(transfer.cause)
    return None


def differences(of: Of, stored: D, right: D) -> list[Difference]:
    """The fields that are not what they should be."""
    values = ((field.name, getattr(stored, field.name), getattr(right, field.name)) for field in fields(stored))
    return [Difference(of, stored.id, name, was, to) for name, was, to in values if was != to]
