"""Whose connection to Pusher is cut when a permission ends (SPEC §6).

A signature that a client was given opens its channel for as long as its connection lasts. So the connection goes: the
client connects again, as somebody new, and asks for each channel anew. What is left to it, it hears as before.
"""

from datetime import datetime, timedelta

from chassis.decision import At, Call, Effect, Timer, derived_id
from contracts import SessionViewerRevokedV1, ViewerBlockedV1
from notifier.domain.entitlement import Broadcast, SessionState
from notifier.domain.pushes import LIVE, PushCause

GRACE = timedelta(seconds=1)  # what is told of the end itself comes first: who is cut meanwhile would miss it


class CutDue(Timer, name="cut-due"):
    """Who has been told by now is cut: a user, or all who listen to a streamer's paid channels but those of `keep`."""

    event_id: str
    user_id: str | None = None
    streamer_id: str | None = None
    keep: tuple[str, ...] = ()


class Cut(Effect, name="cut"):
    """Cut the connections of one user."""

    user_id: str


class CutWatchers(Effect, name="cut-watchers"):
    """Cut the connections of all who listen to a streamer's paid channels, but not those of `keep`."""

    streamer_id: str
    keep: tuple[str, ...]


def blocked(event: ViewerBlockedV1, cause: PushCause) -> At | None:
    """Who is blocked by a streamer has none of their channels any more."""
    return _soon(CutDue(event_id=cause.event_id, user_id=event.viewer_id), cause)


def revoked(event: SessionViewerRevokedV1, cause: PushCause) -> At | None:
    """Who has nothing left may not listen where it is paid for."""
    if _leaves_something(event, cause.now):
        return None
    return _soon(CutDue(event_id=cause.event_id, user_id=event.viewer_id), cause)


def changed(known: Broadcast | None, event: SessionState, cause: PushCause) -> At | None:
    """A session ends, or is somebody's alone from now on: nobody else listens where it is paid for."""
    if known is None or known.session_id != event.session_id or not known.active:
        return None
    if event.active and (not event.exclusive_to or event.exclusive_to == known.exclusive_to):
        return None
    keep = (event.streamer_id, *(event.exclusive_to if event.active else ()))
    return _soon(CutDue(event_id=cause.event_id, streamer_id=event.streamer_id, keep=keep), cause)


def due(timer: CutDue, now: datetime) -> Call:
    """The call, in order with others of the same people."""
    effect: Cut | CutWatchers
    if timer.user_id is not None:
        effect = Cut(user_id=timer.user_id)
    else:
        effect = CutWatchers(streamer_id=timer.streamer_id or "", keep=timer.keep)
    id_ = derived_id(effect.NAME, timer.event_id, _of(timer))
    return Call(effect, id=id_, key=f"cut:{_of(timer)}", not_after=now + LIVE)


def _leaves_something(event: SessionViewerRevokedV1, now: datetime) -> bool:
    remaining = event.remaining
    return remaining.ticket or remaining.private or (remaining.exp is not None and remaining.exp > now)


def _soon(timer: CutDue, cause: PushCause) -> At | None:
    """What happened a day ago cuts nobody."""
    if cause.is_history:
        return None
    of = _of(timer)
    return At(timer, id=derived_id(timer.NAME, cause.event_id, of), due=cause.now + GRACE, key=of)


def _of(timer: CutDue) -> str:
    return timer.user_id or timer.streamer_id or ""
