"""Anchor of bench (d): crediting a wallet by hand, on bare Starlette and motor: the same token, body and documents."""

import hashlib
import os
from datetime import UTC, datetime
from typing import Any

import jwt
import uvicorn
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClient
from pydantic import BaseModel, Field
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts import Event, EventAttributes, WalletCreatedV1, WalletCreditedV1, to_message

KEY = os.environ["BENCH_JWT_KEY"]
client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(os.environ["MONGO_URL"], w="majority", journal=True)
db = client[os.environ["BENCH_DATABASE"]]
SAFE = ReadConcern("snapshot"), WriteConcern("majority", j=True)
CLAIMS: dict[str, Any] = {"algorithms": ["HS256"], "issuer": "footlights", "audience": "footlights", "leeway": 30}


class Credit(BaseModel):
    amount_diamonds: int = Field(strict=True, ge=1, le=1_000_000_000)


def derived(*cause: str) -> str:
    return hashlib.sha256(":".join(cause).encode()).hexdigest()[:24]


def row(event: Event, n: int, now: datetime) -> dict[str, Any]:
    id_ = str(ObjectId())
    attributes = EventAttributes(
        id_, event.TYPE, "/footlights/escrow", event.subject, now, event.key, str(ObjectId()), None, None
    )
    sent = to_message(event, attributes)
    message = {"topic": sent.topic, "value": sent.value, "headers": dict(sent.headers)}
    return {"_id": id_, "n": n, "key": event.key, **message}


async def credit(request: Request) -> Response:
    if "OPS" not in jwt.decode(request.headers["authorization"][7:], KEY, **CLAIMS)["scopes"]:
        return Response(status_code=403)
    user = request.path_params["user_id"]
    amount = Credit.model_validate_json(await request.body()).amount_diamonds
    now = datetime.now(UTC).replace(microsecond=0)
    cause, account, mint = str(ObjectId()), f"wallet:{user}", "system:mint"
    id_ = derived("transfer", "credit", cause)
    session = await client.start_session()
    async with session, session.start_transaction(*SAFE):
        wallet = await db.balances.find_one({"_id": account}, session=session)
        stamp = {"_stamp": max(int(now.timestamp() * 1e6), 1 + (wallet["_stamp"] if wallet else 0))}
        total: int = amount + (wallet["balance_diamonds"] if wallet else 0)
        balance = {"_id": account, "balance_diamonds": total, **stamp}
        transfer = {
            "_id": id_, "kind": "credit", "amount_diamonds": amount, "at": now, "escrow_id": None, "cause": cause,
            "debit": mint, "credit": account, "earning_id": None, "wallets": [account], **stamp,
        }  # fmt: skip
        moved = {"_id": derived("movement", id_, mint), "account": mint, "amount_diamonds": -amount, **stamp}
        events: list[Event] = [WalletCreditedV1(user_id=user, amount_diamonds=amount, cause_id=id_)]
        events += [] if wallet else [WalletCreatedV1(user_id=user, amount_diamonds=0, cause_id=cause)]
        rows = [{**row(event, n, now), **stamp} for n, event in enumerate(events)]
        await db.balances.replace_one({"_id": account}, balance, upsert=True, session=session)
        await db.transfers.insert_one(transfer, session=session)
        await db.movements.insert_one(moved, session=session)
        await db.outbox.insert_many(rows, session=session)
    return JSONResponse({"transfer_id": id_, "balance_diamonds": total}, 201)


if __name__ == "__main__":
    app = Starlette(routes=[Route("/wallets/{user_id}/credit", credit, methods=["POST"])])
    uvicorn.run(app, port=int(os.environ["HTTP_PORT"]), loop="uvloop", http="httptools", access_log=False)
