"""Who may listen to paid channels and to a streamer's: the notifier's own projection of what sessions tells."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts import (
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)

LEEWAY = timedelta(seconds=5)  # for `nbf`: it is another service's now, and clocks differ (SPEC §4)

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
    funding_goal_id: str | None = None
    show_goal_id: str | None = None
    """The last show of the session: its funding, and itself once it was added."""


@dataclass(frozen=True, slots=True)
class Permit:
    """What a viewer may watch in one session: paid time, a show, or all of it after a kept private goal."""

    id: str
    told: datetime
    nbf: datetime | None = None
    exp: datetime | None = None
    private: bool = False
    ticket_goal: str | None = None
    """The funding goal that a ticket stands for: the latest one that the viewer bought any for."""

    @property
    def viewer_id(self) -> str:
        """Whose it is: the second half of `pair_id`."""
        return self.id.partition(":")[2]


def pair_id(one: str, other: str) -> str:
    """The id of what stands between two: a streamer and a viewer, or a session and a viewer."""
    return f"{one}:{other}"


def broadcast(known: Broadcast | None, event: SessionState) -> Broadcast:
    """The streamer's latest session after `event`; sessions of one streamer are told of in any order."""
    if known and known.session_id == event.session_id:
        return replace(known, active=event.active, exclusive_to=event.exclusive_to)
    created = event.statuses.created
    if known and known.created > created:
        return known
    return Broadcast(event.streamer_id, event.session_id, created, event.active, event.exclusive_to)


def show_added(known: Broadcast | None, event: SessionGoalAddedV1) -> Broadcast | None:
    """The broadcast after a goal was added to a session: a funding begins its last show, a show joins its funding."""
    if known is None or known.session_id != event.session_id:
        return known
    if event.kind == "ShowFundingGoal":
        return replace(known, funding_goal_id=event.goal_id, show_goal_id=None)
    if event.kind == "ShowGoal" and event.context.funding_goal_id == known.funding_goal_id:
        return replace(known, show_goal_id=event.goal_id)
    return known


def authorized(known: Permit | None, event: SessionViewerAuthorizedV1, at: datetime) -> Permit:
    """The permit after a viewer was given something."""
    permit = replace(known, told=at) if known else Permit(pair_id(event.session_id, event.viewer_id), at)
    if event.reason == "private":
        return replace(permit, private=True)
    if event.reason == "ticket":
        return replace(permit, ticket_goal=event.goal_id)
    if event.nbf is None or event.exp is None:
        return permit
    return replace(permit, nbf=event.nbf, exp=event.exp)


def revoked(known: Permit | None, event: SessionViewerRevokedV1, at: datetime) -> Permit:
    """The permit after something was taken back: what remains. Only for which show a ticket is, was known before."""
    remaining = event.remaining
    id_ = pair_id(event.session_id, event.viewer_id)
    ticket_goal = known.ticket_goal if known and remaining.ticket else None
    return Permit(id_, at, remaining.nbf, remaining.exp, remaining.private, ticket_goal)


def opens_show(broadcast: Broadcast | None, funding_goal_id: str | None, *, show_ended: bool) -> bool:
    """Whether a ticket for this funding opens something now: the last show, while it is on (SPEC §4)."""
    if broadcast is None or broadcast.show_goal_id is None or show_ended:
        return False
    return broadcast.active and funding_goal_id is not None and funding_goal_id == broadcast.funding_goal_id


def may_watch_paid(
    broadcast: Broadcast | None, permit: Permit | None, viewer_id: str, now: datetime, *, show_ended: bool
) -> bool:
    """Whether a viewer is entitled to paid streaming of this streamer now (SPEC §4, the token's rules).

    `show_ended`: whether the broadcast's last show is over, with which its tickets end.
    """
    if broadcast is None or not broadcast.active:
        return False
    if viewer_id == broadcast.id:
        return True
    if permit is None or (broadcast.exclusive_to and viewer_id not in broadcast.exclusive_to):
        return False
    paid = permit.nbf is not None and permit.exp is not None and permit.nbf - LEEWAY <= now < permit.exp
    return paid or permit.private or opens_show(broadcast, permit.ticket_goal, show_ended=show_ended)
