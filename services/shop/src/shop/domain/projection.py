"""What shop knows of sessions, goals and blocks: enough to refuse early. Goals' answer decides over money (SPEC §2)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts import Context, GoalCreatedV1, GoalEndedV1, SessionEndedV1, SessionStartedV1, SessionUpdatedV1
from contracts.goals import GoalKind
from contracts.values import Open

SessionState = SessionStartedV1 | SessionUpdatedV1 | SessionEndedV1


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A broadcast. Once `ended`, whatever else is read later."""

    id: str
    streamer_id: str
    ended: bool = False
    created: datetime | None = None
    exclusive_to: tuple[str, ...] = ()
    """Who alone may watch, and give; anyone, when empty."""
    exp: datetime | None = None
    """When it is over at the latest, as sessions told it."""

    def is_over(self, now: datetime, session_max: timedelta) -> bool:
        """Whether it has ended, or has lasted as long as a session can, told or not (SPEC §4)."""
        exp = self.exp or (self.created + session_max if self.created else None)
        return self.ended or (exp is not None and now >= exp)

    def is_exclusive_to_another(self, viewer_id: str) -> bool:
        """Whether somebody else alone may watch it now."""
        return bool(self.exclusive_to) and viewer_id not in self.exclusive_to


@dataclass(frozen=True, slots=True)
class KnownGoal:
    """A goal that was created, of whatever kind. Once `ended`, whatever else is read later."""

    id: str
    kind: Open[GoalKind]
    session_id: str
    streamer_id: str
    context: Context
    exp: datetime
    ended: bool = False

    def is_over(self, now: datetime) -> bool:
        """Whether nothing counts for it any more."""
        return self.ended or now >= self.exp


@dataclass(frozen=True, slots=True)
class Block:
    """A streamer blocks a viewer."""

    id: str


def block_id(streamer_id: str, viewer_id: str) -> str:
    """The id of the block that stands between the two, if one does."""
    return f"{streamer_id}:{viewer_id}"


def session_of(event: SessionState, known: KnownSession | None) -> KnownSession:
    """The session after `event`."""
    ended = not event.active or (known is not None and known.ended)
    exp = event.exp or (known.exp if known else None)
    return KnownSession(event.session_id, event.streamer_id, ended, event.statuses.created, event.exclusive_to, exp)


def goal_of(event: GoalCreatedV1 | GoalEndedV1, known: KnownGoal | None) -> KnownGoal:
    """The goal after `event`."""
    ended = isinstance(event, GoalEndedV1) or (known is not None and known.ended)
    return KnownGoal(event.goal_id, event.kind, event.session_id, event.streamer_id, event.context, event.exp, ended)
