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
from sessions.domain.grants import Grant, Holder, give, take_back
from sessions.domain.session import ExclusivePair, Session, added, confirmed, latest, updated

INVITATION_ESCROW = "trigger_exclusive:"  # what the escrow ids of invitations begin with (SPEC §5)


@dataclass(frozen=True, slots=True)
class Invitation:
    """What sessions remembers of a TriggerExclusiveGoal, whatever becomes of its pair."""

    id: str
    session_id: str
    viewer_id: str
    bound: bool = False
    ended_at: datetime | None = None
    refunded: bool = False
    prepaid_duration: int = 0
    exclusive_since: datetime | None = None
    """When sessions set `exclusive_to` for it: from then on its viewer could watch alone."""


@dataclass(frozen=True, slots=True)
class Exclusive:
    """What sessions remembers of an ExclusiveGoal."""

    id: str
    session_id: str
    trigger_exclusive_goal_id: str
    nbf: datetime | None = None
    ended_at: datetime | None = None


def bind_trigger_exclusive_goal_to_session(session: Session, invitation: Invitation, event: GoalCreatedV1) -> Changes:
    """Make the invitation its viewer's pair, in the place of the one before."""
    if invitation.bound or invitation.ended_at is not None:
        return NOTHING
    bound = _with_pair(session, invitation.viewer_id, ExclusivePair(invitation.id))
    return changed(bound, replace(invitation, bound=True), events=added(session, event))


def bind_exclusive_goals_to_session(
    session: Session, exclusive: Exclusive, invitation: Invitation, event: GoalCreatedV1
) -> Changes:
    """Put the exclusive beside the invitation it came from."""
    pair = session.exclusive_goal_pairs.get(invitation.viewer_id)
    if pair is None or pair.trigger_exclusive_goal != invitation.id or exclusive.nbf or exclusive.ended_at:
        return NOTHING
    bound = _with_pair(session, invitation.viewer_id, replace(pair, exclusive_goal=exclusive.id))
    return changed(bound, replace(exclusive, nbf=event.nbf), events=added(session, event))


def turns_exclusive(session: Session, invitation: Invitation, event: GoalEndedV1) -> bool:
    """Whether this end of the invitation gives the session to its viewer alone, now."""
    first = invitation.ended_at is None
    return first and session.active and event.outcome == "agreed" and _pair_of(session, invitation) is not None


def set_embedded_goal_ended(session: Session, invitation: Invitation, event: GoalEndedV1) -> Changes:
    """Close the invitation's pair. On an ended session that is all that even an agreement does."""
    if invitation.ended_at is not None:
        return NOTHING
    over = changed(_ended(invitation, event))
    pair = _pair_of(session, invitation)
    if pair is None:
        return over
    return joined(changed(_with_pair(session, invitation.viewer_id, _closed(pair, event))), over)


def agree(
    session: Session, invitation: Invitation, holder: Holder, event: GoalEndedV1, now: datetime, step_seconds: int
) -> Changes:
    """Close the pair as agreed, have the session to its viewer alone, drop other pairs, give the time; in this order.

    To be called when it `turns_exclusive`. An invitation that was refunded before gives no time.
    """
    turned = replace(session, exclusive_to=(invitation.viewer_id,), exclusive_for=invitation.id)
    pair = session.exclusive_goal_pairs[invitation.viewer_id]
    turned = _with_pair(turned, invitation.viewer_id, _closed(pair, event))
    turned = cleanup_expired_exclusive_goal_pairs(turned, invitation.viewer_id)
    over = replace(_ended(invitation, event), exclusive_since=now)
    agreed = event.metadata.agreed or event.ended_at
    return joined(
        updated(session, turned),
        changed(over),
        sync_trigger_goal_session_viewer(turned, over, holder, agreed, step_seconds),
    )


