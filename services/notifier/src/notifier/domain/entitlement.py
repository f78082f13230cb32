"""Who may listen to paid channels and to a streamer's: the notifier's own projection of what sessions tells."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts import (
    PassActivatedV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)

EVERYWHERE = "livestream_pass"  # the kind of the pass for every streamer
LEEWAY = timedelta(seconds=5)  # for `nbf`: it is another service's now, and clocks differ (SPEC §4)

SessionState = SessionStartedV1 | SessionUpdatedV1 | SessionEndedV1


@dataclass(frozen=True, slots=True)
class Block:
    """A streamer blocks a viewer."""

    id: str


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The latest session of a streamer, whose id this has: as sessions tells of it, nothing is worked out here."""

    id: str
    session_id: str
    created: datetime
    active: bool
    exclusive_to: tuple[str, ...]
    exp: datetime | None = None
    """When it is over, whether or not that is told."""
    ticket_goal_id: str | None = None
    """The funding whose tickets let watch, from `ticket_nbf` to `ticket_exp`; None: no ticket does."""
    ticket_nbf: datetime | None = None
    ticket_exp: datetime | None = None
    room_id: str | None = None
    """Where paid streaming is seen: the room of the newest source for it."""
    revision: int = 0
    """Rises with all that is told of the session: what was made under another one is made anew."""

    def is_on(self, now: datetime) -> bool:
        """Whether it is on air."""
        return self.active and (self.exp is None or now < self.exp)

    def opens_shows_after(self, now: datetime) -> bool:
        """Whether tickets let watch, now or later."""
        return self.ticket_goal_id is not None and (self.ticket_exp is None or now < self.ticket_exp)


@dataclass(frozen=True, slots=True)
class Permit:
    """What a viewer may watch in one session: paid time, a show, or all of it after a kept private goal."""

    id: str
    updated_at: datetime
    nbf: datetime | None = None
    exp: datetime | None = None
    private: bool = False
    ticket_goal: str | None = None
    """The funding goal that a ticket stands for: the latest one that the viewer bought any for."""
    over_at: datetime | None = None
    """The whole second at which `exp` has come: all whose time ends in one are found by it. None: from before it was
    kept, or without an `exp`.
    """

    @property
    def viewer_id(self) -> str:
        """Whose it is: the second half of `pair_id`."""
        return self.id.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Pass:
    """A user's activated pass of one kind. `told` is when the shop said so."""

    id: str
    nbf: datetime
    exp: datetime
    told: datetime
    over_at: datetime | None = None
    """The whole second at which `exp` has come; None: from before it was kept."""


