"""What ends by time alone, with nobody telling of it: minutes, the show of a ticket, a pass (SPEC §6).

Whoever listened by it is looked at a second or two later, and cut unless something else lets them listen. There is one
timer for all minutes of a session that end in a second, one for each show, one for all passes that end in a second, and
none for each viewer. It works in slices; who has bought more meanwhile is not found any more.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis.decision import At, Call, Timer, derived_id
from notifier.domain.cuts import GRACE, Cut
from notifier.domain.entitlement import EVERYWHERE, Broadcast, Pass, Permit, SessionState, Watcher, may_watch_paid
from notifier.domain.pushes import LIVE, PushCause

SLICE_MAX = 250  # each may be a call to Pusher
INTERVAL = timedelta(milliseconds=200)  # about as fast as they can be made: who is cut for something else waits little


class MinutesOver(Timer, name="minutes-over"):
    """The minutes of viewers of a session are used up in this second; those up to the permit `after` were looked at."""

    session_id: str
    streamer_id: str
    over_at: datetime
    after: str = ""

    @property
    def id(self) -> str:
        """One for a second, whatever slice it is at."""
        return derived_id(self.NAME, self.session_id, self.over_at.isoformat())


class TicketsOver(Timer, name="tickets-over"):
    """A show has ended, with what tickets of its funding let watch; holders up to the permit `after` were looked at."""

    session_id: str
    streamer_id: str
    funding_goal_id: str
    after: str = ""

    @property
    def id(self) -> str:
        """One for a show."""
        return derived_id(self.NAME, self.session_id, self.funding_goal_id)


class PassesOver(Timer, name="passes-over"):
    """Passes of users have run out in this second; those up to the pass `after` were looked at."""

    over_at: datetime
    after: str = ""

    @property
    def id(self) -> str:
        """One for a second."""
        return derived_id(self.NAME, self.over_at.isoformat())


Over = MinutesOver | TicketsOver | PassesOver


@dataclass(frozen=True, slots=True)
class Listener:
    """Who listened by a pass; `streamer_id` is None of one for every streamer: nobody knows where."""

    user_id: str
    streamer_id: str | None


def of_permit(known: Permit | None, permit: Permit, session_id: str, streamer_id: str, cause: PushCause) -> At | None:
    """When to look at who has this permit, if that is another moment than what was `known`."""
    if permit.over_at is None or (known is not None and known.over_at == permit.over_at):
        return None
    timer = MinutesOver(session_id=session_id, streamer_id=streamer_id, over_at=permit.over_at)
    return _at(timer, permit.over_at, cause)


def of_pass(activated: Pass, cause: PushCause) -> At | None:
    """When to look at who has this pass."""
    return None if activated.over_at is None else _at(PassesOver(over_at=activated.over_at), activated.over_at, cause)


def of_shows(known: Broadcast | None, event: SessionState, cause: PushCause) -> Iterator[At]:
    """When to look at ticket holders: when the show will have ended; now, if one has that was to last longer.

    Of a session that is over all who listened are cut anyway.
    """
    if not event.active:
        return
    over: dict[str | None, datetime | None] = {event.ticket_goal_id: event.ticket_exp}
    if known is not None and known.session_id == event.session_id and known.opens_shows_after(cause.now):
        over.setdefault(known.ticket_goal_id, cause.now)
    for funding_goal_id, at in over.items():
        if funding_goal_id is None or at is None:
            continue
        timer = TicketsOver(session_id=event.session_id, streamer_id=event.streamer_id, funding_goal_id=funding_goal_id)
        if (due := _at(timer, at, cause)) is not None:
            yield due


def following(timer: Over, looked_at: str, now: datetime) -> At:
    """The slice after the one that ended with this permit or pass."""
    return _set(timer.model_copy(update={"after": looked_at}), now + INTERVAL)


def listener(over: Pass) -> Listener:
    """Who listened by a pass, and where."""
    user_id, _, kind = over.id.partition(":")
    return Listener(user_id, None if kind == EVERYWHERE else kind.removeprefix(f"{EVERYWHERE}_"))


def cuts(timer: Over, watchers: Iterable[Watcher], now: datetime) -> Iterator[Call]:
    """Cut those who listen to what is on air, and by nothing that has not ended."""
    for watcher in watchers:
        if watcher.broadcast.is_on(now) and may_watch_paid(watcher, now) is None:
            yield cut(timer, watcher.user_id, now)


def cut(timer: Over, user_id: str, now: datetime) -> Call:
    """Cut one of those whom a timer has looked at."""
    return Call(
        Cut(user_id=user_id),
        id=derived_id(Cut.NAME, timer.id, user_id),
        key=f"cut:{user_id}",
        not_after=now + LIVE,
    )


def _at(timer: Over, over: datetime, cause: PushCause) -> At | None:
    """A second after it is over. What had ended when a day ago was told of cuts nobody."""
    return None if cause.is_history and over <= cause.now else _set(timer, over + GRACE)


def _set(timer: Over, due: datetime) -> At:
    return At(timer, id=timer.id, due=due, key=timer.id if isinstance(timer, PassesOver) else timer.session_id)
