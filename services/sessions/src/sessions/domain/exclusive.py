"""The 1-on-1: invitations bound to their session, the agreement, the exclusive and its end (SPEC §4).

Events of goals come in order, those of escrow in any: what is over or refunded is
remembered, and what comes later changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from chassis.decision import derived_id
from contracts import (
    EscrowFailedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalExtendedV1,
    SessionGoalClosedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from sessions.domain.changes import NOTHING, Changes, changed, joined
from sessions.domain.goal import RememberedGoal
from sessions.domain.grants import Grant, Holder, give, take_back
from sessions.domain.session import TURNS_MAX, ExclusivePair, Session, added, confirmed, latest, updated


@dataclass(frozen=True, slots=True)
class Invitation(RememberedGoal):
    """A TriggerExclusiveGoal."""

    viewer_id: str
    refunded: bool = False
    prepaid_duration: int = 0
    agreed: datetime | None = None
    exclusive_since: datetime | None = None
    """When sessions set `exclusive_to` for it: from then on its viewer could watch alone."""


@dataclass(frozen=True, slots=True)
class Exclusive(RememberedGoal):
    """An ExclusiveGoal."""

    trigger_exclusive_goal_id: str
    nbf: datetime | None = None
    closed: bool = False
    """Whether sessions has said if it was kept."""


def bind_trigger_exclusive_goal_to_session(
    session: Session, invitation: Invitation, event: GoalCreatedV1, now: datetime
) -> Changes:
    """Make the invitation its viewer's pair, in the place of the one before."""
    if invitation.bound or invitation.ended_at is not None:
        return NOTHING
    bound = _with_pair(session, invitation.viewer_id, ExclusivePair(invitation.id))
    return changed(bound, replace(invitation, bound=True), events=added(session, event, now))


def bind_exclusive_goals_to_session(
    session: Session, exclusive: Exclusive, invitation: Invitation, event: GoalCreatedV1, now: datetime
) -> Changes:
    """Put the exclusive beside the invitation it came from."""
    pair = _pair_of(session, invitation)
    if pair is None or exclusive.nbf or exclusive.ended_at:
        return NOTHING
    bound = _with_pair(session, invitation.viewer_id, replace(pair, exclusive_goal=exclusive.id))
    return changed(bound, replace(exclusive, bound=True, nbf=event.nbf), events=added(session, event, now))


def end_invitation(session: Session, invitation: Invitation, event: GoalEndedV1, now: datetime) -> Changes:
    """Close the invitation's pair; agreed to while the session is on, the session is its viewer's alone from now on.

    Who drops the other pairs and gives the time comes after this, in the same transaction.
    """
    if invitation.ended_at is not None:
        return NOTHING
    agreed = (event.metadata.agreed or event.ended_at) if event.outcome == "agreed" else None
    prepaid_duration = event.metadata.prepaid_duration or 0
    over = replace(invitation, ended_at=event.ended_at, agreed=agreed, prepaid_duration=prepaid_duration)
    pair = _pair_of(session, invitation)
    if pair is None:
        return changed(over)
    closed = replace(pair, trigger_exclusive_goal_agreed=agreed, trigger_exclusive_goal_ended=event.ended_at)
    if agreed is None or not session.is_on(now):
        return changed(_with_pair(session, invitation.viewer_id, closed), over)
    turned = replace(
        session,
        exclusive_to=(invitation.viewer_id,),
        exclusive_for=invitation.id,
        turned_exclusive=(*session.turned_exclusive, now)[-TURNS_MAX:],
    )
    turned = _with_pair(turned, invitation.viewer_id, closed)
    return joined(updated(session, turned), changed(replace(over, exclusive_since=now)))


def cleanup_expired_exclusive_goal_pairs(session: Session, invitation_id: str) -> Changes:
    """Drop the *other* pairs whose exclusive is over, or of which nothing has come, if this agreement has the session.

    What is dropped still runs to its own end, and is refunded then.
    """
    if session.exclusive_for != invitation_id:
        return NOTHING

    def expired(pair: ExclusivePair) -> bool:
        if pair.exclusive_goal_ended is not None:
            return True
        return (pair.exclusive_goal, pair.trigger_exclusive_goal_agreed, pair.trigger_exclusive_goal_ended) == (
            None,
        ) * 3

    pairs = session.exclusive_goal_pairs
    gone = [id_ for id_, pair in pairs.items() if pair.trigger_exclusive_goal != invitation_id and expired(pair)]
    return changed(replace(session, exclusive_goal_pairs=_without(pairs, gone)))


def sync_trigger_goal_session_viewer(
    session: Session, invitation: Invitation, holder: Holder, step_seconds: int
) -> Changes:
    """Give the viewer the time bought with the invitation, and a step more; nothing if it was refunded before."""
    if session.exclusive_for != invitation.id or invitation.agreed is None:
        return NOTHING
    grant = Grant(
        id=invitation.id,
        session_id=session.id,
        viewer_id=invitation.viewer_id,
        reason="agreed",
        nbf=invitation.agreed,
        duration=step_seconds + invitation.prepaid_duration,
        goal_id=invitation.id,
        trigger_exclusive_goal_id=invitation.id,
        stands=not invitation.refunded,
    )
    return joined(give(session, holder, grant), changed(invitation))  # no refund goes unseen at the same time


def extension_id(event: GoalExtendedV1) -> str:
    """The id of an extension: the end of its exclusive grows with every one, so it names one."""
    return derived_id("extended", event.goal_id, event.exp.isoformat())


