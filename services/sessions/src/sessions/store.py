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
    PaymentFailedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
    PresenceCountedV1,
)
from sessions.domain.blocks import Block
from sessions.domain.changes import Changes
from sessions.domain.exclusive import INVITATION_ESCROW, Exclusive, Invitation
from sessions.domain.grants import Grant, Holder, Viewer, holder_id
from sessions.domain.payments import Payment, PaymentNotFound
from sessions.domain.session import HeadCount, Session, SessionNotFound

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
BLOCKS = Collection("blocks", Block)

COLLECTIONS: tuple[Collection[Any], ...] = (
    SESSIONS, HEAD_COUNTS, INVITATIONS, EXCLUSIVES, VIEWERS, GRANTS, PAYMENTS, BLOCKS,
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
    id_ = holder_id(session_id, viewer_id)
    viewer = await tx.get(VIEWERS, id_) or Viewer(id_, session_id, viewer_id)
    return Holder(viewer, tuple(await tx.find(GRANTS, {"session_id": session_id, "viewer_id": viewer_id})))


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
    """A refund: the invitation and the viewer it concerns."""
    if event.escrow_id.startswith(INVITATION_ESCROW):
        yield INVITATIONS.ref(event.goal_id)
        yield VIEWERS.ref(holder_id(event.session_id, event.buyer_id))


def payment_of(event: PaymentSucceededV1 | PaymentFailedV1 | PaymentReversedV1) -> Iterator[Ref]:
    """The outcome of a payment: that, its session and its payer. Of a gift: nothing."""
    if event.purpose == "minutes":
        yield PAYMENTS.ref(event.payment_id)
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, event.payer_id))


def rejected_payment_of(event: GoalExtensionRejectedV1) -> Iterator[Ref]:
    """A rejected extension: the payment that it would have been for."""
    yield PAYMENTS.ref(event.payment_id)


def head_count_of(event: PresenceCountedV1) -> Iterator[Ref]:
    """A head count: that of its session."""
    yield HEAD_COUNTS.ref(event.session_id)
