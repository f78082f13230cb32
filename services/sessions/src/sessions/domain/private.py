"""The private goal: who contributed, their right once it is completed, and whether it was kept (SPEC §4).

    bound ── completed ──▶ giving ── all have their right ──▶ judging ── it is due, or the session ends ──▶ closed
      └── any other end, or the session is over already ───────────────────────────────────────────────────▶ closed

The right is given in slices, since contributors may be many. The promise is kept if the session then was on, and
exclusive to nobody, for PRIVATE_JUDGED_SECONDS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from chassis.decision import At, Cancel, Timer, derived_id
from contracts import (
    EscrowFailedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalProgressedV1,
    SessionGoalClosedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from sessions.domain.changes import NOTHING, Changes, changed, joined
from sessions.domain.goal import RememberedGoal
from sessions.domain.session import EmbeddedGoal, Session, added, confirmed, embedded, embedded_ended
from sessions.domain.viewer import Viewer

SLICE_MAX = 500  # contributors given their right, or goals judged, in one transaction


@dataclass(frozen=True, slots=True)
class PrivateGoal(RememberedGoal):
    """A TriggerPrivateGoal."""

    state: Literal["unknown", "bound", "giving", "judging", "closed"] = "unknown"
    since: datetime | None = None
    """When all contributors had their right."""
    due: datetime | None = None
    """Until when the session must be on and exclusive to nobody."""
    broken: bool = False
    """Whether the session was exclusive already when the right was given."""


@dataclass(frozen=True, slots=True)
class Contributor:
    """A viewer's part in a private goal: how many contributions stand, and whether it has given a right."""

    id: str
    goal_id: str
    session_id: str
    viewer_id: str
    standing: int = 0
    entitled: bool = False


@dataclass(frozen=True, slots=True)
class Contribution:
    """A gift to a private goal. `id` is the earning; it is void once refunded."""

    id: str
    void: bool = False


class PrivateRightDue(Timer, name="private-right-due"):
    """More contributors of a completed goal wait for their right: those after `after`."""

    goal_id: str
    session_id: str
    after: str


class PrivateGoalsLeft(Timer, name="private-goals-left"):
    """A session has ended with more private goals to judge than one transaction may."""

    session_id: str


class PrivateJudgementDue(Timer, name="private-judgement-due"):
    """A private goal can be judged."""

    goal_id: str
    session_id: str


def contributor_id(goal_id: str, viewer_id: str) -> str:
    """The id of a viewer's part in a private goal."""
    return derived_id("contributor", goal_id, viewer_id)


def bind_trigger_private_goal_to_session(
    session: Session, goal: PrivateGoal, event: GoalCreatedV1, now: datetime
) -> Changes:
    """The goal is the session's."""
    if goal.state != "unknown":
        return NOTHING
    goals = embedded(session.trigger_private_goals, EmbeddedGoal(goal.id))
    bound = replace(session, trigger_private_goals=goals)
    return changed(bound, replace(goal, state="bound", bound=True), events=added(session, event, now))


def contribute(contribution: Contribution | None, contributor: Contributor, event: GoalProgressedV1) -> Changes:
    """A gift counts for its sender, once; one that was refunded before does not."""
    if contribution is not None:
        return NOTHING
    return changed(Contribution(event.earning_id), replace(contributor, standing=contributor.standing + 1))


def end_private(session: Session, goal: PrivateGoal, event: GoalEndedV1) -> Changes:
    """The goal is over. Completed, its contributors get their right next; else it is closed."""
    if goal.state not in ("unknown", "bound"):
        return NOTHING
    goals = embedded_ended(session.trigger_private_goals, goal.id, event.ended_at)
    over = replace(goal, state="giving" if event.outcome == "completed" else "closed", ended_at=event.ended_at)
    return changed(replace(session, trigger_private_goals=goals), over)


