"""Where escrow keeps its money: the ledger, the escrows with their earnings, and the payments."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from chassis.cause import Cause
from chassis.clock import instant
from chassis.collection import Collection, Index, Ref
from chassis.decision import At
from chassis.mongo import Database
from chassis.pending import TIMERS, stored_timer
from chassis.tx import Tx
from contracts import (
    GiftRequestedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    GoalProposedV1,
    SessionGoalClosedV1,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
    WalletCreatedV1,
)
from contracts.event import SessionEvent
from escrow.domain import books, escrows, holds, ledger, payments, verdicts
from escrow.domain.blocks import Block, BlockRefundDue, block_id
from escrow.domain.books import Held
from escrow.domain.escrows import Earning, Escrow
from escrow.domain.holds import HoldRequest
from escrow.domain.ledger import Balance, Kind, Movement, Transfer
from escrow.domain.payments import Payment
from escrow.domain.recount import EscrowCount
from escrow.domain.settlement import SettlementDue
from escrow.domain.verdicts import FundingRefundCheckDue, InvitationRefundCheckDue, RefundCheckDue

TRANSFERS = Collection(
    "transfers",
    Transfer,
    indexes=(
        Index({"wallets": 1, "at": 1, "_id": 1}),
        *(Index({side: 1, "at": 1, "kind": 1, "amount_diamonds": 1}) for side in ("debit", "credit")),
    ),
)
BALANCES = Collection("balances", Balance)
MOVEMENTS = Collection("movements", Movement, indexes=(Index({"account": 1}),))
ESCROWS = Collection("escrows", Escrow, indexes=(Index({"open_earnings": 1}),))
EARNINGS = Collection(
    "earnings",
    Earning,
    indexes=(
        Index({"escrow_id": 1, "status": 1, "accepted": 1, "buyer_id": 1, "amount_diamonds": 1}),
        Index({"buyer_id": 1, "streamer_id": 1, "at": 1}, where={"status": "held"}),
        Index({"at": 1}, where={"status": "held"}),
        Index({"forget_at": 1}, where={"status": "rejected"}, expire_after_seconds=0),
    ),
)
BLOCKS = Collection("blocks", Block)
PAYMENTS = Collection(
    "payments", Payment, indexes=(Index({"forget_at": 1}, where={"status": "failed"}, expire_after_seconds=0),)
)
ALL = (TRANSFERS, BALANCES, MOVEMENTS, ESCROWS, EARNINGS, BLOCKS, PAYMENTS)

FOLD_MAX = 500  # movements folded in one transaction
OLD_MAX = 10_000  # earnings counted for a gauge; that many or more are an alarm all the same


# -- the ledger --------------------------------------------------------------------------------------------------------


async def post(tx: Tx, transfers: Sequence[Transfer], *, new: bool = False) -> None:
    """Post transfers, each at most once. `new` says that their cause cannot have made them, so that nobody need look.

    Raises:
        LedgerBroken: see `ledger.post`.
    """
    known = {} if new else await tx.get_many(TRANSFERS, (transfer.id for transfer in transfers))
    balances = await tx.get_many(BALANCES, (account for transfer in transfers for account, _ in transfer.legs))
    posting = ledger.post(transfers, known, balances)
    for transfer in posting.transfers:
        tx.insert(TRANSFERS, transfer)
    for balance in posting.balances:
        tx.put(BALANCES, balance)
    for movement in posting.movements:
        tx.insert(MOVEMENTS, movement)


async def begin_folding(database: Database) -> None:
    """Set the timer that folds movements for ever."""
    await _begin(database, ledger.fold_due(instant(0)))


async def begin_counting(database: Database) -> None:
    """Set the timer that counts what is held for ever."""
    await _begin(database, books.count_due(instant(0)))


async def _begin(database: Database, first: At) -> None:
    stored = stored_timer(first, Cause(at=instant(0), correlation_id="migration"))
    await database[TIMERS.name].replace_one({"_id": stored.id}, TIMERS.to_raw(stored, 0), upsert=True)


async def tell_reversed(database: Database) -> None:
    """A payment that an older release has reversed was reversed whole."""
    whole = [{"$set": {"reversed_diamonds": "$amount_diamonds"}}]
    await database[PAYMENTS.name].update_many({"status": "reversed", "reversed_diamonds": {"$exists": False}}, whole)


async def drop_replaced_index(database: Database) -> None:
    """Drop the index of earnings that knew no buyer."""
    replaced = "escrow_id_1_status_1_accepted_1_amount_diamonds_1"
    if replaced in await database[EARNINGS.name].index_information():
        await database[EARNINGS.name].drop_index(replaced)


async def fold(tx: Tx) -> bool:
    """Fold one slice of movements into their accounts; returns whether there may be more."""
    movements = await tx.find(MOVEMENTS, {}, limit=FOLD_MAX)
    balances = await tx.get_many(BALANCES, (movement.account for movement in movements))
    for balance in ledger.fold(movements, balances):
        tx.put(BALANCES, balance)
    for movement in movements:
        tx.delete(MOVEMENTS, movement.id)
    return len(movements) == FOLD_MAX


async def balance_diamonds(tx: Tx, account: str) -> int:
    """What lies in an account that may have movements waiting to be folded."""
    return (await balances_diamonds(tx, [account]))[account]


async def balances_diamonds(tx: Tx, accounts: Iterable[str]) -> dict[str, int]:
    """What lies in each of `accounts`, movements that wait to be folded included."""
    rows = await tx.get_many(BALANCES, accounts)
    sums = {account: rows[account].balance_diamonds if account in rows else 0 for account in accounts}
    open_ended = [account for account in sums if not ledger.has_floor(account)]
    pipeline: list[dict[str, Any]] = [
        {"$match": {"account": {"$in": open_ended}}},
        {"$group": {"_id": "$account", "sum": {"$sum": "$amount_diamonds"}}},
    ]
    waiting = await tx.aggregate(MOVEMENTS, pipeline) if open_ended else []
    return sums | {row["_id"]: sums[row["_id"]] + row["sum"] for row in waiting}


async def sum_diamonds(tx: Tx) -> int:
    """The sum over all accounts; zero when no diamond was created or destroyed."""
    total = 0
    for collection, field in ((BALANCES, "$balance_diamonds"), (MOVEMENTS, "$amount_diamonds")):
        rows = await tx.aggregate(collection, [{"$group": {"_id": None, "sum": {"$sum": field}}}])
        total += rows[0]["sum"] if rows else 0
    return total


async def wallet(tx: Tx, user_id: str) -> Balance | None:
    """What a user may spend; None without a wallet."""
    return await tx.get(BALANCES, ledger.wallet(user_id))


async def ensure_wallet(tx: Tx, user_id: str, cause_id: str) -> None:
    """See that the user has a wallet."""
    if await wallet(tx, user_id) is None:
        tx.put(BALANCES, Balance(ledger.wallet(user_id)))
        tx.emit(WalletCreatedV1(user_id=user_id, amount_diamonds=0, cause_id=cause_id))


# -- counted from the transfers ----------------------------------------------------------------------------------------


async def ids_after(tx: Tx, collection: Collection[Any], after: str, limit: int) -> list[str]:
    """The ids of the next documents after this one."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"_id": {"$gt": after}}},
        {"$sort": {"_id": 1}},
        {"$limit": limit},
        {"$project": {"_id": 1}},
    ]
    return [row["_id"] for row in await tx.aggregate(collection, pipeline)]


