"""Anchor of bench (e): a bare FastAPI endpoint that inserts what was asked for in one transaction. Nothing else.

No token, no events, no look at anything: the body is read by pydantic, one document is inserted, the id is answered.
"""

import os
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from bson import ObjectId
from fastapi import FastAPI
from motor.motor_asyncio import AsyncIOMotorClient
from pydantic import BaseModel, Field
from pymongo import MongoClient
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(os.environ["MONGO_URL"], w="majority", journal=True)
gifts = client[os.environ["BENCH_DATABASE"]].gifts
SAFE = ReadConcern("snapshot"), WriteConcern("majority", j=True)
app = FastAPI()

Id = Annotated[str, Field(pattern="^[0-9a-f]{24}$")]


class NewGift(BaseModel):
    product_id: str
    session_id: Id
    goal_id: Id
    count: Annotated[int, Field(ge=1, le=100)]


class RequestedGift(BaseModel):
    gift_id: str
    amount_diamonds: int


@app.post("/gifts", status_code=202)
async def give(body: NewGift) -> RequestedGift:
    """Ask for a gift."""
    gift_id, amount = str(ObjectId()), 134 * body.count
    gift = {**body.model_dump(), "_id": gift_id, "amount_diamonds": amount, "at": datetime.now(UTC)}
    session = await client.start_session()
    async with session, session.start_transaction(*SAFE):
        await gifts.insert_one(gift, session=session)
    return RequestedGift(gift_id=gift_id, amount_diamonds=amount)


if __name__ == "__main__":
    MongoClient[dict[str, Any]](os.environ["MONGO_URL"])[os.environ["BENCH_DATABASE"]].create_collection("gifts")
    uvicorn.run(app, port=int(os.environ["HTTP_PORT"]), loop="uvloop", http="httptools", access_log=False)