def give_right(
    session: Session,
    goal: PrivateGoal,
    slice_: Sequence[tuple[Contributor, Viewer]],
    now: datetime,
    judged_seconds: int,
) -> Changes:
    """Give the next contributors their right. A slice that is not full is the last: now the promise can be judged.

    A session that is over authorizes nobody: then the promise is broken.
    """
    if not session.is_on(now):
        return judge(session, goal)
    entitled = [_entitle(session, goal, *one) for one in slice_ if one[0].standing and not one[0].entitled]
    given = joined(changed(session), *entitled)  # the session is saved: it may not end at the same time
    if len(slice_) == SLICE_MAX:
        more = PrivateRightDue(goal_id=goal.id, session_id=session.id, after=slice_[-1][0].id)
        return given.then(timers=[At(more, _timer_id(PrivateRightDue, goal.id), now, key=session.id)])
    due = now + timedelta(seconds=judged_seconds)
    judging = replace(goal, state="judging", since=now, due=due, broken=bool(session.exclusive_to))
    timer = PrivateJudgementDue(goal_id=goal.id, session_id=session.id)
    at = At(timer, _timer_id(PrivateJudgementDue, goal.id), due, key=session.id)
    return joined(given, changed(judging, timers=[at]))


def judge(session: Session, goal: PrivateGoal) -> Changes:
    """Say once whether the goal was kept: whether the session was on, and exclusive to nobody, until it was due."""
    if goal.state not in ("giving", "judging"):
        return NOTHING
    kept = _was_kept(session, goal)
    closed = SessionGoalClosedV1(
        session_id=session.id,
        streamer_id=session.streamer_id,
        goal_id=goal.id,
        kind="TriggerPrivateGoal",
        outcome="completed",
        kept=kept,
    )
    answered = confirmed(session, goal.due) if kept and goal.due is not None else session
    timers = [Cancel(_timer_id(timer, goal.id)) for timer in (PrivateRightDue, PrivateJudgementDue)]
    return changed(answered, replace(goal, state="closed"), events=[closed], timers=timers)


def judge_all(session: Session, goals: Sequence[PrivateGoal], now: datetime) -> Changes:
    """Judge those that waited when the session ended; if they are a full slice, the next ones come with a timer."""
    judged = joined(*(judge(session, goal) for goal in goals))
    if len(goals) < SLICE_MAX:
        return judged
    left = PrivateGoalsLeft(session_id=session.id)
    return judged.then(timers=[At(left, _timer_id(PrivateGoalsLeft, session.id), now, key=session.id)])


def void_contribution(
    session: Session,
    contribution: Contribution | None,
    contributor: Contributor,
    viewer: Viewer,
    event: EscrowFailedV1,
) -> Changes:
    """The money went back, so the gift counts no more; the right goes with the last gift that gave it.

    The session is saved too, since what remains is told by its shows.
    """
    void = changed(Contribution(event.earning_id, void=True))
    if contribution is None:
        return void
    if contribution.void:
        return NOTHING
    left = replace(contributor, standing=contributor.standing - 1)
    if not contributor.entitled:
        return joined(void, changed(left))
    left = replace(left, entitled=left.standing > 0)
    holder = viewer if left.entitled else replace(viewer, private=viewer.private - 1)
    revoked = SessionViewerRevokedV1(
        session_id=session.id,
        streamer_id=session.streamer_id,
        viewer_id=viewer.viewer_id,
        goal_id=contributor.goal_id,
        escrow_id=event.escrow_id,
        earning_id=event.earning_id,
        gift_id=event.gift_id,
        reason="refunded",
        remaining=holder.remaining(session),
    )
    return joined(void, changed(session, left, holder, events=[revoked]))


def _was_kept(session: Session, goal: PrivateGoal) -> bool:
    if goal.due is None or goal.broken or session.on_until(goal.due) != goal.due:
        return False
    return not session.was_exclusive(goal.since or goal.due, goal.due)


def _entitle(session: Session, goal: PrivateGoal, contributor: Contributor, viewer: Viewer) -> Changes:
    authorized = SessionViewerAuthorizedV1(
        session_id=session.id,
        streamer_id=session.streamer_id,
        viewer_id=viewer.viewer_id,
        goal_id=goal.id,
        preset="sd",
        nbf=viewer.nbf,
        duration=0,
        exp=viewer.exp,
        reason="private",
    )
    return changed(
        replace(contributor, entitled=True), replace(viewer, private=viewer.private + 1), events=[authorized]
    )


def _timer_id(timer: type[Timer], goal_id: str) -> str:
    return derived_id(timer.NAME, goal_id)
