"""The stage of a session: what goals knows of the session, and what has the stage (SPEC §3).

Every command and event that opens or closes something on a stage writes it, so two of them cannot both win.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis.errors import Conflict, Forbidden, NotFound
from contracts import SessionEndedV1, SessionStartedV1, SessionUpdatedV1


class SessionNotFound(NotFound, slug="session-not-found"):
    """There is no such session."""


class NotYourSession(Forbidden, slug="not-your-session"):
    """This session is another streamer's."""


class SessionOver(Conflict, slug="session-over"):
    """The session has ended."""


class SessionTooShort(Conflict, slug="session-too-short"):
    """The session ends before this would."""


class StageTaken(Conflict, slug="stage-taken"):
    """A show is open in this session, or it is promised to one viewer alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One session's stage; its id is the session's."""

    id: str
    streamer_id: str
    exclusive_price: int | None
    """Diamonds per step of a 1-on-1; None: not for sale."""
    ended_at: datetime | None = None
    """When the session ended: closed for good since then."""
    over_at: datetime | None = None
    """When the session is over at the latest, whether or not sessions has told; None: not known."""
    holder_id: str | None = None
    """What has the stage: a funding until it lapsed or its show ended, an agreed invitation until the same."""
    private_id: str | None = None
    """The one private goal that is open."""
    private_owed_until: datetime | None = None
    """Until when the latest private goal that was reached is owed to those who gave."""
    agreements: int = 0
    """How many invitations were agreed to: each rules out those that were open then."""
    open_invitations: int = 0
    """Proposed and active ones."""


def follow_session(
    stage: Stage | None, event: SessionStartedV1 | SessionUpdatedV1 | SessionEndedV1, session_max: timedelta
) -> Stage:
    """The stage after news of its session. An end is for good, whatever is read later.

    `session_max` is for news from before sessions told its `exp`.
    """
    known = stage or Stage(id=event.session_id, streamer_id=event.streamer_id, exclusive_price=None)
    ends = [at for at in (known.ended_at, event.statuses.ended) if at is not None]
    return replace(
        known,
        exclusive_price=event.prices.exclusive,
        ended_at=min(ends, default=None),
        over_at=event.exp or known.over_at or event.statuses.created + session_max,
    )


def as_of(stage: Stage, now: datetime) -> Stage:
    """The stage as it is now: a session is over at its maximum, whether or not anybody has told (SPEC §4)."""
    over = stage.ended_at is None and stage.over_at is not None and now >= stage.over_at
    return replace(stage, ended_at=stage.over_at) if over else stage


def require_own(stage: Stage, user_id: str) -> Stage:
    """The stage, for its streamer.

    Raises:
        NotYourSession: it is somebody else's.
    """
    if stage.streamer_id != user_id:
        raise NotYourSession
    return stage


def require_on(stage: Stage) -> None:
    """Refuse what needs a running session.

    Raises:
        SessionOver: it has ended.
    """
    if stage.ended_at is not None:
        raise SessionOver


def require_time(stage: Stage, until: datetime) -> None:
    """Refuse what would be cut off by the session's own maximum.

    Raises:
        SessionTooShort: it lasts until after that.
    """
    if stage.over_at is not None and until > stage.over_at:
        raise SessionTooShort


def require_free(stage: Stage) -> None:
    """Refuse what cannot be beside an open show or an agreement.

    Raises:
        StageTaken: one of them has the stage.
    """
    if stage.holder_id is not None:
        raise StageTaken


def taken(stage: Stage, holder_id: str) -> Stage:
    """The stage when a funding or an agreed invitation has it."""
    return replace(stage, holder_id=holder_id)


def freed(stage: Stage, holder_id: str | None) -> Stage:
    """The stage when `holder_id` has it no longer; somebody else's stage stays theirs."""
    return replace(stage, holder_id=None) if stage.holder_id == holder_id else stage
