"""The snapshot task of one source: what is wanted of it, and what the vendor was last known to do.

A call without an answer may still take effect, and the vendor has nothing that fences it off. So who changes their
mind while a call is open does not believe the next answer alone: the call is made again until the old one is too old.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis.decision import Effect, Timer

LATE_MAX = timedelta(seconds=10)  # a call takes effect so late at most: the vendor gives up its own calls before that
AGAIN = timedelta(seconds=5)  # twice while an old call may still take effect
CALL_MAX = timedelta(
    seconds=2
)  # a first attempt takes so long at most; what took longer was made before, and then died
LATE_PICTURE = timedelta(seconds=2)  # what was taken before the stop is told of after it


class MakeSnapshot(Effect, name="make-snapshot"):
    """Start or stop the snapshots of one source. `exclusive_since`: since when two people want to be alone there."""

    session_id: str
    room_id: str
    task_id: str
    running: bool
    exclusive_since: datetime | None


class LookAtSnapshot(Effect, name="look-at-snapshot"):
    """Ask the vendor whether the snapshots of one source run."""

    session_id: str
    room_id: str
    task_id: str


class AgainDue(Timer, name="snapshot-again-due"):
    """What is wanted of a snapshot task is to be said again: an old call may have undone it."""

    session_id: str
    task_id: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One task of the vendor's. `running` since `since` is its word; `asked`: when the open call was decided."""

    room_id: str
    task_id: str
    wanted: bool = False
    running: bool = False
    since: datetime | None = None
    asked: datetime | None = None
    repeated_until: datetime | None = None
    """Until when an older call for what is wanted may take effect: when the opposite is wanted, it is in the way."""
    opposed_until: datetime | None = None
    """Until when a call for the opposite of what is wanted may take effect."""
    overdue_goal_id: str | None = None
    """The exclusive of which was told that this runs in spite of it."""

    def may_run(self, now: datetime) -> bool:
        """Whether a picture may be taken at this moment, as far as anybody knows."""
        return self.running or self._is_opposed(now)

    def is_over(self, now: datetime) -> bool:
        """Whether nothing is left of it at the vendor's."""
        return not (self.wanted or self.asked or self.may_run(now))

    def turned(self, now: datetime, *, wanted: bool) -> "Snapshot":
        """The opposite is wanted from now on; what was asked for before may come late."""
        opposed_until = now + LATE_MAX if self.asked else self.repeated_until
        return replace(self, wanted=wanted, asked=now, repeated_until=self.opposed_until, opposed_until=opposed_until)

    def answered(self, now: datetime, *, attempt: int) -> "Snapshot":
        """The vendor does what is wanted, it says now."""
        repeated = attempt > 1 or (self.asked is not None and now - self.asked > CALL_MAX)
        return replace(
            self.found(now, running=self.wanted),
            asked=None,
            repeated_until=now + LATE_MAX if repeated else self._still_repeated(now),
            opposed_until=self.opposed_until if self._is_opposed(now) else None,
        )

    def found(self, now: datetime, *, running: bool) -> "Snapshot":
        """What the vendor says that it does."""
        return self if running == self.running else replace(self, running=running, since=now)

    def again_due(self, now: datetime) -> datetime | None:
        """When to say again what is wanted; None: nothing is known that could undo it."""
        if self.opposed_until is None or now >= self.opposed_until:
            return None
        return min(now + AGAIN, self.opposed_until)

    def is_late_picture(self, taken: datetime) -> bool:
        """Whether a picture says nothing of now: it was taken before its task stood still, or just then."""
        return self.since is not None and taken <= self.since + LATE_PICTURE

    def _still_repeated(self, now: datetime) -> datetime | None:
        return self.repeated_until if self.repeated_until is not None and now < self.repeated_until else None

    def _is_opposed(self, now: datetime) -> bool:
        return not self.wanted and self.opposed_until is not None and now < self.opposed_until
