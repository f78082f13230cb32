"""Karaoke goals in their session: bound and ended, no money hangs on them (SPEC §4)."""

from dataclasses import dataclass, replace
from datetime import datetime

from contracts import GoalCreatedV1, GoalEndedV1
from sessions.domain.changes import NOTHING, Changes, changed
from sessions.domain.goal import RememberedGoal
from sessions.domain.session import EmbeddedGoal, Session, added, embedded, embedded_ended


@dataclass(frozen=True, slots=True)
class KaraokeGoal(RememberedGoal):
    """A KaraokeGoal."""


def bind_karaoke_goal_to_session(session: Session, goal: KaraokeGoal, event: GoalCreatedV1, now: datetime) -> Changes:
    """Somebody sings."""
    if goal.bound or goal.ended_at is not None:
        return NOTHING
    bound = replace(session, karaoke_goals=embedded(session.karaoke_goals, EmbeddedGoal(goal.id)))
    return changed(bound, replace(goal, bound=True), events=added(session, event, now))


def end_karaoke(session: Session, goal: KaraokeGoal, event: GoalEndedV1) -> Changes:
    """The song is over."""
    if goal.ended_at is not None:
        return NOTHING
    closed = replace(session, karaoke_goals=embedded_ended(session.karaoke_goals, goal.id, event.ended_at))
    return changed(closed, replace(goal, ended_at=event.ended_at))
