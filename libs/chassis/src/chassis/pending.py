"""What waits to be done after a transaction: timers and vendor calls, stored with the state that asked for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chassis.cause import Cause
from chassis.collection import Collection, Index
from chassis.decision import At, Call


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

    @property
    def at(self) -> datetime:
        """The moment it was set for: what its handler takes for the time of what happened."""
        return self.set_for or self.due


@dataclass(frozen=True, slots=True)
class StoredEffect:
    """A vendor call to be made; those of one key in (`_stamp`, `n`) order."""

    id: str
    n: int
    name: str
    key: str
    due: datetime
    not_after: datetime | None
    data: dict[str, Any]
    cause: Cause
    attempts: int = 0
    reason: str | None = None


URGENT = timedelta(seconds=2)  # whoever runs the timers looks twice in that time

TIMERS = Collection(
    "timers",
    StoredTimer,
    indexes=(Index({"parked": 1, "due": 1}), Index({"key": 1})),
    is_urgent=lambda timer, now: timer.due <= now + URGENT,
)
EFFECTS = Collection(
    "effects",
    StoredEffect,
    indexes=(Index({"_stamp": 1, "n": 1, "key": 1}),),
)


def stored_timer(at: At, cause: Cause) -> StoredTimer:
    """The timer as it is stored."""
    return StoredTimer(at.id, at.timer.NAME, at.key, at.due, at.timer.model_dump(mode="json"), cause)


def stored_effect(call: Call, n: int, now: datetime, cause: Cause) -> StoredEffect:
    """The vendor call as it is stored, due at once."""
    return StoredEffect(
        call.id, n, call.effect.NAME, call.key, now, call.not_after, call.effect.model_dump(mode="json"), cause
    )
