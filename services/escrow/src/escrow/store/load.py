"""What handlers load of escrows, their earnings, and of what is owed."""

from datetime import datetime
from typing import Any

from chassis.storage.tx import Tx
from contracts.event import SessionEvent
from escrow.domain import books, escrows
from escrow.domain.blocks import Block, block_id
from escrow.domain.books import Held
from escrow.domain.escrows import Earning, Escrow
from escrow.domain.purchases import Debit
from escrow.store import BLOCKS, DEBITS, EARNINGS, ESCROWS

DEBITS_MAX = 100  # served by one return; more refunded items of one user wait for the next
OLD_MAX = 10_000  # earnings counted for a gauge; that many or more are an alarm all the same


async def escrow(tx: Tx, escrow_id: str, event: SessionEvent) -> Escrow:
    """The escrow, which comes into being when it is first heard of."""
    known = await tx.get(ESCROWS, escrow_id)
    return known or Escrow(escrow_id, escrows.goal_of(escrow_id), event.session_id, event.streamer_id)


async def settle_run(tx: Tx, escrow_id: str, slice_max: int) -> tuple[Earning, ...]:
    """The next slice of earnings for which both facts are known."""
    where = {"escrow_id": escrow_id, "status": "held", "accepted": True}
    return tuple(await tx.find(EARNINGS, where, limit=slice_max))


async def is_blocked(tx: Tx, streamer_id: str, viewer_id: str) -> bool:
    """Whether the streamer has blocked the viewer, as far as escrow has heard."""
    block = await tx.get(BLOCKS, block_id(streamer_id, viewer_id))
    return block is not None and block.blocked


async def held_before_block(tx: Tx, block: Block, slice_max: int) -> tuple[Earning, ...]:
    """The next slice of the earnings that a block gives back."""
    where: dict[str, Any] = {"buyer_id": block.viewer_id, "streamer_id": block.streamer_id, "status": "held"}
    if not block.blocked:
        where["at"] = {"$lte": block.read_at}
    return tuple(await tx.find(EARNINGS, where, sort={"at": 1}, limit=slice_max))


async def buyers_part(tx: Tx, escrow_id: str, buyer_id: str) -> dict[str, int]:
    """Diamonds of one buyer's earnings in an escrow by status; a refused hold is none."""
    answers = [True, False, None]  # named, so that the index leads to the buyer
    return await _by_status(tx, {"escrow_id": escrow_id, "accepted": {"$in": answers}, "buyer_id": buyer_id})


async def earnings_by_status(tx: Tx, escrow_id: str) -> dict[str, int]:
    """Diamonds of all earnings in an escrow by status; a refused hold is none."""
    return await _by_status(tx, {"escrow_id": escrow_id})


async def _by_status(tx: Tx, where: dict[str, Any]) -> dict[str, int]:
    pipeline: list[dict[str, Any]] = [
        {"$match": where | {"status": {"$in": ["held", "released", "refunded"]}}},
        {"$group": {"_id": "$status", "sum": {"$sum": "$amount_diamonds"}}},
    ]
    return {row["_id"]: row["sum"] for row in await tx.aggregate(EARNINGS, pipeline)}


async def missing_debits(tx: Tx, user_id: str) -> tuple[Debit, ...]:
    """The oldest debits of a user for which something is missing."""
    where = {"user_id": user_id, "missing_diamonds": {"$gt": 0}}
    return tuple(await tx.find(DEBITS, where, sort={"at": 1, "_id": 1}, limit=DEBITS_MAX))


async def count_held(tx: Tx) -> Held:
    """What is held, how much of it for long, and since when."""
    held = {"$subtract": ["$paid_diamonds", {"$add": ["$released_diamonds", "$refunded_diamonds"]}]}
    sums: list[dict[str, Any]] = [
        {"$match": {"open_earnings": {"$gt": 0}}},
        {
            "$group": {
                "_id": None,
                "escrows": {"$sum": 1},
                "earnings": {"$sum": "$open_earnings"},
                "diamonds": {"$sum": held},
            }
        },
    ]
    counted = next(iter(await tx.aggregate(ESCROWS, sums)), {"escrows": 0, "earnings": 0, "diamonds": 0})
    oldest = await tx.find_one(EARNINGS, {"status": "held"}, sort={"at": 1})
    return Held(
        escrows=counted["escrows"],
        earnings=counted["earnings"],
        diamonds=counted["diamonds"],
        oldest_seconds=(tx.now - oldest.at).total_seconds() if oldest else 0.0,
        longer={name: await _held_before(tx, tx.now - age) for name, age in books.LONG.items()},
    )


async def _held_before(tx: Tx, at: datetime) -> int:
    where = {"status": "held", "at": {"$lt": at}}
    rows = await tx.aggregate(EARNINGS, [{"$match": where}, {"$limit": OLD_MAX}, {"$count": "earnings"}])
    return sum(row["earnings"] for row in rows)