@dataclass(frozen=True, slots=True)
class Watcher:
    """A user who wants to watch what a streamer has on air, with all that decides it."""

    user_id: str
    broadcast: Broadcast
    permit: Permit | None = None
    passes: tuple[Pass, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """Paid streaming may be watched until then; None: for as long as the session is on."""

    until: datetime | None


def pass_id(user_id: str, pass_kind: str) -> str:
    """The id of a user's pass of this kind, whether there is one or not."""
    return f"{user_id}:{pass_kind}"


def pass_ids(user_id: str, streamer_id: str) -> tuple[str, str]:
    """The ids of the passes by which a user may watch this streamer."""
    return pass_id(user_id, EVERYWHERE), pass_id(user_id, f"{EVERYWHERE}_{streamer_id}")


def pair_id(one: str, other: str) -> str:
    """The id of what stands between two: a streamer and a viewer, or a session and a viewer."""
    return f"{one}:{other}"


def broadcast(known: Broadcast | None, event: SessionState) -> Broadcast:
    """The streamer's latest session after `event`; sessions of one streamer are told of in any order."""
    created = event.statuses.created
    if known and known.session_id != event.session_id and known.created > created:
        return known
    of_preset = (one.room_id for one in reversed(event.sources) if (one.preset or event.preset) == "sd")
    return Broadcast(
        id=event.streamer_id,
        session_id=event.session_id,
        created=known.created if known and known.session_id == event.session_id else created,
        active=event.active,
        exclusive_to=event.exclusive_to,
        exp=event.exp,
        ticket_goal_id=event.ticket_goal_id,
        ticket_nbf=event.ticket_nbf,
        ticket_exp=event.ticket_exp,
        room_id=next(of_preset, None),
        revision=known.revision + 1 if known else 0,
    )


def touched(known: Broadcast | None, session_id: str) -> Broadcast | None:
    """The streamer's latest session after something else was told of it; None if that was another session."""
    if known is None or known.session_id != session_id:
        return None
    return replace(known, revision=known.revision + 1)


def authorized(known: Permit | None, event: SessionViewerAuthorizedV1, at: datetime) -> Permit:
    """The permit after a viewer was given something."""
    permit = replace(known, updated_at=at) if known else Permit(pair_id(event.session_id, event.viewer_id), at)
    if event.reason == "private":
        return replace(permit, private=True)
    if event.reason == "ticket":
        return replace(permit, ticket_goal=event.goal_id)
    if event.nbf is None or event.exp is None:
        return permit
    return replace(permit, nbf=event.nbf, exp=event.exp, over_at=_second_of(event.exp))


def revoked(known: Permit | None, event: SessionViewerRevokedV1, at: datetime) -> Permit:
    """The permit after something was taken back: what remains. Only for which show a ticket is, was known before."""
    remaining = event.remaining
    id_ = pair_id(event.session_id, event.viewer_id)
    ticket_goal = known.ticket_goal if known and remaining.ticket else None
    over_at = None if remaining.exp is None else _second_of(remaining.exp)
    return Permit(id_, at, remaining.nbf, remaining.exp, remaining.private, ticket_goal, over_at)


def activated(known: Pass | None, event: PassActivatedV1, told: datetime) -> Pass | None:
    """The pass has this time now; None: what was told before the last word changes nothing."""
    if known is not None and known.told > told:
        return None
    return Pass(pass_id(event.user_id, event.pass_kind), event.nbf, event.exp, told, _second_of(event.exp))


def opens_show(broadcast: Broadcast | None, funding_goal_id: str | None, now: datetime) -> bool:
    """Whether a ticket for this funding opens something now."""
    if broadcast is None or not broadcast.is_on(now) or funding_goal_id is None:
        return False
    times = (broadcast.ticket_nbf, broadcast.ticket_exp)
    return funding_goal_id == broadcast.ticket_goal_id and _is_within(*times, now)


# -- who may watch paid streaming: the token's rules (SPEC §4), the first that grants ----------------------------------


def _streamer(watcher: Watcher, _now: datetime) -> Grant | None:
    return Grant(None) if watcher.user_id == watcher.broadcast.id else None


def _ticket(watcher: Watcher, now: datetime) -> Grant | None:
    permit, broadcast = watcher.permit, watcher.broadcast
    if permit is None or not opens_show(broadcast, permit.ticket_goal, now):
        return None
    return Grant(broadcast.ticket_exp)


def _private(watcher: Watcher, _now: datetime) -> Grant | None:
    return Grant(None) if watcher.permit is not None and watcher.permit.private else None


def _paid(watcher: Watcher, now: datetime) -> Grant | None:
    permit = watcher.permit
    if permit is None or permit.nbf is None or permit.exp is None or not _is_within(permit.nbf, permit.exp, now):
        return None
    return Grant(permit.exp)


def _pass(watcher: Watcher, now: datetime) -> Grant | None:
    running = [one.exp for one in watcher.passes if _is_within(one.nbf, one.exp, now)]
    return Grant(max(running)) if running else None


RULES: tuple[Callable[[Watcher, datetime], Grant | None], ...] = (_streamer, _ticket, _private, _paid, _pass)


def may_watch_paid(watcher: Watcher, now: datetime) -> Grant | None:
    """By what a user may watch paid streaming of this streamer now, and until when; None: they may not."""
    broadcast, user_id = watcher.broadcast, watcher.user_id
    if not broadcast.is_on(now):
        return None
    if broadcast.exclusive_to and user_id not in (broadcast.id, *broadcast.exclusive_to):
        return None
    granted = next((grant for rule in RULES if (grant := rule(watcher, now)) is not None), None)
    if granted is None or broadcast.exp is None:
        return granted
    return Grant(broadcast.exp if granted.until is None else min(granted.until, broadcast.exp))


def _is_within(nbf: datetime | None, exp: datetime | None, now: datetime) -> bool:
    return (nbf is None or nbf - LEEWAY <= now) and (exp is None or now < exp)


def _second_of(exp: datetime) -> datetime:
    """The first whole second at which it has come."""
    whole = exp.replace(microsecond=0)
    return whole if whole == exp else whole + timedelta(seconds=1)
