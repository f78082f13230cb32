"""Who is cut off in a room: a token that was given cannot be recalled, but its holder can be put out (SPEC §7).

The vendor tells who enters and leaves. Who enters with an old token while they may not is put out at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis.decision import At, Call, Effect, Timer, derived_id
from contracts import SessionViewerRevokedV1
from rtc_control.domain.broadcast import Broadcast

SLICE = 100  # people put out in one transaction
LOOKED_AGAIN = timedelta(seconds=5)  # a transaction that has not seen the session turn exclusive lives so long
TOKEN_MAX = timedelta(seconds=120)  # then a token is over, and the vendor puts its holder out (SPEC §4)


class CutDue(Timer, name="cut-due"):
    """Who is in the rooms of a session and may not be is put out: those `after` this one."""

    session_id: str
    after: str = ""
    again: bool = False


class CutOff(Effect, name="cut-off"):
    """Put one user out of one room; `kept_out`: for a while."""

    room_id: str
    user_id: str
    kept_out: bool = True


@dataclass(frozen=True, slots=True)
class Occupant:
    """Whether somebody is in a room, as the vendor told last; `at` is when that was so."""

    id: str
    room_id: str
    user_id: str
    at: datetime
    present: bool


def occupant_id(room_id: str, user_id: str) -> str:
    """The id of what is known of somebody in a room."""
    return f"{room_id}:{user_id}"


def moved(known: Occupant | None, room_id: str, user_id: str, at: datetime, *, present: bool) -> Occupant | None:
    """Somebody came or went; None: what is known is newer. In one millisecond, whoever came has gone."""
    if known is not None and (known.at > at or (known.at == at and not known.present)):
        return None
    return Occupant(occupant_id(room_id, user_id), room_id, user_id, at, present)


def may_enter(broadcast: Broadcast, user_id: str) -> bool:
    """Whether somebody who has a token may be in the rooms of a session."""
    if broadcast.ended is not None:
        return False
    return not broadcast.exclusive_to or user_id in (broadcast.streamer_id, *broadcast.exclusive_to)


def shut(before: Broadcast | None, after: Broadcast, now: datetime) -> At | None:
    """When a session turns exclusive or ends, the others are put out."""
    was = (before.ended is not None, before.exclusive_to) if before else (False, ())
    if was == (after.ended is not None, after.exclusive_to) or (after.ended is None and not after.exclusive_to):
        return None
    return _cut(CutDue(session_id=after.id), now)


def next_slice(done: CutDue, after: str, now: datetime) -> At:
    """Go on behind the last one put out."""
    return _cut(done.model_copy(update={"after": after}), now)


def look_again(done: CutDue, broadcast: Broadcast, now: datetime) -> At | None:
    """When to look once more at who is with two people who are alone: somebody may have entered as it was decided."""
    if done.again or not broadcast.exclusive_to:
        return None
    return _cut(CutDue(session_id=broadcast.id, again=True), now + LOOKED_AGAIN)


def put_out(broadcast: Broadcast, occupants: Iterable[Occupant], happened: datetime) -> tuple[Call, ...]:
    """Calls for those of `occupants` who may not be there. After their tokens' life nobody needs to be put out.

    Of a session that is over nobody is kept out: its streamer may begin the next one at once, in the same room.
    """
    others = [one for one in occupants if one.present and not may_enter(broadcast, one.user_id)]
    kept_out = broadcast.ended is None
    return tuple(_call(one.room_id, one.user_id, happened, kept_out=kept_out) for one in others)


def revoked(broadcast: Broadcast, event: SessionViewerRevokedV1, happened: datetime) -> tuple[Call, ...]:
    """Who has nothing left leaves the paid rooms; a pass of theirs gets them a new token.

    Of a session that is over all have left, and its rooms may be another's by now.
    """
    left = event.remaining
    if broadcast.ended is not None or left.ticket or left.private or (left.exp is not None and left.exp > happened):
        return ()
    paid = (source.room_id for source in broadcast.sources if source.paid)
    return tuple(_call(room_id, event.viewer_id, happened) for room_id in paid)


def _cut(timer: CutDue, due: datetime) -> At:
    return At(timer, id=derived_id(CutDue.NAME, timer.session_id), due=due, key=timer.session_id)


def _call(room_id: str, user_id: str, happened: datetime, *, kept_out: bool = True) -> Call:
    call, of = CutOff(room_id=room_id, user_id=user_id, kept_out=kept_out), occupant_id(room_id, user_id)
    return Call(call, id=f"cut:{of}", key=f"cut:{of}", not_after=happened + TOKEN_MAX)
