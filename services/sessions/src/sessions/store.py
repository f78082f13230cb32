"""The collections of sessions, what handlers load from them, and how a decision is saved."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

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
)
from sessions.domain.blocks import Block
from sessions.domain.changes import Changes
from sessions.domain.exclusive import INVITATION_ESCROW, Exclusive, Invitation
from sessions.domain.grants import Grant, Holder
from sessions.domain.karaoke import KaraokeGoal
from sessions.domain.payments import Payment, PaymentNotFound
from sessions.domain.private import PRIVATE_ESCROW, SLICE_MAX, Contribution, Contributor, PrivateGoal, contributor_id
from sessions.domain.session import HeadCount, Session, SessionNotFound
from sessions.domain.show import SHOW_ESCROW, ShowGoal, Ticket
from sessions.domain.viewer import Viewer, holder_id

SESSIONS = Collection("sessions", Session, indexes=(Index({"streamer_id": 1}, unique=True, where={"active": True}),))
HEAD_COUNTS = Collection("head_counts", HeadCount, indexes=(Index({"active": 1, "rank": 1, "_id": 1}),))
INVITATIONS = Collection("invitations", Invitation)
EXCLUSIVES = Collection("exclusives", Exclusive)
VIEWERS = Collection("viewers", Viewer)
GRANTS = Collection(
    "grants",
    Grant,
    indexes=(Index({"session_id": 1, "viewer_id": 1}), Index({"session_id": 1, "reason": 1, "nbf": 1})),
)
PAYMENTS = Collection("payments", Payment)
SHOW_GOALS = Collection("show_goals", ShowGoal)
TICKETS = Collection("tickets", Ticket)
PRIVATE_GOALS = Collection("private_goals", PrivateGoal, indexes=(Index({"session_id": 1, "state": 1}),))
CONTRIBUTORS = Collection("contributors", Contributor, indexes=(Index({"goal_id": 1, "_id": 1}),))
CONTRIBUTIONS = Collection("contributions", Contribution)
KARAOKE_GOALS = Collection("karaoke_goals", KaraokeGoal)
BLOCKS = Collection("blocks", Block)

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


async def holder(tx: Tx, session_id: str, viewer_id: str) -> Holder:
    """A viewer of a session with all grants. Whoever changes one of them saves the viewer, so two never pass unseen."""
    grants = await tx.find(GRANTS, {"session_id": session_id, "viewer_id": viewer_id})
    return Holder(await viewer(tx, session_id, viewer_id), tuple(grants))


async def payment(tx: Tx, payment_id: str) -> Payment:
    """A payment that was asked for here.

    Raises:
        PaymentNotFound: none was.
    """
    known = await tx.get(PAYMENTS, payment_id)
    if known is None:
        raise PaymentNotFound
    return known


async def overtaken_payments(tx: Tx, session_id: str, viewer_id: str, agreed: datetime) -> list[Payment]:
    """Payments of others than `viewer_id` that gave time from `agreed` on."""
    grants = await tx.find(
        GRANTS, {"session_id": session_id, "reason": "paid", "nbf": {"$gte": agreed}, "stands": True}
    )
    payments = await tx.get_many(PAYMENTS, [grant.id for grant in grants if grant.viewer_id != viewer_id])
    return list(payments.values())


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


async def unjudged_private_goals(tx: Tx, session_id: str) -> list[PrivateGoal]:
    """Completed private goals of a session of which is not said yet whether they were kept."""
    return await tx.find(PRIVATE_GOALS, {"session_id": session_id, "state": {"$in": ["giving", "judging"]}})


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
    else:
        yield EXCLUSIVES.ref(event.goal_id)
        yield INVITATIONS.ref(event.context.trigger_exclusive_goal_id or event.goal_id)


def extension_of(event: GoalExtendedV1) -> Iterator[Ref]:
    """An extension: its session, exclusive and viewer, unless a payment has given it."""
    if event.payment_id is None:
        yield SESSIONS.ref(event.session_id)
        yield EXCLUSIVES.ref(event.goal_id)
        yield from (VIEWERS.ref(holder_id(event.session_id, viewer_id)) for viewer_id in event.viewers)


def lapsed_session_of(event: GoalLapsedV1) -> Iterator[Ref]:
    """A lapsed invitation: its session."""
    if event.kind == "TriggerExclusiveGoal":
        yield SESSIONS.ref(event.session_id)


def refunded_of(event: EscrowFailedV1) -> Iterator[Ref]:
    """The refund of an invitation: that, its session and its viewer."""
    if event.escrow_id.startswith(INVITATION_ESCROW):
        yield SESSIONS.ref(event.session_id)
        yield INVITATIONS.ref(event.goal_id)
        yield VIEWERS.ref(holder_id(event.session_id, event.buyer_id))


def payment_of(event: PaymentSucceededV1 | PaymentFailedV1 | PaymentReversedV1) -> Iterator[Ref]:
    """The outcome of a payment: that, its session and its payer. Of a gift: nothing."""
    if event.purpose == "minutes":
        yield PAYMENTS.ref(event.payment_id)
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, event.payer_id))


def rejected_payment_of(event: GoalExtensionRejectedV1) -> Iterator[Ref]:
    """A rejected extension: its session, and the payment that it would have been for."""
    yield SESSIONS.ref(event.session_id)
    yield PAYMENTS.ref(event.payment_id)


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


def ticket_of(event: GoalProgressedV1 | EscrowFailedV1) -> Iterator[Ref]:
    """Tickets that count or were refunded: themselves, their session and their buyer. Of another purchase: nothing."""
    if event.escrow_id.startswith(SHOW_ESCROW):
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, _buyer_id(event)))
        yield TICKETS.ref(event.earning_id)


def contribution_of(event: GoalProgressedV1 | EscrowFailedV1) -> Iterator[Ref]:
    """A gift to a private goal that counts or was refunded: the same, and its sender's part. Of another: nothing."""
    if event.escrow_id.startswith(PRIVATE_ESCROW):
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, _buyer_id(event)))
        yield CONTRIBUTIONS.ref(event.earning_id)
        yield CONTRIBUTORS.ref(contributor_id(event.goal_id, _buyer_id(event)))


def _buyer_id(event: GoalProgressedV1 | EscrowFailedV1) -> str:
    return event.user_id if isinstance(event, GoalProgressedV1) else event.buyer_id


def head_count_of(event: PresenceCountedV1) -> Iterator[Ref]:
    """A head count: that of its session."""
    yield HEAD_COUNTS.ref(event.session_id)
