"""A session: one broadcast of one streamer, from its start to its end (SPEC §4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from chassis.decision import At, Cancel, Timer, derived_id
from chassis.errors import Conflict, Forbidden, NotFound
from contracts import Preset, Prices, SessionEndedV1, SessionStartedV1, SessionUpdatedV1, Source, Statuses
from sessions.domain.changes import NOTHING, Changes, changed

SOURCES_MAX = 50  # cameras of one room; more is a mistake, and every event of the session carries them all

E = TypeVar("E", SessionStartedV1, SessionUpdatedV1, SessionEndedV1)


@dataclass(frozen=True, slots=True)
class ExclusivePair:
    """A viewer's latest invitation and the exclusive that followed. Times say when; None: it has not happened."""

    trigger_exclusive_goal: str
    trigger_exclusive_goal_agreed: datetime | None = None
    trigger_exclusive_goal_ended: datetime | None = None
    exclusive_goal: str | None = None
    exclusive_goal_ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One broadcast. What grows with its audience stands elsewhere (SPEC §1)."""

    id: str
    streamer_id: str
    created: datetime
    preset: Preset
    prices: Prices
    title: str | None = None
    active: bool = True
    ended: datetime | None = None
    sources: tuple[Source, ...] = ()
    exclusive_to: tuple[str, ...] = ()
    """Who alone may watch; anyone, when empty."""
    exclusive_for: str | None = None
    """The invitation by which it is exclusive."""
    exclusive_goal_pairs: Mapping[str, ExclusivePair] = field(default_factory=dict)
    """By viewer, in the order of their invitations."""
    confirmed_until: datetime | None = None
    """Until when sessions has said that it was on air: it never ends before."""

    def tells(self, event: type[E]) -> E:
        """This session as an event of its own."""
        return event(
            session_id=self.id,
            streamer_id=self.streamer_id,
            active=self.active,
            prices=self.prices,
            preset=self.preset,
            sources=self.sources,
            statuses=Statuses(created=self.created, ended=self.ended),
            exclusive_to=self.exclusive_to,
        )

    @property
    def exclusive_pair(self) -> ExclusivePair | None:
        """The pair by which it is exclusive."""
        pairs = (self.exclusive_goal_pairs.get(viewer_id) for viewer_id in self.exclusive_to)
        return next((pair for pair in pairs if pair and pair.trigger_exclusive_goal == self.exclusive_for), None)

    def on_until(self, moment: datetime) -> datetime:
        """`moment`, or the session's end if that came first."""
        return moment if self.ended is None else min(moment, self.ended)


@dataclass(frozen=True, slots=True)
class HeadCount:
    """How many watch a session, and so its place in the list. Never mixed with who has paid (SPEC §4)."""

    id: str
    active: bool = True
    viewers_by_preset: Mapping[str, int] = field(default_factory=dict)
    rank: int = 0
    """Minus the last head count: the most watched is listed first, those alike by their start."""


class SessionMaxReached(Timer, name="session-max-reached"):
    """A session has lasted as long as any may."""

    session_id: str


class SessionNotFound(NotFound, slug="session-not-found"):
    """There is no such session."""


class NotYourSession(Forbidden, slug="not-your-session"):
    """This session is another streamer's."""


class SessionOver(Conflict, slug="session-over"):
    """The session has ended."""


class SessionAlreadyActive(Conflict, slug="session-already-active"):
    """This streamer has an active session."""


class TooManySources(Conflict, slug="too-many-sources"):
    """The session has as many sources as it can have."""


def start(session: Session, running: Session | None, max_seconds: int) -> Changes:
    """Go on air, for at most `max_seconds`.

    Raises:
        SessionAlreadyActive: the streamer's `running` session must end first.
    """
    if running is not None:
        raise SessionAlreadyActive(session_id=running.id)
    due = session.created + timedelta(seconds=max_seconds)
    return changed(
        session,
        HeadCount(session.id),
        events=[session.tells(SessionStartedV1)],
        timers=[At(SessionMaxReached(session_id=session.id), _timer_id(session), due, key=session.id)],
    )


def commanded(session: Session | None, user_id: str) -> Session:
    """The session that its streamer may command now.

    Raises:
        SessionNotFound: there is none.
        NotYourSession: it is another's.
        SessionOver: it has ended.
    """
    if session is None:
        raise SessionNotFound
    if session.streamer_id != user_id:
        raise NotYourSession
    if not session.active:
        raise SessionOver
    return session


def change(session: Session, prices: Mapping[str, int | None], preset: Preset | None) -> Changes:
    """Set those `prices` that are named (None: not for sale) and the preset, if given."""
    return updated(
        session,
        replace(session, prices=session.prices.model_copy(update=prices), preset=preset or session.preset),
    )


def put_source(session: Session, source: Source) -> Changes:
    """Have `source` in the session, in the place of one in the same room.

    Raises:
        TooManySources: there are SOURCES_MAX already.
    """
    if source in session.sources:
        return NOTHING
    others = tuple(other for other in session.sources if other.room_id != source.room_id)
    if len(others) >= SOURCES_MAX:
        raise TooManySources
    return updated(session, replace(session, sources=(*others, source)))


def end(session: Session, head_count: HeadCount | None, at: datetime) -> Changes:
    """End the session, never before what sessions has confirmed to have been on air. Ending again changes nothing."""
    if not session.active:
        return NOTHING
    ended = replace(
        session,
        active=False,
        ended=max(at, session.confirmed_until or at),
        exclusive_to=(),
        exclusive_for=None,
    )
    unlisted = () if head_count is None else (replace(head_count, active=False),)
    return changed(ended, *unlisted, events=[ended.tells(SessionEndedV1)], timers=[Cancel(_timer_id(session))])


def updated(before: Session, after: Session) -> Changes:
    """Save `after`, and tell it if what events say of it has changed."""
    now, then = after.tells(SessionUpdatedV1), before.tells(SessionUpdatedV1)
    return changed(after, events=[now] if now != then else [])


def count_heads(head_count: HeadCount, preset: Preset, viewers: int) -> Changes:
    """The last count of each preset counts; their sum makes the rank."""
    by_preset = {**head_count.viewers_by_preset, preset: viewers}
    return changed(replace(head_count, viewers_by_preset=by_preset, rank=-sum(by_preset.values())))


def _timer_id(session: Session) -> str:
    return derived_id(SessionMaxReached.NAME, session.id)
