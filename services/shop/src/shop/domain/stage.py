"""What shop knows of sessions and goals: enough to refuse early. Goals' answer decides over money (SPEC §2)."""

from dataclasses import dataclass, replace
from datetime import datetime

from contracts import Context, GoalCreatedV1, GoalEndedV1, SessionEndedV1, SessionStartedV1, SessionUpdatedV1
from contracts.goals import GoalKind
from contracts.values import Open


@dataclass(frozen=True, slots=True)
class Session:
    """A broadcast. Once `ended`, whatever else is read later."""

    id: str
    streamer_id: str
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Goal:
    """A funding, a show or a private goal. Once `ended`, whatever else is read later."""

    id: str
    kind: Open[GoalKind]
    session_id: str
    streamer_id: str
    context: Context
    exp: datetime
    ended: bool = False


def follow_session(session: Session | None, event: SessionStartedV1 | SessionUpdatedV1 | SessionEndedV1) -> Session:
    """The session after `event`."""
    known = session or Session(event.session_id, event.streamer_id)
    return replace(known, ended=known.ended or not event.active)


def goal_of(event: GoalCreatedV1 | GoalEndedV1, known: Goal | None) -> Goal:
    """The goal after `event`."""
    ended = isinstance(event, GoalEndedV1) or (known is not None and known.ended)
    return Goal(event.goal_id, event.kind, event.session_id, event.streamer_id, event.context, event.exp, ended)
