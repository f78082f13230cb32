"""What numbered migrations do."""

from typing import Any

from chassis.cause import Cause
from chassis.clock import instant
from chassis.decision import At
from chassis.storage.mongo import Database
from chassis.timers.model import TIMERS, stored_timer
from escrow.domain import books, ledger
from escrow.store import BALANCES, DEBITS, EARNINGS, PAYMENTS, TRANSFERS


async def begin_folding(database: Database) -> None:
    """Set the timer that folds movements for ever."""
    await _begin(database, ledger.fold_due(instant(0)))


async def begin_counting(database: Database) -> None:
    """Set the timer that counts what is held for ever."""
    await _begin(database, books.count_due(instant(0)))


async def begin_proving(database: Database) -> None:
    """Set the timer that proves the ledger for ever."""
    await _begin(database, books.proof_due(instant(0)))


async def _begin(database: Database, first: At) -> None:
    stored = stored_timer(first, Cause(at=instant(0), correlation_id="migration"))
    await database[TIMERS.name].replace_one({"_id": stored.id}, TIMERS.to_raw(stored, 0), upsert=True)


async def tell_reversed(database: Database) -> None:
    """A payment that an older release has reversed was reversed whole."""
    whole = [{"$set": {"reversed_diamonds": "$amount_diamonds"}}]
    await database[PAYMENTS.name].update_many({"status": "reversed", "reversed_diamonds": {"$exists": False}}, whole)


async def drop_replaced_index(database: Database) -> None:
    """Drop the index of earnings that knew no buyer."""
    await _drop(database, EARNINGS.name, "escrow_id_1_status_1_accepted_1_amount_diamonds_1")


async def drop_unordered_indexes(database: Database) -> None:
    """Drop those of transfers by which a streamer's own could not be listed in order."""
    for side in ("debit", "credit"):
        await _drop(database, TRANSFERS.name, f"{side}_1_at_1_kind_1_amount_diamonds_1")


async def note_what_is_owed(database: Database) -> None:
    """Note in wallets what is missing of the debits that an older release has made."""
    owed: list[dict[str, Any]] = [
        {"$match": {"missing_diamonds": {"$gt": 0}}},
        {"$group": {"_id": {"$concat": ["wallet:", "$user_id"]}, "owed_diamonds": {"$sum": "$missing_diamonds"}}},
        {"$merge": {"into": BALANCES.name, "whenNotMatched": "discard"}},
    ]
    await database.command("aggregate", DEBITS.name, pipeline=owed, cursor={})


async def _drop(database: Database, collection: str, index: str) -> None:
    if index in await database[collection].index_information():
        await database[collection].drop_index(index)
