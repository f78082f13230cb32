"""What shop keeps: gifts, orders, backpacks, and what it knows of sessions, goals and blocks."""

from collections.abc import Iterable, Sequence
from typing import Any

from chassis.storage.collection import Collection, Index, Ref
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
    WalletCreditedV1,
    WalletDebitedV1,
)
from contracts.event import SessionEvent
from shop.domain.backpack import BackpackItem, Pass
from shop.domain.gifts import Gift
from shop.domain.orders import Order, PaymentCheckDue
from shop.domain.payments import Receipt
from shop.domain.projection import Block, KnownGoal, KnownSession, block_id
from shop.domain.reconciliation import StatementLine
from shop.domain.trips import RoundTrip

DAY_SECONDS = 86_400
UNPAID_KEPT_SECONDS = DAY_SECONDS  # a gift that cost nobody anything: who asks for it later has no need of it
GOAL_KEPT_SECONDS = 7 * DAY_SECONDS  # after its end: late events of it are read by then
SESSION_KEPT_SECONDS = 14 * DAY_SECONDS  # after its start: a session lasts seven days at most, whatever is configured

GIFTS = Collection(
    "gifts",
    Gift,
    indexes=(Index({"sender_id": 1, "_id": 1}), Index({"unpaid_at": 1}, expire_after_seconds=UNPAID_KEPT_SECONDS)),
)
SESSIONS = Collection(
    "sessions",
    KnownSession,
    indexes=(Index({"created": 1}, expire_after_seconds=SESSION_KEPT_SECONDS), Index({"streamer_id": 1})),
)
GOALS = Collection("goals", KnownGoal, indexes=(Index({"exp": 1}, expire_after_seconds=GOAL_KEPT_SECONDS),))
BLOCKS = Collection("blocks", Block)
ORDERS = Collection(
    "orders",
    Order,
    indexes=(
        Index({"user_id": 1, "_id": 1}),
        Index({"user_id": 1, "payment": 1}),
        *(Index({on: 1, "_id": 1}) for on in ("paid_on", "granted_on")),
        Index({"forget_at": 1}, where={"payment": "failed"}, expire_after_seconds=0),
    ),
)
BACKPACK = Collection("backpack", BackpackItem, indexes=(Index({"user_id": 1, "granted": 1, "_id": 1}),))
PASSES = Collection("passes", Pass)
ROUND_TRIPS = Collection("round_trips", RoundTrip, indexes=(Index({"exp": 1}, expire_after_seconds=DAY_SECONDS),))
RECEIPTS = Collection("receipts", Receipt)
STATEMENT_LINES = Collection(
    "statement_lines", StatementLine, indexes=(Index({"day": 1, "_id": 1}), Index({"order_id": 1}))
)
ALL = (GIFTS, SESSIONS, GOALS, BLOCKS, ORDERS, BACKPACK, PASSES, ROUND_TRIPS, RECEIPTS, STATEMENT_LINES)

OfGift = (
    GoalProgressedV1
    | GoalContributionRejectedV1
    | EscrowRejectedV1
    | EscrowFailedV1
    | PaymentSucceededV1
    | PaymentFailedV1
)
"""What may be about a gift."""


def of_session(event: SessionEvent) -> Iterable[Ref]:
    """The session that an event is about."""
    return (SESSIONS.ref(event.session_id),)


def of_goal(event: GoalCreatedV1 | GoalEndedV1) -> Iterable[Ref]:
    """The goal that an event is about."""
    return (GOALS.ref(event.goal_id),)


def of_gift(event: OfGift) -> Iterable[Ref]:
    """The gift that an event is about, if it is about one."""
    return (GIFTS.ref(event.gift_id),) if event.gift_id else ()


def block_of(event: ViewerBlockedV1 | ViewerUnblockedV1) -> Block:
    """The block that an event is about."""
    return Block(block_id(event.streamer_id, event.viewer_id))


OfWallet = WalletCreditedV1 | WalletDebitedV1
"""What may be about the diamonds of an order."""


def order_of(event: OfWallet) -> str | None:
    """The order whose diamonds came or went, if it was one's: an operator's gift names no item."""
    order_id, colon, _ = event.cause_id.partition(":")
    return order_id if colon else None


def of_wallet(event: OfWallet) -> Iterable[Ref]:
    """The order whose diamonds came or went."""
    order_id = order_of(event)
    return (ORDERS.ref(order_id),) if order_id else ()


def of_check(timer: PaymentCheckDue) -> Iterable[Ref]:
    """The order that is looked at."""
    return (ORDERS.ref(timer.order_id),)


async def orders_with_lines(tx: Tx, order_ids: Sequence[str]) -> set[str]:
    """Those of these orders that a gateway says was paid, on whatever day."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"order_id": {"$in": list(order_ids)}}},
        {"$group": {"_id": "$order_id"}},
    ]
    return {row["_id"] for row in await tx.aggregate(STATEMENT_LINES, pipeline)} if order_ids else set()