async def accounts_without_row(tx: Tx, limit: int) -> list[str]:
    """Accounts that transfers name and that have no balance row, so many at most."""
    credited: list[dict[str, Any]] = [{"$group": {"_id": "$credit"}}]
    pipeline: list[dict[str, Any]] = [
        {"$group": {"_id": "$debit"}},
        {"$unionWith": {"coll": TRANSFERS.name, "pipeline": credited}},
        {"$group": {"_id": "$_id"}},
        {"$lookup": {"from": BALANCES.name, "localField": "_id", "foreignField": "_id", "as": "row"}},
        {"$match": {"row": []}},
        {"$limit": limit},
    ]
    return [row["_id"] for row in await tx.aggregate(TRANSFERS, pipeline)]


async def transferred(tx: Tx, accounts: Sequence[str], which: Mapping[str, Any]) -> dict[str, int]:
    """What these transfers come to in each of `accounts`."""
    sums = dict.fromkeys(accounts, 0)
    for side, sign in (("credit", 1), ("debit", -1)):
        pipeline: list[dict[str, Any]] = [
            {"$match": {side: {"$in": list(accounts)}, **which}},
            {"$group": {"_id": f"${side}", "sum": {"$sum": "$amount_diamonds"}}},
        ]
        for row in await tx.aggregate(TRANSFERS, pipeline):
            sums[row["_id"]] += sign * row["sum"]
    return sums


