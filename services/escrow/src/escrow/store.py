"""Where escrow keeps its money: the ledger, the escrows with their earnings, and the payments."""

from collections.abc import Iterable, Sequence
from typing import Any

import structlog

from chassis.cause import Cause
from chassis.clock import instant
from chassis.collection import Collection, Index, Ref
from chassis.decision import derived_id
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
    WalletCreatedV1,
)
from contracts.escrow_ids import make_escrow_id
from escrow.domain import escrows, ledger, verdicts
from escrow.domain.escrows import Earning, Escrow, HeldTooLong
from escrow.domain.holds import HoldRequest
from escrow.domain.ledger import Balance, Movement, Transfer
from escrow.domain.payments import Payment
from escrow.domain.settlement import SettlementDue
from escrow.domain.verdicts import RefundCheckDue

LOG = structlog.get_logger()

TRANSFERS = Collection("transfers", Transfer, indexes=(Index({"wallets": 1, "at": 1, "_id": 1}),))
BALANCES = Collection("balances", Balance)
MOVEMENTS = Collection("movements", Movement, indexes=(Index({"account": 1}),))
ESCROWS = Collection("escrows", Escrow)
EARNINGS = Collection(
    "earnings", Earning, indexes=(Index({"escrow_id": 1, "status": 1, "accepted": 1, "amount_diamonds": 1}),)
)
PAYMENTS = Collection("payments", Payment)
ALL = (TRANSFERS, BALANCES, MOVEMENTS, ESCROWS, EARNINGS, PAYMENTS)

FOLD_MAX = 500  # movements folded in one transaction


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
    first = stored_timer(ledger.fold_due(instant(0)), Cause(at=instant(0), correlation_id="migration"))
    await database[TIMERS.name].replace_one({"_id": first.id}, TIMERS.to_raw(first, 0), upsert=True)


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


# -- escrows -----------------------------------------------------------------------------------------------------------


async def settle_run(tx: Tx, escrow_id: str, slice_max: int) -> tuple[Earning, ...]:
    """The next slice of earnings for which both facts are known."""
    where = {"escrow_id": escrow_id, "status": "held", "accepted": True}
    return tuple(await tx.find(EARNINGS, where, limit=slice_max))


def alert_held_too_long(escrow: Escrow) -> None:
    """Tell ops that money waits for a verdict that should have come."""
    LOG.error(
        "escrow.held_too_long", escrow_id=escrow.id, held_diamonds=escrow.held_diamonds, session_id=escrow.session_id
    )


async def earnings_by_status(tx: Tx, escrow_id: str) -> dict[str, int]:
    """Diamonds of an escrow's earnings by status: the other way to count what its counters say."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"escrow_id": escrow_id}},
        {"$group": {"_id": "$status", "sum": {"$sum": "$amount_diamonds"}}},
    ]
    return {row["_id"]: row["sum"] for row in await tx.aggregate(EARNINGS, pipeline)}


# -- what handlers need, for a whole batch at once ---------------------------------------------------------------------


def of_request(request: HoldRequest) -> Iterable[Ref]:
    """Everything that a hold reads."""
    yield ESCROWS.ref(request.escrow_id)
    yield EARNINGS.ref(request.earning_id)
    yield TRANSFERS.ref(ledger.transfer_id("hold", request.earning_id))
    yield BALANCES.ref(ledger.wallet(request.buyer_id))
    yield BALANCES.ref(ledger.escrow(request.escrow_id))


def request_of_proposal(event: GoalProposedV1) -> HoldRequest:
    """An invitation asks to hold its price until it is answered."""
    return HoldRequest(
        escrow_id=make_escrow_id("trigger_exclusive", event.goal_id),
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        buyer_id=event.payer_id,
        goal_id=event.goal_id,
        cause_id=event.goal_id,
        amount_diamonds=event.amount_diamonds,
        count=1,
        exp=event.exp,
    )


def of_created(event: GoalCreatedV1) -> Iterable[Ref]:
    """The escrow of a new promise."""
    escrow_id = verdicts.escrow_of_goal(event)
    return (ESCROWS.ref(escrow_id),) if escrow_id else ()


def of_proposal(event: GoalProposedV1) -> Iterable[Ref]:
    """Everything that holding an invitation's price reads."""
    return of_request(request_of_proposal(event))


