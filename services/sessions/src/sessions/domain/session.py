"""A session: one broadcast of one streamer, from its start to its end (SPEC §4)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar, get_args

from chassis.decision import At, Timer, derived_id
from chassis.errors import Conflict, Forbidden, Invalid, NotFound
from contracts import (
    GoalCreatedV1,
    Preset,
    Prices,
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    Source,
    Statuses,
)
from contracts.values import Open
from sessions.domain.changes import NOTHING, Changes, changed

SOURCES_MAX = 10  # more is a mistake, and every event of the session carries them all

OPEN_MAX = 200  # of each list of goals in a session: as many invitations as goals lets be open at once
CLOSED_MAX = 1  # every event of a session reads and writes them all; who looks back finds the others in goals

TURNS_MAX = 10  # looked back at to judge a private goal a minute later; no session turns exclusive that often in one

T = TypeVar("T")
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
class ShowPair:
    """A funding and the show that followed. Times say when; None: it has not happened."""

    funding_goal: str
    show_goal: str | None = None
    funding_ended: datetime | None = None
    show_ended: datetime | None = None
    show_nbf: datetime | None = None
    show_exp: datetime | None = None
    """When the show is on, at the latest; None beside a `show_goal` that was bound before these were kept."""


@dataclass(frozen=True, slots=True)
class EmbeddedGoal:
    """A private or karaoke goal."""

    goal: str
    ended: datetime | None = None


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
    turned_exclusive: tuple[datetime, ...] = ()
    """When it last turned exclusive, TURNS_MAX times at most."""
    exclusive_goal_pairs: Mapping[str, ExclusivePair] = field(default_factory=dict)
    """By viewer, in the order of their last change."""
    show_goal_pairs: tuple[ShowPair, ...] = ()
    trigger_private_goals: tuple[EmbeddedGoal, ...] = ()
    karaoke_goals: tuple[EmbeddedGoal, ...] = ()
    confirmed_until: datetime | None = None
    """Until when sessions has said that it was on air: it never ends before."""
    exp: datetime | None = None
    """When it is over, whether or not its timer has run; None if it began before this was kept."""

    def tells(self, event: type[E]) -> E:
        """This session as an event of its own."""
        show = self.show
        return event(
            session_id=self.id,
            streamer_id=self.streamer_id,
            active=self.active,
            prices=self.prices,
            preset=self.preset,
            sources=self.sources,
            statuses=Statuses(created=self.created, ended=self.ended),
            exclusive_to=self.exclusive_to,
            exp=self.exp,
            ticket_goal_id=show.funding_goal if show else None,
            ticket_nbf=show.show_nbf if show else None,
            ticket_exp=show.show_exp if show else None,
        )

    @property
    def show(self) -> ShowPair | None:
        """The pair of the show that is on, or announced: the last one only, until it has ended or the session has."""
        last = self.show_goal_pairs[-1] if self.show_goal_pairs and self.active else None
        return last if last is not None and last.show_goal is not None and last.show_ended is None else None

    def preset_in(self, room_id: str) -> Open[Preset]:
        """Whose tokens open this room: as its source says, else as the session does."""
        presets = (source.preset for source in self.sources if source.room_id == room_id)
        return next(presets, None) or self.preset

    def room_of(self, preset: Preset) -> str | None:
        """The room of the newest source of this preset."""
        rooms = (source.room_id for source in reversed(self.sources) if self.preset_in(source.room_id) == preset)
        return next(rooms, None)

    @property
    def exclusive_pair(self) -> ExclusivePair | None:
        """The pair by which it is exclusive."""
        pairs = (self.exclusive_goal_pairs.get(viewer_id) for viewer_id in self.exclusive_to)
        return next((pair for pair in pairs if pair and pair.trigger_exclusive_goal == self.exclusive_for), None)

    def admits(self, funding_goal_id: str | None) -> bool:
        """Whether a ticket of this funding lets its holder watch: of the last show only, until that has ended."""
        last = self.show_goal_pairs[-1] if self.show_goal_pairs else None
        return last is not None and last.funding_goal == funding_goal_id and last.show_ended is None

    def is_on(self, now: datetime) -> bool:
        """Whether it is on air: neither ended, nor past its maximum with a timer that is late."""
        return self.active and (self.exp is None or now < self.exp)

    def over_at(self, now: datetime) -> datetime | None:
        """When it ended, or reached its maximum; None while it is on air."""
        return self.ended if not self.active or self.is_on(now) else self.exp

    def was_exclusive(self, since: datetime, until: datetime) -> bool:
        """Whether it turned exclusive in that time, or that is forgotten."""
        turns = self.turned_exclusive
        forgotten = len(turns) == TURNS_MAX and turns[0] >= until
        return forgotten or any(since <= moment < until for moment in turns)

    def on_until(self, moment: datetime) -> datetime:
        """`moment`, or the session's end if that came first."""
        ended = self.ended or self.exp
        return moment if ended is None else min(moment, ended)


@dataclass(frozen=True, slots=True)
class HeadCount:
    """How many watch a session, and so its place in the list. Never mixed with who has paid (SPEC §4)."""

    id: str
    streamer_id: str | None = None
    """None where it was not written down yet: such a session is in no streamer's list."""
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


class TooLong(Invalid, slug="session-too-long"):
    """No session lasts that long."""


class RoomTaken(Conflict, slug="room-taken"):
    """The room belongs to another session that is on air."""


class SourceNotFound(NotFound, slug="source-not-found"):
    """The session has no source in this room."""


