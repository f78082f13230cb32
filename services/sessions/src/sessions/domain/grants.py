"""Grants of time, and the paid permission that they add up to (SPEC §4, *Time arithmetic*).

A grant is a document whose id is its cause, so the same cause gives time once. Taking one back leaves the document and
folds the others anew: nothing is ever subtracted.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Literal

from contracts import Remaining, SessionViewerAuthorizedV1, SessionViewerRevokedV1
from sessions.domain.changes import NOTHING, Changes, changed
from sessions.domain.session import Session
from sessions.domain.viewer import Viewer

Reason = Literal["agreed", "extended", "paid"]


@dataclass(frozen=True, slots=True)
class Grant:
    """Time given to a viewer, `duration` in seconds. `id` is the cause: a goal, an extension, a payment."""

    id: str
    session_id: str
    viewer_id: str
    reason: Reason
    nbf: datetime
    duration: int
    goal_id: str | None = None
    """The goal that gave it: the invitation, or the exclusive that was extended."""
    trigger_exclusive_goal_id: str | None = None
    """The invitation with whose money it goes: a refund of that takes it back."""
    exclusive_goal_id: str | None = None
    """The exclusive that a payment was made for."""
    stands: bool = True
    """Whether it counts; False once its money went back."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A viewer of a session with all grants, as loaded together."""

    viewer: Viewer
    grants: tuple[Grant, ...]


def update_session_viewer_permissions(viewer: Viewer, grant: Grant) -> Viewer:
    """`viewer` with one grant more: exactly the arithmetic of SPEC §4."""
    return replace(
        viewer,
        nbf=viewer.nbf or grant.nbf,
        duration=max(viewer.duration, 0) + grant.duration,
        exp=max(grant.nbf, viewer.exp or grant.nbf) + timedelta(seconds=grant.duration),
    )


def folded(viewer: Viewer, grants: Iterable[Grant]) -> Viewer:
    """`viewer` by the grants that stand, in order of nbf, then of id: the same in whatever order they came."""
    standing = sorted((grant for grant in grants if grant.stands), key=lambda grant: (grant.nbf, grant.id))
    return reduce(update_session_viewer_permissions, standing, replace(viewer, nbf=None, duration=0, exp=None))


def give(session: Session, holder: Holder, grant: Grant) -> Changes:
    """Give time and say so, unless this cause has given it before. One whose money went back is only remembered.

    The session is saved too: it may neither end nor turn exclusive at the same time.
    """
    if any(known.id == grant.id for known in holder.grants):
        return NOTHING
    viewer = folded(holder.viewer, (*holder.grants, grant))
    if not grant.stands:
        return changed(viewer, grant)
    authorized = SessionViewerAuthorizedV1(
        session_id=session.id,
        streamer_id=session.streamer_id,
        viewer_id=grant.viewer_id,
        goal_id=grant.goal_id,
        exclusive_goal_id=grant.exclusive_goal_id,
        payment_id=grant.id if grant.reason == "paid" else None,
        preset="sd",
        nbf=viewer.nbf,
        duration=grant.duration,
        exp=viewer.exp,
        reason=grant.reason,
    )
    return changed(session, viewer, grant, events=[authorized])


def take_back(
    session: Session, holder: Holder, gone: Iterable[Grant], revoked: Callable[[Remaining], SessionViewerRevokedV1]
) -> Changes:
    """Take the grants `gone` back and say what remains, as `revoked` tells it; nothing if none of them stands."""
    fallen = {grant.id: replace(grant, stands=False) for grant in gone if grant.stands}
    if not fallen:
        return NOTHING
    viewer = folded(holder.viewer, (fallen.get(grant.id, grant) for grant in holder.grants))
    return changed(viewer, *fallen.values(), events=[revoked(viewer.remaining(session))])
