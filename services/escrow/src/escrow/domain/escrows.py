"""Escrows and earnings: money that waits for a promise, and each buyer's part of it (SPEC §5)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from chassis.decision import Timer, derived_id
from contracts.escrow import RefundReason, Verdict
from contracts.escrow_ids import parse_escrow_id
from contracts.values import Open

Status = Literal["held", "released", "refunded", "rejected"]


class HeldTooLong(Timer, name="held-too-long"):
    """An alarm that an older release has set. A gauge tells the same now, so it does nothing."""


@dataclass(frozen=True, slots=True)
class Escrow:
    """The money of one promise. Grows with nothing; each buyer's part is an Earning."""

    id: str
    goal_id: str
    session_id: str
    streamer_id: str
    verdict: Verdict | None = None
    reason: Open[RefundReason] | None = None
    lapsed: Open[RefundReason] | None = None
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

    A hold that was refused is remembered as `rejected`, without money, so that its cause stays refused; until
    `forget_at`, if its request is too late to be taken by then.
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
    forget_at: datetime | None = None


def earning_id(escrow_id: str, cause_id: str) -> str:
    """The id of the one earning that this cause can make."""
    return derived_id("earning", escrow_id, cause_id)


def only_cause(escrow_id: str) -> str | None:
    """The one cause of an escrow with one earning: an invitation is paid by who invites, and by nobody else."""
    kind, goal_id = parse_escrow_id(escrow_id)
    return goal_id if kind == "trigger_exclusive" else None


def goal_of(escrow_id: str) -> str:
    """The goal that made the promise."""
    return parse_escrow_id(escrow_id).goal_id
