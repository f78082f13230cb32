"""What handlers load: one document or a few, as what they are for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from chassis.storage.tx import Tx
from contracts import (
    GoalCreatedV1,
    GoalEndedV1,
    Preset,
    Prices,
)
from sessions.domain.blocks import block_id
from sessions.domain.ending import Ending
from sessions.domain.exclusive import Exclusive, Invitation
from sessions.domain.karaoke import KaraokeGoal
from sessions.domain.passes import pass_ids
from sessions.domain.payments import Payment, PaymentNotFound
from sessions.domain.private import SLICE_MAX, Contributor, PrivateGoal, contributor_id
from sessions.domain.session import Session, SessionNotFound
from sessions.domain.show import ShowGoal
from sessions.domain.viewer import Viewer, holder_id
from sessions.domain.watching import Watcher
from sessions.store import (
    BLOCKS,
    CONTRIBUTORS,
    EXCLUSIVES,
    HEAD_COUNTS,
    INVITATIONS,
    KARAOKE_GOALS,
    PASSES,
    PAYMENTS,
    PRIVATE_GOALS,
    SESSIONS,
    SHOW_GOALS,
    VIEWERS,
    holders,
)

_LISTED = ("streamer_id", "title", "active", "preset", "prices", "created", "ended", "exp")


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list shows of a session."""

    id: str
    streamer_id: str
    active: bool
    preset: Preset
    prices: Prices
    created: datetime
    exclusive: bool
    title: str | None = None
    ended: datetime | None = None
    exp: datetime | None = None


_LISTED_ADAPTER = TypeAdapter(Listed)


async def session(tx: Tx, session_id: str) -> Session:
    """The session that an event belongs to.

    Raises:
        SessionNotFound: no session of ours, so no event of it can mean anything.
    """
    known = await tx.get(SESSIONS, session_id)
    if known is None:
        raise SessionNotFound
    return known


async def watcher(tx: Tx, session_id: str, user_id: str) -> Watcher:
    """Somebody who wants to watch a session, with all that decides whether and what.

    Raises:
        SessionNotFound: there is no such session.
    """
    watched = await session(tx, session_id)
    viewer = await holders.viewer(tx, session_id, user_id)
    blocked = await tx.get(BLOCKS, block_id(watched.streamer_id, user_id)) is not None
    passes = await tx.get_many(PASSES, pass_ids(user_id, watched.streamer_id))
    return Watcher(user_id, watched, viewer, blocked, tuple(passes.values()))


async def session_in_room(tx: Tx, room_id: str) -> Session | None:
    """The one active session whose room this is."""
    return await tx.find_one(SESSIONS, {"active": True, "sources.room_id": room_id})


async def listed(tx: Tx, session_ids: Sequence[str]) -> dict[str, Listed]:
    """What a list shows of these sessions, by id: their goals and pairs are not even read."""
    fields: list[Any] = [
        {"$match": {"_id": {"$in": list(session_ids)}}},
        {"$project": dict.fromkeys(_LISTED, 1) | {"exclusive": {"$gt": [{"$size": "$exclusive_to"}, 0]}}},
    ]
    rows = await tx.aggregate(SESSIONS, fields) if session_ids else []
    return {row["_id"]: _LISTED_ADAPTER.validate_python({"id": row.pop("_id"), **row}) for row in rows}


async def running_session(tx: Tx, streamer_id: str) -> Session | None:
    """The one active session of a streamer."""
    return await tx.find_one(SESSIONS, {"streamer_id": streamer_id, "active": True})


async def invitation(tx: Tx, goal_id: str, session_id: str, viewer_id: str | None) -> Invitation:
    """What is known of an invitation, so far perhaps nothing.

    Raises:
        ValueError: it is nobody's, which no invitation is.
    """
    if viewer_id is None:
        raise ValueError(f"the invitation {goal_id} names no viewer")
    return await tx.get(INVITATIONS, goal_id) or Invitation(goal_id, session_id, viewer_id)


