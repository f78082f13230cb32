"""Who may watch what: the rules, as a table (SPEC §4). Nobody else decides it; others are told what they need to.

blocked by the streamer      ──▶ nothing   403 blocked-by-streamer
the session is over          ──▶ nothing   410 session-ended
exclusive to another viewer  ──▶ nothing   403 exclusive-to-another    (not the streamer)
RULES, the first that grants ──▶ sd        until what it says
everybody else               ──▶ preview
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeVar

from chassis.errors import Forbidden, Gone
from contracts import Preset
from sessions.domain.passes import Pass
from sessions.domain.payments import BlockedByStreamer
from sessions.domain.session import Session
from sessions.domain.viewer import Viewer

LEEWAY: Final = timedelta(seconds=5)  # for `nbf`: it is another service's now, and clocks differ

RuleName = Literal["streamer", "ticket", "private", "paid", "pass"]
WhyNot = Literal[
    "not_the_streamer",
    "no_ticket",
    "no_show",  # none is on or announced for which the ticket is
    "nothing_given",
    "nothing_paid",
    "no_pass",
    "not_begun",
    "over",
]

T = TypeVar("T")


class ExclusiveToSomebodyElse(Forbidden, slug="exclusive-to-another"):
    """The session is exclusive to another viewer."""


class SessionEnded(Gone, slug="session-ended"):
    """The session is over, and nothing of it can be watched."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """Somebody who wants to watch a session, with all that decides whether and what."""

    user_id: str
    session: Session
    viewer: Viewer
    blocked: bool = False
    passes: Sequence[Pass] = ()
    """Of those for every streamer and for this one, what there is."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one rule says: it grants until then (None: for as long as the session), or not, and why; perhaps later."""

    rule: RuleName
    why_not: WhyNot | None = None
    nbf: datetime | None = None
    exp: datetime | None = None

    @property
    def grants(self) -> bool:
        """Whether paid streaming may be watched by it now."""
        return self.why_not is None


@dataclass(frozen=True, slots=True)
class Watching:
    """What somebody may watch now, until when, by which rule, and what each rule says."""

    preset: Preset
    room_id: str | None
    until: datetime | None
    rule: RuleName | None
    """None: what everybody may."""
    rulings: tuple[Ruling, ...]

    def changes_after(self, now: datetime) -> datetime | None:
        """When time alone, with nothing told, may make it another answer."""
        moments = (moment for one in self.rulings for moment in (_opens(one.nbf), one.exp))
        return min((moment for moment in (*moments, self.until) if moment is not None and moment > now), default=None)


def may_watch(watcher: Watcher, now: datetime) -> Watching:
    """What the watcher may watch now: `sd` by the first rule that grants it, else `preview`.

    Raises:
        BlockedByStreamer: nothing of this streamer.
        SessionEnded: nothing any more.
        ExclusiveToSomebodyElse: nothing for now.
    """
    session, is_streamer = watcher.session, watcher.user_id == watcher.session.streamer_id
    if watcher.blocked and not is_streamer:
        raise BlockedByStreamer
    if not session.is_on(now):
        raise SessionEnded
    if session.exclusive_to and watcher.user_id not in session.exclusive_to and not is_streamer:
        raise ExclusiveToSomebodyElse
    rulings = tuple(rule(watcher, now) for rule in RULES)
    granted = next((one for one in rulings if one.grants), None)
    preset: Preset = "sd" if granted else "preview"
    until = _earlier(session.exp, granted.exp if granted else None)
    return Watching(preset, session.room_of(preset), until, granted.rule if granted else None, rulings)


# -- the rules, in their order -----------------------------------------------------------------------------------------


def _streamer(watcher: Watcher, _now: datetime) -> Ruling:
    """Who shows it."""
    is_streamer = watcher.user_id == watcher.session.streamer_id
    return Ruling("streamer", None if is_streamer else "not_the_streamer")


def _ticket(watcher: Watcher, now: datetime) -> Ruling:
    """A ticket opens its show, not the hours before: from the show's beginning until it has ended."""
    show = watcher.session.show
    if not watcher.viewer.tickets:
        return Ruling("ticket", "no_ticket")
    if show is None or show.funding_goal != watcher.viewer.ticket_goal:
        return Ruling("ticket", "no_show")
    return _within("ticket", show.show_nbf, show.show_exp, now)


def _private(watcher: Watcher, _now: datetime) -> Ruling:
    """Who contributed to a private goal that was completed."""
    return Ruling("private", None if watcher.viewer.private else "nothing_given")


def _paid(watcher: Watcher, now: datetime) -> Ruling:
    """Who has time left, paid for or given."""
    viewer = watcher.viewer
    if viewer.nbf is None or viewer.exp is None:
        return Ruling("paid", "nothing_paid")
    return _within("paid", viewer.nbf, viewer.exp, now)


def _pass(watcher: Watcher, now: datetime) -> Ruling:
    """Whose pass is running; of two that are, the longer one counts."""
    rulings = [_within("pass", one.nbf, one.exp, now) for one in watcher.passes]
    granting = [one for one in rulings if one.grants]
    coming = [one for one in rulings if one.why_not == "not_begun"]
    return max(granting, key=_ends, default=None) or next(iter(coming or rulings), Ruling("pass", "no_pass"))


RULES: Final[tuple[Callable[[Watcher, datetime], Ruling], ...]] = (_streamer, _ticket, _private, _paid, _pass)


def _within(rule: RuleName, nbf: datetime | None, exp: datetime | None, now: datetime) -> Ruling:
    opens = _opens(nbf)
    if exp is not None and now >= exp:
        return Ruling(rule, "over", nbf, exp)
    if opens is not None and now < opens:
        return Ruling(rule, "not_begun", nbf, exp)
    return Ruling(rule, None, nbf, exp)


def _opens(nbf: datetime | None) -> datetime | None:
    return None if nbf is None else nbf - LEEWAY


def _ends(ruling: Ruling) -> datetime:
    if ruling.exp is None:
        raise ValueError("a pass without an end")
    return ruling.exp


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((moment for moment in (one, other) if moment is not None), default=None)
