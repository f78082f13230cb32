"""What was done: the next offset of each partition, stored in the transaction that handled what is before it, and the
inbox, the ids of the events that took effect lately.

The position decides: what lies below it is skipped, and a consumer seeks to it. The inbox catches what a relay has
published again, under a new offset.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from chassis import ids
from chassis.cause import Cause
from chassis.clock import instant
from chassis.collection import Collection, Index
from chassis.runtime import Runtime

INBOX_SECONDS = 24 * 3_600  # a relay repeats itself within seconds


@dataclass(frozen=True, slots=True)
class Trying:
    """A record that is handled alone, and how often that was begun."""

    offset: int
    count: int


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
    deaths: int = 0
    """Owners in a row that ended without letting go and without getting any further."""
    trying: Trying | None = None

    def claimed_by(self, owner: str, parked: int) -> Self:
        """This position in the hands of `owner`. Whoever had it before and did not let go has died."""
        died = self.owner not in (None, owner)
        at = self.claimed if self.trying is None else self.trying.offset
        stuck = died and self.offset == at
        deaths = self.deaths + 1 if stuck else int(died)
        return replace(self, owner=owner, claimed=self.offset, deaths=deaths, parked=parked)


@dataclass(frozen=True, slots=True)
class Taken:
    """The events that took effect in one transaction: a row for all of them costs little more than a row for one.

    No event is in two rows, so whoever brings one again learns it by writing, without a look.
    """

    id: str
    ids: tuple[str, ...]
    at: datetime


POSITIONS = Collection("positions", Position)


async def seek(runtime: Runtime, id_: str, offset: int) -> int:
    """Let position `id_` go on at `offset`; returns where it was. Whoever has it in hand loses it, and claims it anew.

    Raises:
        PyMongoError: the database is away, or somebody handles a message there this very moment.
    """
    tx = runtime.begin(Cause(instant(runtime.clock.micros()), ids.new_id()))
    try:
        position = await tx.get(POSITIONS, id_) or Position(id_)
        tx.put(POSITIONS, replace(position, offset=offset, owner=None, deaths=0, trying=None))
        await tx.commit()
    finally:
        await tx.abort()
    return position.offset


INBOX = Collection(
    "inbox",
    Taken,
    indexes=(Index({"ids": 1}, unique=True), Index({"at": 1}, expire_after_seconds=INBOX_SECONDS)),
)
