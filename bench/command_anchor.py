"""Anchor of bench (d): crediting a wallet as its best author would write it by hand, on bare Starlette and motor.

The same token is verified, the same body validated, and the same documents are written in one transaction: wallet,
transfer, entry, movement, and the outbox rows. No idempotency, no retries, no problem documents, no metrics, no log.
"""

import hashlib
import os
from datetime import UTC, datetime
from typing import Any

import jwt
import uvicorn
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClient
from pydantic import BaseModel, Field
from pymongo import InsertOne, ReplaceOne
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts import Meta, WalletCreatedV1, WalletCreditedV1, to_message

KEY = os.environ["BENCH_JWT_KEY"]
client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
    os.environ["MONGO_URL"], tz_aware=True, w="majority", journal=True
)
db = client[os.environ["BENCH_DATABASE"]]


class Credit(BaseModel):
    amount_diamonds: int = Field(strict=True, ge=1, le=1_000_000_000)


class Credited(BaseModel):
    transfer_id: str
    balance_diamonds: int


def derived(*cause: str) -> str:
    return hashlib.sha256(":".join(cause).encode()).hexdigest()[:24]


def row(event: WalletCreatedV1 | WalletCreditedV1, n: int, stamp: int, now: datetime) -> InsertOne[dict[str, Any]]:
    id_ = str(ObjectId())
    meta = Meta(id_, event.TYPE, "/footlights/escrow", event.subject, now, event.key, str(ObjectId()), None, None)
    message = to_message(event, meta)
    headers = dict(message.headers)
    return InsertOne(
        {
            "_id": id_,
            "_stamp": stamp,
            "n": n,
            "topic": message.topic,
            "key": event.key,
            "value": message.value,
            "headers": headers,
        }
    )


async def credit(request: Request) -> Response:
    claims = jwt.decode(
        request.headers["authorization"][7:],
        KEY,
        algorithms=["HS256"],
        issuer="footlights",
        audience="footlights",
        leeway=30,
    )
    if "OPS" not in claims["scopes"]:
        return Response(status_code=403)
    user, amount = request.path_params["user_id"], Credit.model_validate_json(await request.body()).amount_diamonds
    now, cause, account = datetime.now(UTC), str(ObjectId()), f"wallet:{user}"
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    transfer = derived("transfer", "credit", cause)
    session = await client.start_session()
    async with session, session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority", j=True)):
        wallet = await db.balances.find_one({"_id": account}, session=session)
        stamp = max(int(now.timestamp() * 1e6), 1 + (wallet["_stamp"] if wallet else 0))
        balance = (wallet["balance_diamonds"] if wallet else 0) + amount
        legs = {"kind": "credit", "amount_diamonds": amount, "at": now, "escrow_id": None, "_stamp": stamp}
        await db.transfers.insert_one(
            {
                **legs,
                "_id": transfer,
                "cause": cause,
                "debit": "system:mint",
                "credit": account,
                "earning_id": None,
            },
            session=session,
        )
        await db.entries.insert_one(
            {**legs, "_id": derived("entry", transfer, account), "account": account}, session=session
        )
        await db.balances.bulk_write(
            [ReplaceOne({"_id": account}, {"_id": account, "balance_diamonds": balance, "_stamp": stamp}, upsert=True)],
            session=session,
        )
        await db.movements.insert_one(
            {
                "_id": derived("movement", transfer, "system:mint"),
                "account": "system:mint",
                "amount_diamonds": -amount,
                "_stamp": stamp,
            },
            session=session,
        )
        told = WalletCreditedV1(user_id=user, amount_diamonds=amount, cause_id=transfer)
        first = [] if wallet else [row(WalletCreatedV1(user_id=user, amount_diamonds=0, cause_id=cause), 1, stamp, now)]
        await db.outbox.bulk_write([*first, row(told, 1 + len(first), stamp, now)], session=session)
    return Response(
        Credited(transfer_id=transfer, balance_diamonds=balance).model_dump_json(), 201, media_type="application/json"
    )


app = Starlette(routes=[Route("/wallets/{user_id}/credit", credit, methods=["POST"])])
if __name__ == "__main__":
    uvicorn.run(
        app, port=int(os.environ["HTTP_PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
