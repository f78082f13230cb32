"""The end of a session, and of what waited to be judged by what was on air (SPEC §4)."""

from dataclasses import dataclass, replace
from datetime import datetime

from chassis.decision import At, Cancel
from contracts import SessionEndedV1
from sessions.domain.changes import NOTHING, Changes, changed, joined
from sessions.domain.minutes import MinutesLeft, look_for
from sessions.domain.private import PrivateGoal, judge_all
from sessions.domain.session import HeadCount, Session, max_timer_id


@dataclass(frozen=True, slots=True)
class Ending:
    """A session that shall end, with what its end concerns."""

    session: Session
    head_count: HeadCount | None
    unjudged: tuple[PrivateGoal, ...]
    """Private goals that wait to be judged, at most a slice of them."""
    has_minutes: bool
    """Whether a viewer may have paid for time that has not begun."""


def end_session(ending: Ending, now: datetime) -> Changes:
    """End the session, at its maximum at the latest. Ending again changes nothing.

    It never ends before what sessions has confirmed to have been on air.
    """
    session = ending.session
    if not session.active:
        return NOTHING
    at = now if session.exp is None else min(now, session.exp)
    ended_at = max(at, session.confirmed_until or at)
    ended = replace(session, active=False, ended=ended_at, exclusive_to=(), exclusive_for=None)
    unlisted = () if ending.head_count is None else (replace(ending.head_count, active=False),)
    timers: list[At | Cancel] = [Cancel(max_timer_id(session.id))]
    if ending.has_minutes:
        timers.append(look_for(MinutesLeft(session_id=session.id, reason="session_ended", at=ended_at), now))
    over = changed(ended, *unlisted, events=[ended.tells(SessionEndedV1)], timers=timers)
    return joined(over, judge_all(ended, ending.unjudged, now))