def request_of_gift(event: GiftRequestedV1) -> HoldRequest | None:
    """A ticket is held for its funding, a gift that names a goal for that; any other is not held at all."""
    if event.funding_goal_id is not None:
        escrow_id = make_escrow_id("show_funding", event.funding_goal_id)
    elif event.goal_id is not None:
        escrow_id = make_escrow_id("trigger_private", event.goal_id)
    else:
        return None
    return HoldRequest(
        escrow_id=escrow_id,
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        buyer_id=event.sender_id,
        goal_id=escrows.goal_of(escrow_id),
        cause_id=event.gift_id,
        amount_diamonds=event.amount_diamonds,
        count=event.count,
        gift_id=event.gift_id,
    )


def payment_of_gift(event: GiftRequestedV1) -> Payment:
    """A gift that is paid to the streamer at once."""
    return Payment(
        id=derived_id("payment", event.gift_id),
        purpose="gift",
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        payer_id=event.sender_id,
        amount_diamonds=event.amount_diamonds,
        gift_id=event.gift_id,
    )


def payment_of_minutes(event: SessionPaymentRequestedV1) -> Payment:
    """Minutes that a viewer pays for."""
    return Payment(
        id=event.payment_id,
        purpose="minutes",
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        payer_id=event.payer_id,
        amount_diamonds=event.amount_diamonds,
        duration=event.duration,
        preset=event.preset,
        exclusive_goal_id=event.exclusive_goal_id,
    )


def of_gift(event: GiftRequestedV1) -> Iterable[Ref]:
    """Everything that holding or charging a gift's price reads."""
    request = request_of_gift(event)
    return of_request(request) if request is not None else _of_charge(payment_of_gift(event))


def of_answer(event: GoalProgressedV1 | GoalContributionRejectedV1) -> Iterable[Ref]:
    """Everything that an answer to a hold reads."""
    return _of_settlement(event.escrow_id, event.earning_id, event.user_id)


def of_ended(event: GoalEndedV1) -> Iterable[Ref]:
    """Everything that the end of a goal reads; an invitation's one earning is settled with it."""
    escrow_id = verdicts.escrow_of_goal(event)
    if escrow_id is None:
        return ()
    invitation, buyer = escrows.only_cause(escrow_id), event.conditions.exclusive_to
    if invitation is None or buyer is None:
        return (ESCROWS.ref(escrow_id),)
    return _of_settlement(escrow_id, escrows.earning_id(escrow_id, invitation), buyer)


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
    return _of_charge(payment_of_minutes(event))


def of_reversal(event: SessionPaymentReversedV1) -> Iterable[Ref]:
    """Everything that giving a payment back reads."""
    yield PAYMENTS.ref(event.payment_id)
    yield BALANCES.ref(ledger.wallet(event.payer_id))
    yield BALANCES.ref(ledger.earnings(event.streamer_id))
    yield TRANSFERS.ref(ledger.transfer_id("reversal", event.payment_id))


def _of_charge(payment: Payment) -> Iterable[Ref]:
    yield PAYMENTS.ref(payment.id)
    yield BALANCES.ref(ledger.wallet(payment.payer_id))
    yield BALANCES.ref(ledger.earnings(payment.streamer_id))
    yield TRANSFERS.ref(ledger.transfer_id("payment", payment.id))


def of_timer(timer: RefundCheckDue | SettlementDue | HeldTooLong) -> Iterable[Ref]:
    """The escrow that a timer is about."""
    return (ESCROWS.ref(timer.escrow_id),)


def _of_settlement(escrow_id: str, earning_id: str, buyer_id: str) -> Iterable[Ref]:
    yield ESCROWS.ref(escrow_id)
    yield EARNINGS.ref(earning_id)
    yield BALANCES.ref(ledger.wallet(buyer_id))
    yield BALANCES.ref(ledger.escrow(escrow_id))
