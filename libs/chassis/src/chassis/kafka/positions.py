"""Positions: the next offset of each partition, stored in the transaction that handled what is before it.

The position decides: what lies below it is skipped, and a consumer seeks to it.
"""

from dataclasses import dataclass, replace
from typing import Self

from chassis import ids
from chassis.cause import Cause
from chassis.clock import instant
from chassis.context import Runtime
from chassis.storage.collection import Collection


@dataclass(frozen=True, slots=True)
class AttemptCount:
    """Records that are handled apart from all others, and how often that was begun."""

    offset: int
    """The first, and in most cases the only one."""
    count: int
    until: int | None = None
    """The offset behind the last, where there are several."""

    @property
    def end(self) -> int:
        """The offset behind the last."""
        return self.offset + 1 if self.until is None else self.until


@dataclass(frozen=True, slots=True)
class Position:
    """One partition of one topic, `goals:3`, as this service has handled it."""

    id: str
    offset: int = 0
    """The next record to handle."""
    parked: int = 0
    """How many of its keys are parked."""
    owner: str | None = None
    """The process that handles it; None once that has let go."""
    claimed: int = 0
    """The offset when its owner claimed it."""
    crash_count: int = 0
    """Owners in a row that ended without letting go and without getting any further."""
    attempt_count: AttemptCount | None = None

    def claimed_by(self, owner: str, parked: int) -> Self:
        """This position in the hands of `owner`. Whoever had it before and did not let go has died.

        Crashes are forgotten once somebody has got further, or has begun and let go, and not by claiming alone.
        """
        died = self.owner not in (None, owner)
        at = self.claimed if self.attempt_count is None else self.attempt_count.offset
        crash_count = self.crash_count + died if self.offset == at else int(died)
        return replace(self, owner=owner, claimed=self.offset, crash_count=crash_count, parked=parked)


POSITIONS = Collection("positions", Position, formerly={"crash_count": "deaths", "attempt_count": "trying"})


async def seek(runtime: Runtime, id_: str, offset: int) -> int:
    """Let position `id_` go on at `offset`; returns where it was. Whoever has it in hand loses it, and claims it anew.

    Raises:
        PyMongoError: the database is away, or somebody handles a message there this very moment.
    """
    tx = runtime.begin(Cause(instant(runtime.clock.micros()), ids.new_id()))
    try:
        position = await tx.get(POSITIONS, id_) or Position(id_)
        tx.put(POSITIONS, replace(position, offset=offset, owner=None, crash_count=0, attempt_count=None))
        await tx.commit()
    finally:
        await tx.abort()
    return position.offset