async def exclusive(tx: Tx, event: GoalCreatedV1 | GoalEndedV1) -> tuple[Exclusive, Invitation]:
    """What is known of an exclusive, and of the invitation it came from.

    Raises:
        ValueError: it came from none, which no exclusive does.
    """
    invitation_id = event.context.trigger_exclusive_goal_id
    if invitation_id is None:
        raise ValueError(f"the exclusive {event.goal_id} names no invitation")
    known = await tx.get(EXCLUSIVES, event.goal_id) or Exclusive(event.goal_id, event.session_id, invitation_id)
    return known, await invitation(tx, invitation_id, event.session_id, event.conditions.exclusive_to)


async def payment(tx: Tx, payment_id: str) -> Payment:
    """A payment that was asked for here.

    Raises:
        PaymentNotFound: none was.
    """
    known = await tx.get(PAYMENTS, payment_id)
    if known is None:
        raise PaymentNotFound
    return known


async def show_goal(tx: Tx, event: GoalCreatedV1 | GoalEndedV1) -> ShowGoal:
    """What is known of a funding or a show, so far perhaps nothing.

    Raises:
        ValueError: it is of no funding, which no show is.
    """
    funding_goal_id = event.goal_id if event.kind == "ShowFundingGoal" else event.context.funding_goal_id
    if funding_goal_id is None:
        raise ValueError(f"the show {event.goal_id} names no funding")
    return await tx.get(SHOW_GOALS, event.goal_id) or ShowGoal(event.goal_id, event.session_id, funding_goal_id)


async def karaoke_goal(tx: Tx, goal_id: str, session_id: str) -> KaraokeGoal:
    """What is known of a karaoke goal, so far perhaps nothing."""
    return await tx.get(KARAOKE_GOALS, goal_id) or KaraokeGoal(goal_id, session_id)


async def private_goal(tx: Tx, goal_id: str, session_id: str) -> PrivateGoal:
    """What is known of a private goal, so far perhaps nothing."""
    return await tx.get(PRIVATE_GOALS, goal_id) or PrivateGoal(goal_id, session_id)


async def contributor(tx: Tx, goal_id: str, session_id: str, viewer_id: str) -> Contributor:
    """A viewer's part in a private goal, so far perhaps none."""
    id_ = contributor_id(goal_id, viewer_id)
    return await tx.get(CONTRIBUTORS, id_) or Contributor(id_, goal_id, session_id, viewer_id)


async def contributors_after(tx: Tx, goal: PrivateGoal, after: str) -> list[tuple[Contributor, Viewer]]:
    """The next slice of a private goal's contributors, as they are viewers."""
    where = {"goal_id": goal.id, "_id": {"$gt": after}}
    found = await tx.find(CONTRIBUTORS, where, sort={"_id": 1}, limit=SLICE_MAX)
    await tx.prefetch(VIEWERS.ref(holder_id(one.session_id, one.viewer_id)) for one in found)
    return [(one, await holders.viewer(tx, one.session_id, one.viewer_id)) for one in found]


async def unjudged_private_goals(tx: Tx, session_id: str) -> tuple[PrivateGoal, ...]:
    """A slice of the completed private goals of a session of which is not said yet whether they were kept."""
    where = {"session_id": session_id, "state": {"$in": ["giving", "judging"]}}
    return tuple(await tx.find(PRIVATE_GOALS, where, limit=SLICE_MAX))


async def ending(tx: Tx, session: Session, at: datetime, step_seconds: int) -> Ending:
    """A session with what its end at that moment concerns."""
    head_count = await tx.get(HEAD_COUNTS, session.id)
    has_minutes = await holders.has_minutes_left(tx, session.id, at + timedelta(seconds=step_seconds))
    return Ending(session, head_count, await unjudged_private_goals(tx, session.id), has_minutes)
