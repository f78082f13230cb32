"""The end of a session, and of what waited to be judged by what was on air (SPEC §4)."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from chassis.decision import Cancel
from contracts import SessionEndedV1
from sessions.domain.changes import NOTHING, Changes, changed, joined
from sessions.domain.private import PrivateGoal, judge
from sessions.domain.session import HeadCount, Session, max_timer_id


def end_session(
    session: Session, head_count: HeadCount | None, unjudged: Iterable[PrivateGoal], at: datetime
) -> Changes:
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
    over = changed(ended, *unlisted, events=[ended.tells(SessionEndedV1)], timers=[Cancel(max_timer_id(session.id))])
    return joined(over, *(judge(ended, goal) for goal in unjudged))