class TooManySources(Conflict, slug="too-many-sources"):
    """The session has as many sources as it can have."""


def require_length(wanted_seconds: int | None, longest_seconds: int) -> int:
    """For how long at most a session is on air: as its streamer wants, else as long as any may be.

    Raises:
        TooLong: that would be longer.
    """
    if wanted_seconds is not None and wanted_seconds > longest_seconds:
        raise TooLong(errors=[{"field": "max_seconds", "message": f"at most {longest_seconds}"}])
    return wanted_seconds or longest_seconds


def start(session: Session, running: Session | None, max_seconds: int) -> Changes:
    """Go on air, for at most `max_seconds`.

    Raises:
        SessionAlreadyActive: the streamer's `running` session must end first.
    """
    if running is not None:
        raise SessionAlreadyActive(session_id=running.id)
    due = session.created + timedelta(seconds=max_seconds)
    begun = replace(session, exp=due)
    return changed(
        begun,
        HeadCount(session.id, session.streamer_id),
        events=[begun.tells(SessionStartedV1)],
        timers=[At(SessionMaxReached(session_id=session.id), max_timer_id(session.id), due, key=session.id)],
    )


def owned(session: Session | None, user_id: str) -> Session:
    """The session, if it is this streamer's and was not ended.

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


def commanded(session: Session | None, user_id: str, now: datetime) -> Session:
    """The session that its streamer may command now.

    Raises:
        SessionNotFound, NotYourSession, SessionOver: as for `owned`, and it is over once it was on for its maximum.
    """
    found = owned(session, user_id)
    if not found.is_on(now):
        raise SessionOver
    return found


def change(
    session: Session, prices: Mapping[str, int | None], preset: Preset | None, title: str | None = None
) -> Changes:
    """Set those `prices` that are named (None: not for sale), and the preset and the title, if given."""
    after = replace(
        session,
        prices=session.prices.model_copy(update=prices),
        preset=preset or session.preset,
        title=title or session.title,
    )
    return updated(session, after)


def put_source(session: Session, source: Source, in_room: Session | None) -> Changes:
    """Have `source` in the session, in the place of one in the same room; `in_room` is whose that room is now.

    Raises:
        RoomTaken: it is another active session's.
        TooManySources: there are SOURCES_MAX already.
    """
    if in_room is not None and in_room.id != session.id:
        raise RoomTaken
    if source in session.sources:
        return NOTHING
    others = tuple(other for other in session.sources if other.room_id != source.room_id)
    if len(others) >= SOURCES_MAX:
        raise TooManySources
    return updated(session, replace(session, sources=(*others, source)))


def remove_source(session: Session, room_id: str) -> Changes:
    """Have no source in this room any more.

    Raises:
        SourceNotFound: there is none.
    """
    others = tuple(source for source in session.sources if source.room_id != room_id)
    if len(others) == len(session.sources):
        raise SourceNotFound
    return updated(session, replace(session, sources=others))


def updated(before: Session, after: Session) -> Changes:
    """Save `after`, and tell it if what events say of it has changed."""
    now, then = after.tells(SessionUpdatedV1), before.tells(SessionUpdatedV1)
    return changed(after, events=[now] if now != then else [])


def confirmed(session: Session, until: datetime) -> Session:
    """`session`, of which has been said that it was on air until then."""
    return replace(session, confirmed_until=max(until, session.confirmed_until or until))


def added(session: Session, event: GoalCreatedV1, now: datetime) -> Iterable[SessionGoalAddedV1]:
    """That watching clients may be told of a goal; nobody watches a session that is over."""
    if session.is_on(now):
        yield SessionGoalAddedV1(
            session_id=session.id,
            streamer_id=session.streamer_id,
            goal_id=event.goal_id,
            kind=event.kind,
            conditions=event.conditions,
            context=event.context,
            levels=event.levels,
            nbf=event.nbf,
            exp=event.exp,
        )


def latest(items: Sequence[T], is_open: Callable[[T], bool]) -> tuple[T, ...]:
    """The latest of `items`, 200 open ones at most and one that is closed: what was before costs nothing."""
    room = {True: OPEN_MAX, False: CLOSED_MAX}
    kept: list[T] = []
    for item in reversed(items):
        room[is_open(item)] -= 1
        if room[is_open(item)] >= 0:
            kept.append(item)
    return tuple(reversed(kept))


def embedded(goals: tuple[EmbeddedGoal, ...], goal: EmbeddedGoal) -> tuple[EmbeddedGoal, ...]:
    """`goals` with one more."""
    return latest((*goals, goal), lambda one: one.ended is None)


def embedded_ended(goals: tuple[EmbeddedGoal, ...], goal_id: str, ended: datetime) -> tuple[EmbeddedGoal, ...]:
    """`goals` with one of them ended."""
    ended_goals = tuple(replace(one, ended=ended) if one.goal == goal_id else one for one in goals)
    return latest(ended_goals, lambda one: one.ended is None)


def count_heads(head_count: HeadCount, preset: Open[Preset], viewers: int) -> Changes:
    """The last count of each preset counts; their sum makes the rank. A preset of tomorrow does not count."""
    if preset not in get_args(Preset):
        return NOTHING
    by_preset = {**head_count.viewers_by_preset, preset: viewers}
    return changed(replace(head_count, viewers_by_preset=by_preset, rank=-sum(by_preset.values())))


def max_timer_id(session_id: str) -> str:
    """The id of the timer that ends a session by itself."""
    return derived_id(SessionMaxReached.NAME, session_id)
