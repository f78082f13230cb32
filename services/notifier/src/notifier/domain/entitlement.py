"""Who may listen to paid channels and to a streamer's: the notifier's own projection of what sessions tells."""

from dataclasses import dataclass, replace
from datetime import datetime

from contracts import (
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)

SessionState = SessionStartedV1 | SessionUpdatedV1 | SessionEndedV1


@dataclass(frozen=True, slots=True)
class Block:
    """A streamer blocks a viewer."""

    id: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The latest session of a streamer, whose id this has."""

    id: str
    session_id: str
    created: datetime
    active: bool
    exclusive_to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Permit:
    """What a viewer may watch in one session: paid time, or all of it after a kept private goal."""

    id: str
    told: datetime
    nbf: datetime | None = None
    exp: datetime | None = None
    private: bool = False


def pair_id(one: str, other: str) -> str:
    """The id of what stands between two: a streamer and a viewer, or a session and a viewer."""
    return f"{one}:{other}"


def broadcast(known: Broadcast | None, event: SessionState) -> Broadcast:
    """The streamer's latest session after `event`; sessions of one streamer are told of in any order."""
    if known and known.session_id != event.session_id and known.created > event.statuses.created:
        return known
    created = event.statuses.created
    return Broadcast(event.streamer_id, event.session_id, created, event.active, event.exclusive_to)


def authorized(known: Permit | None, event: SessionViewerAuthorizedV1, at: datetime) -> Permit:
    """The permit after a viewer was given something. Tickets are not looked at here: their channel is preview."""
    permit = replace(known, told=at) if known else Permit(pair_id(event.session_id, event.viewer_id), at)
    if event.reason == "private":
        return replace(permit, private=True)
    if event.nbf is None or event.exp is None:
        return permit
    return replace(permit, nbf=event.nbf, exp=event.exp)


def revoked(event: SessionViewerRevokedV1, at: datetime) -> Permit:
    """The permit after something was taken back: what remains, whatever was known."""
    remaining = event.remaining
    id_ = pair_id(event.session_id, event.viewer_id)
    return Permit(id_, at, remaining.nbf, remaining.exp, remaining.private)


def may_watch_paid(broadcast: Broadcast | None, permit: Permit | None, viewer_id: str, now: datetime) -> bool:
    """Whether a viewer is entitled to paid streaming of this streamer now (SPEC §4, the token's rules)."""
    if broadcast is None or not broadcast.active:
        return False
    if viewer_id == broadcast.id:
        return True
    if permit is None or (broadcast.exclusive_to and viewer_id not in broadcast.exclusive_to):
        return False
    paid = permit.nbf is not None and permit.exp is not None and permit.nbf <= now < permit.exp
    return permit.private or paid