def extend(session: Session, invitation: Invitation, holder: Holder, event: GoalExtendedV1, now: datetime) -> Changes:
    """Give the viewer the step by which the streamer has extended the exclusive; a payment has given its own."""
    if event.payment_id is not None or not session.is_on(now):
        return NOTHING
    grant = Grant(
        id=extension_id(event),
        session_id=session.id,
        viewer_id=holder.viewer.viewer_id,
        reason="extended",
        nbf=event.nbf,
        duration=event.duration,
        goal_id=event.goal_id,
        trigger_exclusive_goal_id=invitation.id,
        stands=not invitation.refunded,
    )
    return joined(give(session, holder, grant), changed(invitation))  # no refund goes unseen at the same time


def end_exclusive(
    session: Session, exclusive: Exclusive, invitation: Invitation, event: GoalEndedV1, now: datetime
) -> Changes:
    """Close the pair, and give the session back to everyone."""
    if exclusive.ended_at is not None:
        return NOTHING
    over = replace(exclusive, ended_at=event.ended_at)
    opened = release(session, invitation.id)
    pair = _pair_of(session, invitation)
    if pair is None or pair.exclusive_goal != exclusive.id:
        return joined(updated(session, opened), changed(over))
    opened = _with_pair(opened, invitation.viewer_id, replace(pair, exclusive_goal_ended=event.ended_at))
    authorized = [_exclusive_ended(session, exclusive, invitation)] if session.is_on(now) else []
    return joined(updated(session, opened), changed(over, events=authorized))


def close_exclusive(
    session: Session, exclusive: Exclusive, invitation: Invitation, event: GoalEndedV1, step_seconds: int
) -> Changes:
    """Say once whether the promise was kept."""
    if exclusive.closed:
        return NOTHING
    until = session.on_until(event.ended_at)
    closed = SessionGoalClosedV1(
        session_id=session.id,
        streamer_id=session.streamer_id,
        goal_id=exclusive.id,
        kind=event.kind,
        outcome=event.outcome,
        kept=event.outcome == "completed" and _was_performed(exclusive, invitation, until, step_seconds),
        trigger_exclusive_goal_id=invitation.id,
    )
    return changed(confirmed(session, until), replace(exclusive, closed=True), events=[closed])


def release(session: Session, trigger_exclusive_goal_id: str) -> Session:
    """`session` open to everyone, if it was exclusive by this invitation."""
    if session.exclusive_for != trigger_exclusive_goal_id:
        return session
    return replace(session, exclusive_to=(), exclusive_for=None)


def take_back_refunded_time(
    session: Session, invitation: Invitation, holder: Holder, given: Iterable[Grant], event: EscrowFailedV1
) -> Changes:
    """Take back the time that the refunded invitation has `given`, that of its exclusive's extensions among it."""
    if invitation.refunded:
        return NOTHING
    revoked = partial(
        SessionViewerRevokedV1,
        session_id=invitation.session_id,
        streamer_id=session.streamer_id,
        viewer_id=invitation.viewer_id,
        goal_id=invitation.id,
        escrow_id=event.escrow_id,
        earning_id=event.earning_id,
        reason="refunded",
    )
    return joined(
        changed(replace(invitation, refunded=True)),
        take_back(
            session,
            holder,
            {grant.id: grant.duration for grant in given},
            lambda remaining: revoked(remaining=remaining),
        ),
    )


def _was_performed(exclusive: Exclusive, invitation: Invitation, until: datetime, step_seconds: int) -> bool:
    """Whether it was on air for its viewer as long as prepaid, less a tenth of a step for what messages take."""
    if exclusive.nbf is None or invitation.exclusive_since is None:
        return False
    performed = until - max(exclusive.nbf, invitation.exclusive_since)
    return performed >= timedelta(seconds=invitation.prepaid_duration - step_seconds / 10)


def _exclusive_ended(session: Session, exclusive: Exclusive, invitation: Invitation) -> SessionViewerAuthorizedV1:
    return SessionViewerAuthorizedV1(
        session_id=session.id,
        streamer_id=session.streamer_id,
        viewer_id=invitation.viewer_id,
        goal_id=exclusive.id,
        preset="preview",
        nbf=None,
        duration=None,
        exp=None,
        reason="exclusive_ended",
    )


def _pair_of(session: Session, invitation: Invitation) -> ExclusivePair | None:
    """The pair of the viewer, if it still is this invitation's."""
    pair = session.exclusive_goal_pairs.get(invitation.viewer_id)
    return pair if pair is not None and pair.trigger_exclusive_goal == invitation.id else None


def _with_pair(session: Session, viewer_id: str, pair: ExclusivePair) -> Session:
    """`session` with this pair as its latest."""
    pairs = {**_without(session.exclusive_goal_pairs, [viewer_id]), viewer_id: pair}
    kept = latest(tuple(pairs.items()), lambda item: _is_open(session, item[1]))
    return replace(session, exclusive_goal_pairs=dict(kept))


def _is_open(session: Session, pair: ExclusivePair) -> bool:
    """Whether something may still come of it."""
    return pair.trigger_exclusive_goal_ended is None or session.exclusive_for == pair.trigger_exclusive_goal


def _without(pairs: Mapping[str, ExclusivePair], viewer_ids: Iterable[str]) -> Mapping[str, ExclusivePair]:
    gone = set(viewer_ids)
    return {viewer_id: pair for viewer_id, pair in pairs.items() if viewer_id not in gone}
