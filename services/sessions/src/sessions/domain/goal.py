"""What sessions remembers of a goal, whatever becomes of its place in the session (SPEC §4).

Events of goals come in order, those of escrow in any: what is over is remembered, and what comes later changes nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RememberedGoal:
    """A goal of a session, by its id."""

    id: str
    session_id: str
    bound: bool = field(default=False, kw_only=True)
    ended_at: datetime | None = field(default=None, kw_only=True)
