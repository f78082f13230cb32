"""The anchor of `click_work.py`: the same click, written by hand as its best author would. No framework, no generality.

    MONGO_URL=… KAFKA_BOOTSTRAP=… SOKETI_URL=… HTTP_PORT=… BENCH_JWT_KEY=… python bench/click_anchor.py ROLE

A process each for `api`, `shop`, `escrow`, `sessions` and `notifier`. It keeps what ours keeps: outbox and inbox, one
transaction for each poll, a push only once it is decided, offsets after the commit. It looks at nothing that a guarded
update tells, and has neither order by key, parking, retries, deadlines, fencing, logs, metrics nor traces.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import uvicorn
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClient
from pusher import http as pusher_http
from pymongo import DeleteOne, InsertOne, UpdateOne
from pymongo.errors import BulkWriteError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devstack.parts import PUSHER_APP_ID, PUSHER_KEY, PUSHER_SECRET

TOPIC = "anchor-goals"
SAFE = ReadConcern("snapshot"), WriteConcern("majority", j=True)
CLAIMS: dict[str, Any] = {"algorithms": ["HS256"], "issuer": "footlights", "audience": "footlights"}
OUTBOX_AT_ONCE, AT_ONCE = 100, 500

Raw = dict[str, Any]
Writes = dict[str, list[Any]]

client: AsyncIOMotorClient[Raw] = AsyncIOMotorClient(os.environ.get("MONGO_URL"), w="majority", journal=True)


async def write(database: str, writes: Writes) -> None:
    """All of it in one transaction, a command for each collection."""
    session = await client.start_session()
    async with session, session.start_transaction(*SAFE):
        for name, several in writes.items():
            await client[f"anchor_{database}"][name].bulk_write(several, ordered=False, session=session)


# -- the click ---------------------------------------------------------------------------------------------------------


committed = asyncio.Event()


async def end_goal(request: Request) -> Response:
    """End a goal: the goal, its stage, its timer, and the event that says so."""
    caller = jwt.decode(request.headers["authorization"][7:], os.environ["BENCH_JWT_KEY"], **CLAIMS)
    goal_id, now = request.path_params["goal_id"], time.time()
    database = client["anchor_goals"]
    session = await client.start_session()
    async with session, session.start_transaction(*SAFE):
        goal = await database.goals.find_one_and_update(
            {"_id": goal_id, "streamer_id": caller["sub"], "active": True},
            {"$set": {"active": False, "ended_at": now}},
            session=session,
        )
        if goal is None:
            return Response(status_code=404)
        event = {name: goal[name] for name in ("session_id", "streamer_id", "context", "levels")}
        event |= {"id": str(ObjectId()), "goal_id": goal_id, "type": "goal.ended.v1", "ended_at": now}
        value = json.dumps(event).encode()
        await database.stages.update_one(
            {"_id": goal["session_id"]}, {"$set": {"goal_id": None}, "$inc": {"version": 1}}, session=session
        )
        await database.timers.bulk_write(
            [DeleteOne({"_id": f"ends:{goal_id}"}), InsertOne({"_id": f"forget:{goal_id}", "due": now + 86_400})],
            session=session,
        )
        await database.outbox.insert_one(
            {"_id": ObjectId(), "key": goal["session_id"], "value": value}, session=session
        )
    committed.set()
    return Response(status_code=204)


async def relay() -> None:
    """Publish what is in the outbox, in its order."""
    outbox = client["anchor_goals"].outbox.with_options(read_concern=ReadConcern("majority"))
    async with AIOKafkaProducer(
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP"], enable_idempotence=True, acks="all"
    ) as producer:
        while True:
            await committed.wait()
            committed.clear()
            while rows := await outbox.find().sort("_id").limit(OUTBOX_AT_ONCE).to_list(None):
                sent = [await producer.send(TOPIC, row["value"], row["key"].encode()) for row in rows]
                await asyncio.gather(*sent)
                await outbox.delete_many({"_id": {"$in": [row["_id"] for row in rows]}})


async def api() -> None:
    app = Starlette(routes=[Route("/goals/{goal_id}", end_goal, methods=["DELETE"])])
    config = uvicorn.Config(
        app, port=int(os.environ["HTTP_PORT"]), http="httptools", access_log=False, log_level="warning"
    )
    await asyncio.gather(uvicorn.Server(config).serve(), relay())


# -- those who hear of it ----------------------------------------------------------------------------------------------


async def consume(
    service: str,
    writes_of: Callable[[Sequence[Raw]], Writes],
    afterwards: Callable[[Sequence[Raw]], Awaitable[None]] | None = None,
) -> None:
    """One transaction for each poll, and what follows from it; each event once."""
    async with AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=os.environ["KAFKA_BOOTSTRAP"],
        group_id=f"anchor-{service}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    ) as consumer:
        while True:
            polled = await consumer.getmany(timeout_ms=1_000, max_records=AT_ONCE)
            events = [json.loads(record.value) for records in polled.values() for record in records]
            if not events:
                continue
            try:
                await take(service, events, writes_of)
            except BulkWriteError:  # some have been here before
                inbox = client[f"anchor_{service}"].inbox
                seen = inbox.find({"_id": {"$in": [event["id"] for event in events]}})
                old = {row["_id"] async for row in seen}
                events = [event for event in events if event["id"] not in old]
                await take(service, events, writes_of)
            if afterwards is not None:
                await afterwards(events)
            await consumer.commit()


async def take(service: str, events: Sequence[Raw], writes_of: Callable[[Sequence[Raw]], Writes]) -> None:
    inbox: list[Any] = [InsertOne({"_id": event["id"]}) for event in events]
    await write(service, {"inbox": inbox} | writes_of(events) if events else {})


def of_shop(events: Sequence[Raw]) -> Writes:
    """Nobody can give to it any more."""
    return {"goals": [_upsert(event["goal_id"], {"active": False}) for event in events]}


def of_escrow(events: Sequence[Raw]) -> Writes:
    """What was held for it goes back: nobody has bought a ticket, so its escrow is settled."""
    return {
        "escrows": [_upsert(event["goal_id"], {"verdict": "refund", "settled": True}) for event in events],
        "timers": [InsertOne({"_id": f"forget:{event['goal_id']}", "due": time.time() + 86_400}) for event in events],
    }


def of_sessions(events: Sequence[Raw]) -> Writes:
    """The session has no show any more."""
    return {
        "sessions": [_upsert(event["session_id"], {"show": None}) for event in events],
        "show_goals": [_upsert(event["goal_id"], {"active": False}) for event in events],
    }


def of_notifier(events: Sequence[Raw]) -> Writes:
    """Who may hear what, the notification of the streamer, and the push that is to be made."""
    return {
        "audiences": [_upsert(event["session_id"], {"goal_id": None}) for event in events],
        "broadcasts": [_upsert(event["session_id"], {"goal_id": None}) for event in events],
        "notifications": [
            InsertOne({"_id": event["id"], "user_id": event["streamer_id"], "name": "goal.ended"}) for event in events
        ],
        "pushes": [InsertOne({"_id": event["id"], "event": event}) for event in events],
    }


def _upsert(key: str, fields: Raw) -> UpdateOne:
    return UpdateOne({"_id": key}, {"$set": fields}, upsert=True)


@dataclass(frozen=True)
class Signer:
    """What Pusher's library signs a request with."""

    key: str = PUSHER_KEY
    secret: str = PUSHER_SECRET


