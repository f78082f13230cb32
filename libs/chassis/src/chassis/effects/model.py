"""Vendor calls that wait to be made, stored with the state that asked for them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.cause import Cause
from chassis.decision import Call
from chassis.storage.collection import Collection, Index


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
    failures: int = 0
    """Attempts that failed here, whatever the vendor said: then the vendor is not to be called for ever."""
    parked: bool = False


EFFECTS = Collection(
    "effects",
    StoredEffect,
    indexes=(Index({"_stamp": 1, "n": 1, "key": 1}), Index({"parked": 1}, where={"parked": True})),
)


def stored_effect(call: Call, n: int, now: datetime, cause: Cause) -> StoredEffect:
    """The vendor call as it is stored, due at once."""
    return StoredEffect(
        call.id, n, call.effect.NAME, call.key, now, call.not_after, call.effect.model_dump(mode="json"), cause
    )
