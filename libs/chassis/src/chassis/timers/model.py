"""Timers that wait to be due, stored with the state that asked for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chassis.cause import Cause
from chassis.decision import At
from chassis.storage.collection import Collection, Index


@dataclass(frozen=True, slots=True)
class StoredTimer:
    """A timer that is set. Removed in the transaction that runs its handler."""

    id: str
    name: str
    key: str
    due: datetime
    data: dict[str, Any]
    cause: Cause
    attempts: int = 0
    reason: str | None = None
    parked: bool = False
    set_for: datetime | None = None
    """The moment it was set for, once a failure or a parked message has pushed back `due`."""
    waits: int = 0
    """How often it was pushed back by what is no failure."""

    @property
    def at(self) -> datetime:
        """The moment it was set for: what its handler takes for the time of what happened."""
        return self.set_for or self.due


URGENT = timedelta(seconds=6)  # whoever runs the timers looks twice in that time, and sees as far ahead

TIMERS = Collection(
    "timers",
    StoredTimer,
    indexes=(Index({"parked": 1, "due": 1, "name": 1}), Index({"key": 1})),
    is_urgent=lambda timer, now: timer.due <= now + URGENT,
)


def stored_timer(at: At, cause: Cause) -> StoredTimer:
    """The timer as it is stored."""
    return StoredTimer(at.id, at.timer.NAME, at.key, at.due, at.timer.model_dump(mode="json"), cause)
