"""Gifts: what others tell of sessions, goals and blocks, and what became of the money."""

from chassis.storage.tx import Tx
from contracts import (
    EscrowFailedV1,
    EscrowRejectedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalProgressedV1,
    PaymentFailedV1,
    PaymentSucceededV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from shop import store
from shop.domain import gifts, projection
from shop.domain.gifts import Gift
from shop.domain.projection import SessionState


async def follow_session(event: SessionState, tx: Tx) -> None:
    """Know whose session it is, who alone may watch it, and whether it is over."""
    known = await tx.get(store.SESSIONS, event.session_id)
    tx.put(store.SESSIONS, projection.session_of(event, known))


async def follow_goal(event: GoalCreatedV1 | GoalEndedV1, tx: Tx) -> None:
    """Know for what something can be given, and for what nothing."""
    known = await tx.get(store.GOALS, event.goal_id)
    tx.put(store.GOALS, projection.goal_of(event, known))


async def follow_block(event: ViewerBlockedV1, tx: Tx) -> None:
    """This viewer gives nothing to this streamer any more."""
    tx.put(store.BLOCKS, store.block_of(event))


async def follow_unblock(event: ViewerUnblockedV1, tx: Tx) -> None:
    """The viewer may give again."""
    tx.delete(store.BLOCKS, store.block_of(event).id)


async def send_counted_gift(event: GoalProgressedV1, tx: Tx) -> None:
    """Goals counts what is held: the gift is sent."""
    if gift := await _gift_of(event, tx):
        tx.apply(store.GIFTS, gifts.sent(gift, earning_id=event.earning_id))


async def fail_rejected_gift(event: GoalContributionRejectedV1, tx: Tx) -> None:
    """Goals does not count it: the sender has the money back."""
    if gift := await _gift_of(event, tx):
        tx.apply(store.GIFTS, gifts.failed(gift, event.reason, earning_id=event.earning_id))


async def fail_unheld_gift(event: EscrowRejectedV1, tx: Tx) -> None:
    """Nothing was held."""
    if gift := await _gift_of(event, tx):
        tx.apply(store.GIFTS, gifts.failed(gift, event.reason, unpaid_at=tx.now))


async def send_paid_gift(event: PaymentSucceededV1, tx: Tx) -> None:
    """The streamer has the money: the gift is sent."""
    if gift := await _gift_of(event, tx):
        tx.apply(store.GIFTS, gifts.sent(gift, payment_id=event.payment_id))


async def fail_unpaid_gift(event: PaymentFailedV1, tx: Tx) -> None:
    """Nothing was paid."""
    if gift := await _gift_of(event, tx):
        reason = event.reason or "insufficient_diamonds"
        tx.apply(store.GIFTS, gifts.failed(gift, reason, payment_id=event.payment_id, unpaid_at=tx.now))


async def remember_refund(event: EscrowFailedV1, tx: Tx) -> None:
    """The promise came to nothing: the sender has the money back."""
    if gift := await _gift_of(event, tx):
        tx.apply(store.GIFTS, gifts.refunded(gift, event.reason))


async def _gift_of(event: store.OfGift, tx: Tx) -> Gift | None:
    """The gift that an event is about: none, if it is about something else, or about one that is forgotten."""
    return await tx.get(store.GIFTS, event.gift_id) if event.gift_id else None
