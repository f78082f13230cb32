"""The ledger: transfers are posted, movements folded into accounts, balances asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from chassis.storage.tx import Tx
from contracts import (
    WalletCreatedV1,
)
from escrow.domain import external_wallet, ledger
from escrow.domain.books import Total
from escrow.domain.ledger import Balance, Transfer
from escrow.domain.purchases import Debit
from escrow.settings import Settings
from escrow.store import BALANCES, DEBITS, EXTERNAL_ACCOUNTS, MOVEMENTS, TRANSFERS

FOLD_MAX = 500  # movements folded in one transaction


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


async def total(tx: Tx) -> Total:
    """All accounts together, added up one by one."""
    sums: list[tuple[int, int]] = []
    for collection, field in ((BALANCES, "$balance_diamonds"), (MOVEMENTS, "$amount_diamonds")):
        all_: dict[str, Any] = {"_id": None, "rows": {"$sum": 1}, "sum": {"$sum": field}}
        rows = await tx.aggregate(collection, [{"$group": all_}])
        sums.append((rows[0]["rows"], rows[0]["sum"]) if rows else (0, 0))
    return Total(accounts=sums[0][0], diamonds=sum(diamonds for _, diamonds in sums))


async def wallet(tx: Tx, user_id: str) -> Balance | None:
    """What a user may spend; None without a wallet."""
    return await tx.get(BALANCES, ledger.wallet(user_id))


async def owe(tx: Tx, debit: Debit, more_diamonds: int) -> None:
    """Save a debit, and note in its user's wallet how much more, or less, is missing there.

    The wallet's row is written even if nothing is: who says what is missing relies on what lies there.
    """
    known = await wallet(tx, debit.user_id) or Balance(ledger.wallet(debit.user_id))
    tx.put(BALANCES, replace(known, owed_diamonds=known.owed_diamonds + more_diamonds))
    tx.put(DEBITS, debit)


async def ensure_wallet(tx: Tx, user_id: str, cause_id: str) -> None:
    """See that the user has a wallet, and an account in the external one if there is one."""
    if await wallet(tx, user_id) is None:
        tx.put(BALANCES, Balance(ledger.wallet(user_id)))
        tx.emit(WalletCreatedV1(user_id=user_id, amount_diamonds=0, cause_id=cause_id))
    if tx.settings(Settings).wallet_api_url and await tx.get(EXTERNAL_ACCOUNTS, user_id) is None:
        account, call = external_wallet.ask(user_id)
        tx.put(EXTERNAL_ACCOUNTS, account)
        tx.schedule_effect(call)
