"""Grants of time, and the paid permission that they add up to (SPEC §4, *Time arithmetic*).

A grant is a document whose id is its cause, so the same cause gives time once. The permission is the fold of the grants
that stand, in the order of their nbf and then of their ids. The viewer keeps it, and each grant keeps what those before
it add up to. So one that comes last, as nearly all do, is one step of arithmetic however many came before it; one that
comes late, shrinks or falls is as many as come after it. Nothing is ever subtracted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Literal

from contracts import Remaining, SessionViewerAuthorizedV1, SessionViewerRevokedV1
from sessions.domain.changes import NOTHING, Changes, changed
from sessions.domain.session import Session
from sessions.domain.viewer import Permission, Place, Viewer

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
    before: Permission | None = None
    """While it stands: what the grants before it add up to."""

    @property
    def place(self) -> Place:
        """Where it stands among the viewer's grants."""
        return self.nbf, self.id


@dataclass(frozen=True, slots=True)
class Holder:
    """A viewer of a session, with those grants that a change of one of them concerns."""

    viewer: Viewer
    later: tuple[Grant, ...] = ()
    """All grants that stand from that one's nbf on, in order."""
    known: Grant | None = None
    """That one, if it was given before."""


def update_session_viewer_permissions(permission: Permission, grant: Grant) -> Permission:
    """`permission` with one grant more: exactly the arithmetic of SPEC §4."""
    return Permission(
        nbf=permission.nbf or grant.nbf,
        duration=max(permission.duration, 0) + grant.duration,
        exp=max(grant.nbf, permission.exp or grant.nbf) + timedelta(seconds=grant.duration),
        latest=grant.place,
    )


def folded(grants: Iterable[Grant]) -> Permission:
    """What the grants that stand add up to: the same in whatever order they came."""
    standing = sorted((grant for grant in grants if grant.stands), key=lambda grant: grant.place)
    return reduce(update_session_viewer_permissions, standing, Permission())


def refolded(viewer: Viewer, start: Permission, grants: Iterable[Grant]) -> tuple[Viewer, tuple[Grant, ...]]:
    """`viewer`, and `grants` that stand to the end, in order, as they follow on what those before them add up to."""
    permission, following = start, []
    for grant in grants:
        following.append(replace(grant, before=permission))
        permission = update_session_viewer_permissions(permission, grant)
    return (
        replace(
            viewer,
            nbf=permission.nbf,
            duration=permission.duration,
            exp=permission.exp,
            latest=permission.latest,
        ),
        tuple(following),
    )


def give(session: Session, holder: Holder, grant: Grant) -> Changes:
    """Give time and say so, unless this cause has given it before. One whose money went back is only remembered.

    The session is saved too: it may neither end nor turn exclusive at the same time.
    """
    if holder.known is not None:
        return NOTHING
    if not grant.stands:
        return changed(holder.viewer, grant)
    later = [other for other in holder.later if other.place > grant.place]
    viewer, following = refolded(holder.viewer, _start(holder, later), [grant, *later])
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
    return changed(session, viewer, *following, events=[authorized])


def take_back(
    session: Session,
    holder: Holder,
    seconds_of: Mapping[str, int],
    revoked: Callable[[Remaining], SessionViewerRevokedV1],
) -> Changes:
    """Take so many seconds of each grant back and say what remains, as `revoked` tells it.

    A grant of which nothing is left falls. Nothing changes if none of them stands. The session is saved too, since
    what remains is told by its shows.
    """
    first = next((place for place, grant in enumerate(holder.later) if grant.id in seconds_of), None)
    if first is None:
        return NOTHING
    later = holder.later[first:]
    shrunk = [_shrunk(grant, seconds_of[grant.id]) if grant.id in seconds_of else grant for grant in later]
    fallen = [grant for grant in shrunk if not grant.stands]
    viewer, following = refolded(holder.viewer, _start(holder, later), (grant for grant in shrunk if grant.stands))
    return changed(session, viewer, *following, *fallen, events=[revoked(viewer.remaining(session))])


def _shrunk(grant: Grant, seconds: int) -> Grant:
    if seconds >= grant.duration:
        return replace(grant, stands=False, before=None)
    return replace(grant, duration=grant.duration - seconds)


def _start(holder: Holder, later: Iterable[Grant]) -> Permission:
    """What the grants before `later` add up to."""
    first = next(iter(later), None)
    return holder.viewer.permission if first is None else first.before or Permission()