async def count_escrows(tx: Tx, escrow_ids: Sequence[str]) -> dict[str, EscrowCount]:
    """The counters of each of these escrows, by its transfers."""
    accounts = [ledger.escrow(id_) for id_ in escrow_ids]
    holds: list[dict[str, Any]] = [
        {"$match": {"credit": {"$in": accounts}, "kind": "hold"}},
        {"$group": {"_id": "$credit", "diamonds": {"$sum": "$amount_diamonds"}, "earnings": {"$sum": 1}}},
    ]
    refunds: dict[str, Any] = {"$eq": ["$kind", "refund"]}
    settled: list[dict[str, Any]] = [
        {"$match": {"debit": {"$in": accounts}}},
        {  # a release is one or two transfers of its earning, less and with the platform's share
            "$group": {
                "_id": {"account": "$debit", "earning": "$earning_id", "refund": refunds},
                "diamonds": {"$sum": "$amount_diamonds"},
            }
        },
        {
            "$group": {
                "_id": {"account": "$_id.account", "refund": "$_id.refund"},
                "diamonds": {"$sum": "$diamonds"},
                "earnings": {"$sum": 1},
            }
        },
    ]
    paid = {row["_id"]: row for row in await tx.aggregate(TRANSFERS, holds)}
    ends = {(row["_id"]["account"], row["_id"]["refund"]): row for row in await tx.aggregate(TRANSFERS, settled)}
    none = {"diamonds": 0, "earnings": 0}
    counts: dict[str, EscrowCount] = {}
    for id_, account in zip(escrow_ids, accounts, strict=True):
        held, released, refunded = (
            paid.get(account, none),
            ends.get((account, False), none),
            ends.get((account, True), none),
        )
        counts[id_] = EscrowCount(
            paid_diamonds=held["diamonds"],
            released_diamonds=released["diamonds"],
            refunded_diamonds=refunded["diamonds"],
            open_earnings=held["earnings"] - released["earnings"] - refunded["earnings"],
            released=released["earnings"],
            refunded=refunded["earnings"],
        )
    return counts


async def moved_for(tx: Tx, causes: Sequence[str], kinds: Sequence[Kind]) -> dict[str, dict[Kind, int]]:
    """What was moved for each of `causes`, by kind; a kind that is missing was not moved."""
    places = {ledger.transfer_id(kind, cause): (cause, kind) for cause in causes for kind in kinds}
    moved: dict[str, dict[Kind, int]] = {cause: {} for cause in causes}
    for id_, transfer in (await tx.get_many(TRANSFERS, places)).items():
        cause, kind = places[id_]
        moved[cause][kind] = transfer.amount_diamonds
    return moved


async def reversed_of(tx: Tx, wallets: Iterable[str]) -> dict[str, int]:
    """What came back into these wallets, by payment: a reversal's cause begins with its id."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"credit": {"$in": list(wallets)}, "kind": {"$in": ["reversal", "fee_reversal"]}}},
        {"$group": {"_id": {"$substrBytes": ["$cause", 0, 24]}, "sum": {"$sum": "$amount_diamonds"}}},
    ]
    return {row["_id"]: row["sum"] for row in await tx.aggregate(TRANSFERS, pipeline)}


# -- escrows -----------------------------------------------------------------------------------------------------------


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


# -- what handlers need, for a whole batch at once ---------------------------------------------------------------------


def of_request(request: HoldRequest) -> Iterable[Ref]:
    """Everything that a hold reads."""
    yield ESCROWS.ref(request.escrow_id)
    yield EARNINGS.ref(request.earning_id)
    yield TRANSFERS.ref(ledger.transfer_id("hold", request.earning_id))
    yield BALANCES.ref(ledger.wallet(request.buyer_id))
    yield BALANCES.ref(ledger.escrow(request.escrow_id))
    yield BLOCKS.ref(block_id(request.streamer_id, request.buyer_id))


def of_created(event: GoalCreatedV1) -> Iterable[Ref]:
    """The escrow of a new promise."""
    escrow_id = verdicts.escrow_of_goal(event)
    return (ESCROWS.ref(escrow_id),) if escrow_id else ()


def of_proposal(event: GoalProposedV1) -> Iterable[Ref]:
    """Everything that holding an invitation's price reads."""
    return of_request(holds.request_of_proposal(event))