async def notifier() -> None:
    """Push to the three channels that ours pushes to, over one pooled session."""
    soketi = os.environ["SOKETI_URL"]
    async with aiohttp.ClientSession() as http:

        async def push(event: Raw) -> None:
            data = json.dumps({name: event[name] for name in ("goal_id", "session_id", "levels", "ended_at")})
            body = {"name": "goal.ended", "channels": channels(event["streamer_id"]), "data": data}
            call = pusher_http.Request(Signer(), pusher_http.POST, f"/apps/{PUSHER_APP_ID}/events", body)
            async with http.post(soketi + call.signed_path, data=call.body, headers=call.headers) as answer:
                answer.raise_for_status()

        async def push_all(events: Sequence[Raw]) -> None:
            await asyncio.gather(*map(push, events))
            done = {"_id": {"$in": [event["id"] for event in events]}}
            await client["anchor_notifier"].pushes.delete_many(done)

        await consume("notifier", of_notifier, push_all)


def channels(streamer_id: str) -> list[str]:
    """Of all who hear that a goal has ended; a bench may listen to the first without a signature."""
    return [f"stream-{streamer_id}", f"presence-stream-{streamer_id}", f"private-user-{streamer_id}"]


ROLES: dict[str, Callable[[], Awaitable[None]]] = {
    "api": api,
    "shop": lambda: consume("shop", of_shop),
    "escrow": lambda: consume("escrow", of_escrow),
    "sessions": lambda: consume("sessions", of_sessions),
    "notifier": notifier,
}


async def main(role: str) -> None:
    await ROLES[role]()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
