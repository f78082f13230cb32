"""What shop does when something happened: load, decide, save."""

from chassis.errors import NotYet
from chassis.tx import Tx
from contracts import (
    EscrowRejectedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalProgressedV1,
    PaymentFailedV1,
    PaymentSucceededV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
)
from shop import store
from shop.domain import gifts, stage
from shop.domain.gifts import Gift

SOLD_IN = ("ShowFundingGoal", "ShowGoal", "TriggerPrivateGoal")


async def follow_session(event: SessionStartedV1 | SessionUpdatedV1 | SessionEndedV1, tx: Tx) -> None:
    """Know whose session it is, and whether it is over."""
    known = await tx.get(store.SESSIONS, event.session_id)
    tx.put(store.SESSIONS, stage.follow_session(known, event))


async def follow_goal(event: GoalCreatedV1 | GoalEndedV1, tx: Tx) -> None:
    """Know the fundings, shows and private goals for which something is sold."""
    if event.kind in SOLD_IN:
        known = await tx.get(store.GOALS, event.goal_id)
        tx.put(store.GOALS, stage.goal_of(event, known))


async def send_counted_gift(event: GoalProgressedV1, tx: Tx) -> None:
    """Goals counts what is held: the gift is sent."""
    if event.gift_id:
        tx.apply(store.GIFTS, gifts.sent(await _gift(tx, event.gift_id), earning_id=event.earning_id))


async def fail_rejected_gift(event: GoalContributionRejectedV1, tx: Tx) -> None:
    """Goals does not count it: the sender has the money back."""
    if event.gift_id:
        gift = await _gift(tx, event.gift_id)
        tx.apply(store.GIFTS, gifts.failed(gift, event.reason, earning_id=event.earning_id))


async def fail_unheld_gift(event: EscrowRejectedV1, tx: Tx) -> None:
    """Nothing was held."""
    if event.gift_id:
        tx.apply(store.GIFTS, gifts.failed(await _gift(tx, event.gift_id), event.reason))


async def send_paid_gift(event: PaymentSucceededV1, tx: Tx) -> None:
    """The streamer has the money: the gift is sent."""
    if event.gift_id:
        tx.apply(store.GIFTS, gifts.sent(await _gift(tx, event.gift_id), payment_id=event.payment_id))


async def fail_unpaid_gift(event: PaymentFailedV1, tx: Tx) -> None:
    """Nothing was paid."""
    if event.gift_id:
        gift = await _gift(tx, event.gift_id)
        reason = event.reason or "insufficient_diamonds"
        tx.apply(store.GIFTS, gifts.failed(gift, reason, payment_id=event.payment_id))


async def _gift(tx: Tx, gift_id: str) -> Gift:
    gift = await tx.get(store.GIFTS, gift_id)
    if gift is None:
        raise NotYet("gift")  # cannot be: shop itself asked for it
    return gift
