"""The anchors of bench (a), each as its best author would write it for this one event: no framework, no generality."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo import InsertOne, UpdateOne

from chassis.decision import derived_id
from chassis.ids import new_id
from chassis.storage.mongo import Database, Mongo, Raw
from contracts import EscrowFailedV1, EscrowSettledV1, EventAttributes, GoalEndedV1, attributes_of, to_message

PRICE = 500  # the second anchor loads nothing, so it is given


def outbox_rows(event: GoalEndedV1, cause: EventAttributes, earning_id: str, now: datetime) -> list[Raw]:
    """What follows from a refund."""
    of = {"session_id": event.session_id, "streamer_id": event.streamer_id, "goal_id": event.goal_id}
    escrow_id, buyer = f"trigger_exclusive:{event.goal_id}", event.conditions.exclusive_to or ""
    refunded = EscrowFailedV1(
        **of, escrow_id=escrow_id, earning_id=earning_id, buyer_id=buyer, amount_diamonds=PRICE, reason="refused"
    )
    settled = EscrowSettledV1(**of, escrow_id=escrow_id, verdict="refund", released=0, refunded=1)
    rows = []
    for n, outcome in enumerate((refunded, settled), 1):
        attributes = EventAttributes(
            new_id(),
            outcome.TYPE,
            "/footlights/escrow",
            outcome.subject,
            now,
            outcome.key,
            cause.correlation_id,
            cause.id,
        )
        message = to_message(outcome, attributes)
        rows.append(
            {"_id": attributes.id, "n": n, "topic": message.topic, "key": outcome.key, "value": message.value,
             "headers": dict(message.headers)}
        )  # fmt: skip
    return rows


def writes(event: GoalEndedV1, now: datetime) -> tuple[str, dict[str, list[Any]]]:
    """A refund as updates that need nothing loaded; each changes something once only, by its guard."""
    escrow_id = f"trigger_exclusive:{event.goal_id}"
    earning_id = derived_id("earning", escrow_id, event.goal_id)
    transfer_id = derived_id("transfer", "refund", earning_id)
    wallet, held = f"wallet:{event.conditions.exclusive_to}", f"escrow:{escrow_id}"
    refunded = {"verdict": "refund", "reason": "refused", "refunded_diamonds": PRICE, "refunded": 1, "open_earnings": 0}
    transfer = {
        "_id": transfer_id, "kind": "refund", "cause": earning_id, "debit": held, "credit": wallet,
        "amount_diamonds": PRICE, "at": now, "escrow_id": escrow_id, "earning_id": earning_id, "wallets": [wallet],
    }  # fmt: skip
    return earning_id, {
        "escrows": [UpdateOne({"_id": escrow_id, "verdict": None}, {"$set": refunded | {"settled": True}})],
        "earnings": [UpdateOne({"_id": earning_id, "status": "held"}, {"$set": {"status": "refunded"}})],
        "transfers": [InsertOne(transfer)],
        "balances": [
            UpdateOne({"_id": wallet}, {"$inc": {"balance_diamonds": PRICE}}),
            UpdateOne({"_id": held}, {"$inc": {"balance_diamonds": -PRICE}}),
        ],
    }


async def one_by_one(mongo: Mongo, database: Database, records: Sequence[Any]) -> None:
    """Anchor 1: one transaction per event, which looks before it writes."""
    now = datetime.now(UTC)
    for record in records:
        attributes, event = attributes_of(record.headers), GoalEndedV1.model_validate_json(record.value)
        earning_id, changes = writes(event, now)
        session = await mongo.begin()
        if await database["seen"].find_one({"_id": attributes.id}, session=session) is None:
            escrow = await database["escrows"].find_one({"_id": f"trigger_exclusive:{event.goal_id}"}, session=session)
            earning = await database["earnings"].find_one({"_id": earning_id}, session=session)
            assert escrow is not None
            assert earning is not None
            if escrow["verdict"] is None and earning["status"] == "held":
                for name, several in changes.items():
                    await database[name].bulk_write(several, session=session)
                await database["outbox"].insert_many(outbox_rows(event, attributes, earning_id, now), session=session)
            await database["seen"].insert_one({"_id": attributes.id, "at": now}, session=session)
        await session.commit_transaction()
        await session.end_session()


async def in_batches(mongo: Mongo, database: Database, records: Sequence[Any]) -> None:
    """Anchor 2: up to 500 events in one transaction, with inbox and outbox, without a load."""
    now = datetime.now(UTC)
    todo: dict[str, list[Any]] = {"seen": [], "outbox": []}
    for record in records:
        attributes, event = attributes_of(record.headers), GoalEndedV1.model_validate_json(record.value)
        earning_id, changes = writes(event, now)
        todo["seen"].append(InsertOne({"_id": attributes.id, "at": now}))
        todo["outbox"] += map(InsertOne, outbox_rows(event, attributes, earning_id, now))
        for name, several in changes.items():
            todo.setdefault(name, []).extend(several)
    session = await mongo.begin()
    for name, several in todo.items():
        await database[name].bulk_write(several, ordered=False, session=session)
    await session.commit_transaction()
    await session.end_session()
