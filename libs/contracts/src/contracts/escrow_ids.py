"""The id of an escrow: made from the goal that promises, and read back (SPEC §5)."""

from typing import Literal, NamedTuple, cast

EscrowKind = Literal["show_funding", "trigger_exclusive", "trigger_private"]


class EscrowOf(NamedTuple):
    """Which promise an escrow keeps the money of: its kind, and the id of the goal that made it."""

    kind: EscrowKind
    goal_id: str


def make_escrow_id(kind: EscrowKind, goal_id: str) -> str:
    """The escrow of one promise. The goal is the funding (also of its show), the invitation or the private goal."""
    return f"{kind}:{goal_id}"


def parse_escrow_id(escrow_id: str) -> EscrowOf:
    """Read an id that was validated as `contracts.values.EscrowId`."""
    kind, _, goal_id = escrow_id.partition(":")
    return EscrowOf(cast("EscrowKind", kind), goal_id)