def cleanup_expired_exclusive_goal_pairs(session: Session, agreed_viewer_id: str) -> Session:
    """`session` without the *other* pairs whose exclusive is over, or of which nothing has come yet."""

    def expired(pair: ExclusivePair) -> bool:
        if pair.exclusive_goal_ended is not None:
            return True
        return (pair.exclusive_goal, pair.trigger_exclusive_goal_agreed, pair.trigger_exclusive_goal_ended) == (
            None,
        ) * 3

    pairs = session.exclusive_goal_pairs
    gone = [viewer_id for viewer_id, pair in pairs.items() if viewer_id != agreed_viewer_id and expired(pair)]
    return replace(session, exclusive_goal_pairs=_without(pairs, gone))


def sync_trigger_goal_session_viewer(
    session: Session, invitation: Invitation, holder: Holder, agreed: datetime, step_seconds: int
) -> Changes:
    """Give the viewer the time bought with the invitation, and a step more; nothing if it was refunded before."""
    grant = Grant(
        id=invitation.id,
        session_id=session.id,
        viewer_id=invitation.viewer_id,
        reason="agreed",
        nbf=agreed,
        duration=step_seconds + invitation.prepaid_duration,
        goal_id=invitation.id,
        trigger_exclusive_goal_id=invitation.id,
        stands=not invitation.refunded,
    )
    return give(session, holder, grant)


def extend(
    session: Session, exclusive: Exclusive, invitation: Invitation, holder: Holder, event: GoalExtendedV1
) -> Changes:
    """Give the viewer the step by which the streamer has extended the exclusive; a payment has given its own."""
    if event.payment_id is not None or not session.active:
        return NOTHING
    grant = Grant(
        id=derived_id(
            "extended", exclusive.id, event.exp.isoformat()
        ),  # its end grows with every extension, so this names one
        session_id=session.id,
        viewer_id=holder.viewer.viewer_id,
        reason="extended",
        nbf=event.nbf,
        duration=event.duration,
        goal_id=exclusive.id,
        trigger_exclusive_goal_id=invitation.id,
        stands=not invitation.refunded,
    )
    return give(session, holder, grant)


def end_exclusive(
    session: Session, exclusive: Exclusive, invitation: Invitation, event: GoalEndedV1, step_seconds: int
) -> Changes:
    """Close the pair, give the session back to everyone, and say once whether the promise was kept."""
    if exclusive.ended_at is not None:
        return NOTHING
    over = replace(exclusive, ended_at=event.ended_at)
    pair = _pair_of(session, invitation)
    found = pair is not None and pair.exclusive_goal == exclusive.id
    opened = release(session, invitation.id)
    if pair is not None and found:
        opened = _with_pair(opened, invitation.viewer_id, replace(pair, exclusive_goal_ended=event.ended_at))
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
    authorized = [_exclusive_ended(session, exclusive, invitation)] if found and session.active else []
    return joined(updated(session, confirmed(opened, until)), changed(over, events=[*authorized, closed]))


def release(session: Session, trigger_exclusive_goal_id: str) -> Session:
    """`session` open to everyone, if it was exclusive by this invitation."""
    if session.exclusive_for != trigger_exclusive_goal_id:
        return session
    return replace(session, exclusive_to=(), exclusive_for=None)


def take_back_refunded_time(session: Session, invitation: Invitation, holder: Holder, event: EscrowFailedV1) -> Changes:
    """Take back the time that the refunded invitation gave, and that of its exclusive's extensions."""
    if invitation.refunded:
        return NOTHING
    gone = [grant for grant in holder.grants if grant.trigger_exclusive_goal_id == invitation.id]
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
        take_back(session, holder, gone, lambda remaining: revoked(remaining=remaining)),
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


def _ended(invitation: Invitation, event: GoalEndedV1) -> Invitation:
    return replace(invitation, ended_at=event.ended_at, prepaid_duration=event.metadata.prepaid_duration or 0)


def _closed(pair: ExclusivePair, event: GoalEndedV1) -> ExclusivePair:
    agreed = event.metadata.agreed if event.outcome == "agreed" else None
    return replace(pair, trigger_exclusive_goal_agreed=agreed, trigger_exclusive_goal_ended=event.ended_at)


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
