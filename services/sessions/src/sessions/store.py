"""The collections of sessions, what handlers load from them, and how a decision is saved."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from chassis.collection import Collection, Index, Ref
from chassis.tx import Tx
from contracts import (
    EscrowFailedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalExtendedV1,
    GoalExtensionRejectedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    PaymentFailedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
    PresenceCountedV1,
    Preset,
    Prices,
)
from contracts.escrow_ids import parse_escrow_id
from sessions.domain import minutes
from sessions.domain.blocks import Block, block_id
from sessions.domain.changes import Changes
from sessions.domain.ending import Ending
from sessions.domain.exclusive import Exclusive, Invitation, extension_id
from sessions.domain.grants import Grant, Holder, refolded
from sessions.domain.karaoke import KaraokeGoal
from sessions.domain.minutes import MinutesLeft
from sessions.domain.payments import Payment, PaymentNotFound
from sessions.domain.private import SLICE_MAX, Contribution, Contributor, PrivateGoal, contributor_id
from sessions.domain.session import HeadCount, Session, SessionNotFound
from sessions.domain.show import ShowGoal, Ticket
from sessions.domain.viewer import Permission, Viewer, holder_id

SESSIONS = Collection(
    "sessions",
    Session,
    indexes=(
        Index({"streamer_id": 1}, unique=True, where={"active": True}),
        Index(
            {"sources.room_id": 1}, unique=True, where={"active": True, "sources.room_id": {"$exists": True}}
        ),  # a room belongs to one active session
    ),
)
HEAD_COUNTS = Collection("head_counts", HeadCount, indexes=(Index({"active": 1, "rank": 1, "_id": 1}),))
INVITATIONS = Collection("invitations", Invitation)
EXCLUSIVES = Collection("exclusives", Exclusive)
VIEWERS = Collection(
    "viewers",
    Viewer,
    indexes=(Index({"session_id": 1, "_id": 1}), Index({"session_id": 1, "exp": 1})),
)
GRANTS = Collection(
    "grants",
    Grant,
    indexes=(
        Index({"session_id": 1, "viewer_id": 1, "nbf": 1, "_id": 1}, where={"stands": True}),
        Index({"trigger_exclusive_goal_id": 1}, where={"stands": True}),
    ),
)
PAYMENTS = Collection("payments", Payment)
SHOW_GOALS = Collection("show_goals", ShowGoal)
TICKETS = Collection("tickets", Ticket)
PRIVATE_GOALS = Collection("private_goals", PrivateGoal, indexes=(Index({"session_id": 1, "state": 1}),))
CONTRIBUTORS = Collection("contributors", Contributor, indexes=(Index({"goal_id": 1, "_id": 1}),))
CONTRIBUTIONS = Collection("contributions", Contribution)
KARAOKE_GOALS = Collection("karaoke_goals", KaraokeGoal)
BLOCKS = Collection("blocks", Block)

GRANTS_PAGE = 50

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

COLLECTIONS: tuple[Collection[Any], ...] = (
    SESSIONS, HEAD_COUNTS, BLOCKS,
    VIEWERS, GRANTS, PAYMENTS,
    INVITATIONS, EXCLUSIVES,
    SHOW_GOALS, TICKETS,
    PRIVATE_GOALS, CONTRIBUTORS, CONTRIBUTIONS,
    KARAOKE_GOALS,
)  # fmt: skip
_COLLECTION_OF = {collection.document: collection for collection in COLLECTIONS}


def save(tx: Tx, changes: Changes) -> None:
    """Save every document that a decision changed, and what follows from it."""
    for document in changes.state or ():
        tx.put(_COLLECTION_OF[type(document)], document)
    tx.follow(changes)


async def session(tx: Tx, session_id: str) -> Session:
    """The session that an event belongs to.

    Raises:
        SessionNotFound: no session of ours, so no event of it can mean anything.
    """
    known = await tx.get(SESSIONS, session_id)
    if known is None:
        raise SessionNotFound
    return known


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


async def holder(tx: Tx, session_id: str, viewer_id: str, cause_id: str, nbf: datetime) -> Holder:
    """A viewer with the grant of a cause, if it gave one, and those from its nbf on; of a new one, from `nbf` on.

    Whoever changes a grant saves the viewer, so two never pass unseen. Nearly always nothing is later.
    """
    known = await tx.get(GRANTS, cause_id)
    return await _holder(tx, await placed_viewer(tx, session_id, viewer_id), known.nbf if known else nbf, known)


async def holder_of(tx: Tx, invitation: Invitation) -> tuple[Holder, list[Grant]]:
    """The viewer of an invitation, and what stands of the grants that go with its money, with all that are later."""
    given = await tx.find(GRANTS, {"trigger_exclusive_goal_id": invitation.id, "stands": True})
    viewer = await placed_viewer(tx, invitation.session_id, invitation.viewer_id)
    if not given:
        return Holder(viewer), []
    return await _holder(tx, viewer, min(grant.nbf for grant in given), None), given


async def _holder(tx: Tx, viewer: Viewer, nbf: datetime, known: Grant | None) -> Holder:
    if viewer.latest is None or nbf > viewer.latest[0]:
        return Holder(viewer, (), known)
    later = await tx.find(GRANTS, _standing(viewer) | {"nbf": {"$gte": nbf}}, sort={"nbf": 1, "_id": 1})
    return Holder(viewer, tuple(later), known)


async def placed_viewer(tx: Tx, session_id: str, viewer_id: str) -> Viewer:
    """A viewer whose grants keep their places; one from before they did is folded anew, once."""
    known = await viewer(tx, session_id, viewer_id)
    if known.nbf is None or known.latest is not None:
        return known
    grants = await tx.find(GRANTS, _standing(known), sort={"nbf": 1, "_id": 1})
    placed, following = refolded(known, Permission(), grants)
    for grant in following:
        tx.put(GRANTS, grant)
    tx.put(VIEWERS, placed)
    return placed


async def pay_back(tx: Tx, session: Session, left: MinutesLeft, viewers: Iterable[Viewer], step_seconds: int) -> None:
    """Pay these viewers back what they paid for and cannot watch."""
    holders = [await _given_to(tx, left, viewer) for viewer in viewers if viewer.viewer_id != left.exclusive_to]
    plans = [minutes.to_pay_back(left, holder.later, step_seconds) for holder in holders]
    payments = await tx.get_many(PAYMENTS, (payment_id for plan in plans for payment_id in plan))
    for holder, plan in zip(holders, plans, strict=True):
        save(tx, minutes.pay_back(session, left, holder, plan, [payments[payment_id] for payment_id in plan]))


async def _given_to(tx: Tx, left: MinutesLeft, viewer: Viewer) -> Holder:
    """A viewer with the latest of the grants that stand, in order: as many as minutes can have to be taken back of."""
    placed = await placed_viewer(tx, viewer.session_id, viewer.viewer_id)
    found: list[Grant] = []
    while True:
        earlier: dict[str, Any] = {}
        if found:
            nbf, id_ = found[0].place
            earlier = {"$or": [{"nbf": {"$lt": nbf}}, {"nbf": nbf, "_id": {"$lt": id_}}]}
        page = await tx.find(GRANTS, _standing(placed) | earlier, sort={"nbf": -1, "_id": -1}, limit=GRANTS_PAGE)
        found[:0] = reversed(page)
        if len(page) < GRANTS_PAGE or minutes.suffices(left, found):
            return Holder(placed, tuple(found))


def _standing(viewer: Viewer) -> dict[str, Any]:
    return {"session_id": viewer.session_id, "viewer_id": viewer.viewer_id, "stands": True}


async def has_minutes_left(tx: Tx, session_id: str, until: datetime, exclusive_to: str | None = None) -> bool:
    """Whether a viewer other than `exclusive_to` has time until then or longer."""
    some = await tx.find(VIEWERS, {"session_id": session_id, "exp": {"$gte": until}}, limit=2)
    return any(one.viewer_id != exclusive_to for one in some)


async def viewers_with_minutes(tx: Tx, left: MinutesLeft, step_seconds: int) -> list[Viewer]:
    """The next slice of viewers with a step or more that has not begun."""
    until = left.at + timedelta(seconds=step_seconds)
    where = {"session_id": left.session_id, "_id": {"$gt": left.after}, "exp": {"$gte": until}}
    return await tx.find(VIEWERS, where, sort={"_id": 1}, limit=minutes.SLICE_MAX)


async def payment(tx: Tx, payment_id: str) -> Payment:
    """A payment that was asked for here.

    Raises:
        PaymentNotFound: none was.
    """
    known = await tx.get(PAYMENTS, payment_id)
    if known is None:
        raise PaymentNotFound
    return known


async def viewer(tx: Tx, session_id: str, viewer_id: str) -> Viewer:
    """What a viewer has in a session, so far perhaps nothing."""
    id_ = holder_id(session_id, viewer_id)
    return await tx.get(VIEWERS, id_) or Viewer(id_, session_id, viewer_id)


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
    return [(one, await viewer(tx, one.session_id, one.viewer_id)) for one in found]


async def unjudged_private_goals(tx: Tx, session_id: str) -> tuple[PrivateGoal, ...]:
    """A slice of the completed private goals of a session of which is not said yet whether they were kept."""
    where = {"session_id": session_id, "state": {"$in": ["giving", "judging"]}}
    return tuple(await tx.find(PRIVATE_GOALS, where, limit=SLICE_MAX))


async def ending(tx: Tx, session: Session, at: datetime, step_seconds: int) -> Ending:
    """A session with what its end at that moment concerns."""
    head_count = await tx.get(HEAD_COUNTS, session.id)
    has_minutes = await has_minutes_left(tx, session.id, at + timedelta(seconds=step_seconds))
    return Ending(session, head_count, await unjudged_private_goals(tx, session.id), has_minutes)


# -- what handlers need, so that a batch loads it with one query per collection --------------------------------


def exclusive_of(event: GoalCreatedV1 | GoalEndedV1) -> Iterator[Ref]:
    """An event of a 1-on-1: its session, invitation, exclusive and viewer. Of any other goal: nothing."""
    viewer_id = event.conditions.exclusive_to
    if event.kind not in ("TriggerExclusiveGoal", "ExclusiveGoal") or viewer_id is None:
        return
    yield SESSIONS.ref(event.session_id)
    if event.kind == "TriggerExclusiveGoal":
        yield INVITATIONS.ref(event.goal_id)
        yield VIEWERS.ref(holder_id(event.session_id, viewer_id))
        yield GRANTS.ref(event.goal_id)
    else:
        yield EXCLUSIVES.ref(event.goal_id)
        yield INVITATIONS.ref(event.context.trigger_exclusive_goal_id or event.goal_id)


def extension_of(event: GoalExtendedV1) -> Iterator[Ref]:
    """An extension: its session, exclusive and viewer, unless a payment has given it."""
    if event.payment_id is None:
        yield SESSIONS.ref(event.session_id)
        yield EXCLUSIVES.ref(event.goal_id)
        yield GRANTS.ref(extension_id(event))
        yield from (VIEWERS.ref(holder_id(event.session_id, viewer_id)) for viewer_id in event.viewers)


def lapsed_session_of(event: GoalLapsedV1) -> Iterator[Ref]:
    """A lapsed invitation: its session."""
    if event.kind == "TriggerExclusiveGoal":
        yield SESSIONS.ref(event.session_id)


def refunded_of(event: EscrowFailedV1) -> Iterator[Ref]:
    """The refund of an invitation: that, its session and its viewer."""
    if parse_escrow_id(event.escrow_id).kind == "trigger_exclusive":
        yield SESSIONS.ref(event.session_id)
        yield INVITATIONS.ref(event.goal_id)
        yield VIEWERS.ref(holder_id(event.session_id, event.buyer_id))


def paid_of(event: PaymentSucceededV1) -> Iterator[Ref]:
    """A payment that was charged: that, its grant, session, payer and a block of the payer. Of a gift: nothing."""
    if event.purpose == "minutes":
        yield PAYMENTS.ref(event.payment_id)
        yield GRANTS.ref(event.payment_id)
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, event.payer_id))
        yield BLOCKS.ref(block_id(event.streamer_id, event.payer_id))


def payment_of(event: PaymentFailedV1 | PaymentReversedV1) -> Iterator[Ref]:
    """A payment that failed or was reversed. Of a gift: nothing."""
    if event.purpose == "minutes":
        yield PAYMENTS.ref(event.payment_id)


def rejected_payment_of(event: GoalExtensionRejectedV1) -> Iterator[Ref]:
    """A rejected extension: its session, the payment that it would have been for, and what that gave."""
    yield SESSIONS.ref(event.session_id)
    yield PAYMENTS.ref(event.payment_id)
    yield GRANTS.ref(event.payment_id)


def show_of(event: GoalCreatedV1 | GoalEndedV1) -> Iterator[Ref]:
    """An event of a show: its session and the goal. Of any other goal: nothing."""
    if event.kind in ("ShowFundingGoal", "ShowGoal"):
        yield SESSIONS.ref(event.session_id)
        yield SHOW_GOALS.ref(event.goal_id)


def private_of(event: GoalCreatedV1 | GoalEndedV1) -> Iterator[Ref]:
    """An event of a private goal: its session and the goal. Of any other goal: nothing."""
    if event.kind == "TriggerPrivateGoal":
        yield SESSIONS.ref(event.session_id)
        yield PRIVATE_GOALS.ref(event.goal_id)


def karaoke_of(event: GoalCreatedV1 | GoalEndedV1) -> Iterator[Ref]:
    """An event of a karaoke goal: its session and the goal. Of any other goal: nothing."""
    if event.kind == "KaraokeGoal":
        yield SESSIONS.ref(event.session_id)
        yield KARAOKE_GOALS.ref(event.goal_id)


def goal_of(event: GoalEndedV1) -> Iterator[Ref]:
    """A goal's end: its session and the goal, whatever its kind."""
    yield from exclusive_of(event)
    yield from show_of(event)
    yield from private_of(event)
    yield from karaoke_of(event)


def ticket_of(event: GoalProgressedV1 | EscrowFailedV1) -> Iterator[Ref]:
    """Tickets that count or were refunded: themselves, their session and their buyer. Of another purchase: nothing."""
    if parse_escrow_id(event.escrow_id).kind == "show_funding":
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, _buyer_id(event)))
        yield TICKETS.ref(event.earning_id)


def contribution_of(event: GoalProgressedV1 | EscrowFailedV1) -> Iterator[Ref]:
    """A gift to a private goal that counts or was refunded: the same, and its sender's part. Of another: nothing."""
    if parse_escrow_id(event.escrow_id).kind == "trigger_private":
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, _buyer_id(event)))
        yield CONTRIBUTIONS.ref(event.earning_id)
        yield CONTRIBUTORS.ref(contributor_id(event.goal_id, _buyer_id(event)))


def _buyer_id(event: GoalProgressedV1 | EscrowFailedV1) -> str:
    return event.user_id if isinstance(event, GoalProgressedV1) else event.buyer_id


def head_count_of(event: PresenceCountedV1) -> Iterator[Ref]:
    """A head count: that of its session."""
    yield HEAD_COUNTS.ref(event.session_id)
