"""Counted from the transfers, for the recount."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from escrow.domain import ledger, purchases
from escrow.domain.ledger import Kind
from escrow.domain.recount import EscrowCount
from escrow.store import BALANCES, DEBITS, TRANSFERS


async def last_id(tx: Tx, collection: Collection[Any], field: str = "_id") -> str:
    """The last id that is there now, or the last account in a `field` of transfers; empty without any."""
    pipeline: list[dict[str, Any]] = [{"$sort": {field: -1}}, {"$limit": 1}, {"$project": {"last": f"${field}"}}]
    return next((row["last"] for row in await tx.aggregate(collection, pipeline)), "")


async def ids_after(tx: Tx, collection: Collection[Any], after: str, last: str, limit: int) -> list[str]:
    """The ids of the next documents after this one, none behind `last`."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"_id": {"$gt": after, "$lte": last}}},
        {"$sort": {"_id": 1}},
        {"$limit": limit},
        {"$project": {"_id": 1}},
    ]
    return [row["_id"] for row in await tx.aggregate(collection, pipeline)]


async def last_account(tx: Tx) -> str:
    """The last account that transfers name now; empty without any."""
    return max([await last_id(tx, TRANSFERS, side) for side in ("debit", "credit")])


async def accounts_without_row(tx: Tx, after: str, last: str, limit: int) -> list[str]:
    """The next accounts after this one that transfers name and that have no balance row, none behind `last`."""
    accounts: dict[str, list[dict[str, Any]]] = {
        side: [{"$match": {side: {"$gt": after, "$lte": last}}}, {"$group": {"_id": f"${side}"}}]
        for side in ("debit", "credit")
    }
    pipeline: list[dict[str, Any]] = [
        *accounts["debit"],
        {"$unionWith": {"coll": TRANSFERS.name, "pipeline": accounts["credit"]}},
        {"$group": {"_id": "$_id"}},
        {"$lookup": {"from": BALANCES.name, "localField": "_id", "foreignField": "_id", "as": "row"}},
        {"$match": {"row": []}},
        {"$sort": {"_id": 1}},
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


async def taken_back_of(tx: Tx, users: Iterable[str]) -> dict[str, int]:
    """What these users' wallets have given back of what orders had brought, by debit: at once, and later."""
    wallets = [ledger.wallet(user_id) for user_id in users]
    pipeline: list[dict[str, Any]] = [
        {"$match": {"debit": {"$in": wallets}, "kind": "take_back"}},
        {"$group": {"_id": "$cause", "sum": {"$sum": "$amount_diamonds"}}},
    ]
    taken: dict[str, int] = {}
    for row in await tx.aggregate(TRANSFERS, pipeline):
        debit_id = purchases.debit_id_of(row["_id"])
        taken[debit_id] = taken.get(debit_id, 0) + row["sum"]
    return taken


async def owed_by(tx: Tx, users: Sequence[str]) -> dict[str, int]:
    """What each of these users owes, by the transfers of their debits."""
    pipeline: list[dict[str, Any]] = [{"$match": {"user_id": {"$in": users}}}, {"$project": {"user_id": 1}}]
    owners = {row["_id"]: row["user_id"] for row in await tx.aggregate(DEBITS, pipeline)}
    owed = dict.fromkeys(users, 0)
    if not owners:
        return owed
    bought, taken = await moved_for(tx, list(owners), ("credit",)), await taken_back_of(tx, set(owners.values()))
    for debit_id, user_id in owners.items():
        owed[user_id] += bought[debit_id].get("credit", 0) - taken.get(debit_id, 0)
    return owed


async def reversed_of(tx: Tx, wallets: Iterable[str]) -> dict[str, int]:
    """What came back into these wallets, by payment: a reversal's cause begins with its id."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"credit": {"$in": list(wallets)}, "kind": {"$in": ["reversal", "fee_reversal"]}}},
        {"$group": {"_id": {"$substrBytes": ["$cause", 0, 24]}, "sum": {"$sum": "$amount_diamonds"}}},
    ]
    return {row["_id"]: row["sum"] for row in await tx.aggregate(TRANSFERS, pipeline)}