def of_gift(event: GiftRequestedV1) -> Iterable[Ref]:
    """Everything that holding or charging a gift's price reads."""
    request = holds.request_of_gift(event)
    return of_request(request) if request is not None else _of_charge(payments.payment_of_gift(event))


def of_answer(event: GoalProgressedV1 | GoalContributionRejectedV1) -> Iterable[Ref]:
    """Everything that an answer to a hold reads."""
    return _of_settlement(event.escrow_id, event.earning_id, event.user_id, event.streamer_id)


def of_ended(event: GoalEndedV1) -> Iterable[Ref]:
    """Everything that the end of a goal reads; an invitation's one earning is settled with it."""
    escrow_id = verdicts.escrow_of_goal(event)
    if escrow_id is None:
        return ()
    invitation, buyer = escrows.only_cause(escrow_id), event.conditions.exclusive_to
    if invitation is None or buyer is None:
        return (ESCROWS.ref(escrow_id),)
    return _of_settlement(escrow_id, escrows.earning_id(escrow_id, invitation), buyer, event.streamer_id)


def of_lapsed(event: GoalLapsedV1) -> Iterable[Ref]:
    """The escrow of a promise that lapsed."""
    escrow_id = verdicts.escrow_of_lapsed(event)
    return (ESCROWS.ref(escrow_id),) if escrow_id else ()


def of_closed(event: SessionGoalClosedV1) -> Iterable[Ref]:
    """The escrow of a promise that was judged."""
    escrow_id = verdicts.escrow_of_closed(event)
    return (ESCROWS.ref(escrow_id),) if escrow_id else ()


def of_minutes(event: SessionPaymentRequestedV1) -> Iterable[Ref]:
    """Everything that charging minutes reads."""
    return _of_charge(payments.payment_of_minutes(event))


def of_reversal(event: SessionPaymentReversedV1) -> Iterable[Ref]:
    """Everything that giving a payment back reads."""
    yield PAYMENTS.ref(event.payment_id)
    yield BALANCES.ref(ledger.wallet(event.payer_id))
    yield BALANCES.ref(ledger.earnings(event.streamer_id))


def _of_charge(payment: Payment) -> Iterable[Ref]:
    yield PAYMENTS.ref(payment.id)
    yield BALANCES.ref(ledger.wallet(payment.payer_id))
    yield BALANCES.ref(ledger.earnings(payment.streamer_id))
    yield TRANSFERS.ref(ledger.transfer_id("payment", payment.id))
    yield BLOCKS.ref(block_id(payment.streamer_id, payment.payer_id))


def of_block(event: ViewerBlockedV1 | ViewerUnblockedV1 | BlockRefundDue) -> Iterable[Ref]:
    """What is known of a viewer's block by a streamer."""
    return (BLOCKS.ref(block_id(event.streamer_id, event.viewer_id)),)


def of_timer(
    timer: FundingRefundCheckDue | InvitationRefundCheckDue | RefundCheckDue | SettlementDue,
) -> Iterable[Ref]:
    """The escrow that a timer is about."""
    return (ESCROWS.ref(timer.escrow_id),)


def _of_settlement(escrow_id: str, earning_id: str, buyer_id: str, streamer_id: str) -> Iterable[Ref]:
    yield ESCROWS.ref(escrow_id)
    yield EARNINGS.ref(earning_id)
    yield BALANCES.ref(ledger.wallet(buyer_id))
    yield BALANCES.ref(ledger.escrow(escrow_id))
    yield BLOCKS.ref(block_id(streamer_id, buyer_id))
