"""What bench (e) plays on: a stack, a streamer on air who sells tickets, 5 000 who buy them, and a look behind."""

import asyncio
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any, TypeVar

import httpx
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from load import Slice, load, request
from pydantic_core import to_json
from pymongo import AsyncMongoClient

from devstack.stack import Stack
from devstack.tokens import access_token

SERVICES = ("goals", "sessions", "escrow", "notifier", "shop")
TICKET, CREDIT = "livestream-show-ticket_134", 1_000
CONNECTIONS = 16
FOR_EVER = 4 * 3_600
WAIT_SECONDS, POLL_SECONDS = 900.0, 0.05

Raw = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Person:
    id: str
    token: str


@dataclass(frozen=True)
class Show:
    """A session that sells tickets for a show."""

    streamer: Person
    session_id: str
    goal_id: str

    @property
    def escrow_id(self) -> str:
        return f"show_funding:{self.goal_id}"


class TicketSale:
    """The stack with everybody in it."""

    def __init__(self, stack: Stack, buyers: int) -> None:
        self.stack = stack
        self.mongo: AsyncMongoClient[Raw] = AsyncMongoClient(stack.mongo_url, tz_aware=True)
        self.http = httpx.AsyncClient(base_url=stack.gateway, timeout=30)
        self.port = httpx.URL(stack.gateway).port or 80
        self.ops = self.person("OPS")
        self.buyers = [self.person() for _ in range(buyers)]
        self._turn = count()

    def person(self, *scopes: str) -> Person:
        id_ = secrets.token_hex(12)
        return Person(id_, access_token(id_, scopes, os.environ, FOR_EVER))

    async def ask(self, who: Person, method: str, path: str, body: Any = None) -> Any:
        answer = await self.http.request(method, path, json=body, headers={"Authorization": f"Bearer {who.token}"})
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    # -- what people do ------------------------------------------------------------------------------------------------

    async def provision(self) -> None:
        """Give every buyer diamonds enough for every sale."""
        body = to_json({"amount_diamonds": CREDIT})
        asked = (request("POST", f"/wallets/{buyer.id}/credit", body, self.ops.token) for buyer in self.buyers)
        await load(self.port, asked, 201, CONNECTIONS)

    async def open(self) -> Show:
        """A streamer goes on air and offers a show."""
        streamer = self.person("CREATOR")
        session = (await self.ask(streamer, "POST", "/sessions", {"prices": {"sd": 10}}))["session_id"]
        context = {
            "session_id": session, "perform_duration": 60, "hesitation_countdown": 3_600,
            "ticket_product_id": TICKET, "ticket_product_type": "regular",
        }  # fmt: skip
        body = {"levels": [{"title": "Show", "target": 1_000_000}], "exp": time.time() + FOR_EVER, "context": context}
        goal = (await self.ask(streamer, "POST", "/goals?type=show-funding", body))["goal_id"]
        return Show(streamer, session, goal)

    async def sell(self, show: Show, tickets: int) -> tuple[Slice, float]:
        """Sell so many, a request each. The requests, and the seconds until all of them are held and counted."""
        before, began = await self.progress(show), time.perf_counter()
        asked = await load(self.port, islice(self._gifts(show), tickets), 202, CONNECTIONS)
        await until(lambda: self.progress(show), lambda progress: progress >= before + tickets)
        seconds = time.perf_counter() - began
        assert await self.progress(show) == before + tickets
        return asked, seconds

    def _gifts(self, show: Show) -> Iterator[bytes]:
        gift = {"product_id": TICKET, "session_id": show.session_id, "goal_id": show.goal_id, "count": 1}
        body = to_json(gift)
        while True:
            buyer = self.buyers[next(self._turn) % len(self.buyers)]
            yield request("POST", "/gifts", body, buyer.token)

    async def end(self, show: Show) -> None:
        """The session ends, so the show will never be: everybody gets everything back."""
        await self.ask(show.streamer, "DELETE", f"/sessions/{show.session_id}")

    # -- how it stands -------------------------------------------------------------------------------------------------

    async def progress(self, show: Show) -> int:
        goal = await self.mongo["goals"]["goals"].find_one({"_id": show.goal_id}, {"progress": 1})
        return int(goal["progress"]) if goal else 0

    async def escrow(self, show: Show) -> Raw:
        return await self.mongo["escrow"]["escrows"].find_one({"_id": show.escrow_id}) or {}

    async def settled(self, show: Show, refunded: int | None = None) -> Raw:
        """Wait until the escrow is settled, or so many of its earnings are refunded."""
        if refunded is None:
            return await until(lambda: self.escrow(show), lambda escrow: escrow["settled"])
        return await until(lambda: self.escrow(show), lambda escrow: escrow["refunded"] >= refunded)

    async def notified(self, what: str) -> int:
        """How many people were told of this on their own channel."""
        return await self.mongo["notifier"]["notifications"].count_documents({"name": what})

    async def pushes(self) -> dict[str, float]:
        """What became of the pushes since the notifier's worker was started, by how each ended."""
        text = (await self.http.get(f"{self.stack.url('notifier-worker')}/metrics")).text
        found = re.findall(r'^footlights_effects_total{name="push",outcome="(\w+)",.*} (\S+)$', text, re.MULTILINE)
        return {outcome: float(times) for outcome, times in found}

    async def quiet(self, *services: str) -> None:
        """Wait until nothing is left to be published, heard, pushed or done (by these services, default: by all)."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.stack.kafka_bootstrap)
        await consumer.start()
        try:
            await until(lambda: self._left(consumer, services or SERVICES), lambda left: left is None)
        finally:
            await consumer.stop()

    async def _left(self, consumer: AIOKafkaConsumer, services: tuple[str, ...]) -> str | None:
        soon = {
            "due": {"$lte": datetime.now(UTC) + timedelta(seconds=1)},
            "name": {"$nin": ["fold-due", "count-due", "proof-due"]},
        }
        waiting: Mapping[str, Raw] = {"outbox": {}, "timers": soon, "effects": {}}
        for service in services:
            for name, where in waiting.items():
                if await self.mongo[service][name].find_one(where, {"_id": 1}):
                    return f"{name} of {service}"
        parts = {
            (service, row["_id"]): int(row["offset"])
            for service in services
            async for row in self.mongo[service]["positions"].find()
        }
        topics = {id_: TopicPartition(*_topic(id_)) for _, id_ in parts}
        ends = await consumer.end_offsets(list(topics.values()))
        behind = [f"{id_} of {service}" for (service, id_), at in parts.items() if at < ends[topics[id_]]]
        return behind[0] if behind else None

    def cpu_seconds(self) -> dict[str, float]:
        """Processor seconds that each process of the stack has used."""
        rows = self.stack.status()["processes"]
        return {row["name"]: sum(psutil.Process(row["pid"]).cpu_times()[:2]) for row in rows if row["pid"]}

    async def largest_document(self) -> tuple[int, str]:
        """Bytes of the largest document of any collection, and whose it is."""
        size: list[Raw] = [{"$group": {"_id": None, "bytes": {"$max": {"$bsonSize": "$$ROOT"}}}}]
        found = []
        for service in SERVICES:
            for name in await self.mongo[service].list_collection_names():
                rows = await (await self.mongo[service][name].aggregate(size)).to_list()
                found += [(int(row["bytes"]), f"{service}.{name}") for row in rows]
        return max(found)

    async def largest_event(self) -> tuple[int, str, int]:
        """Bytes of the largest record of any topic, headers and key included; its topic; how many records there are."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.stack.kafka_bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        admin = AIOKafkaAdminClient(bootstrap_servers=self.stack.kafka_bootstrap)
        await admin.start()
        topics = await admin.describe_topics()
        await admin.close()
        parts = [
            TopicPartition(topic["topic"], part["partition"])
            for topic in topics
            if not topic["is_internal"]
            for part in topic["partitions"]
        ]
        consumer.assign(parts)
        missing, largest = sum((await consumer.end_offsets(parts)).values()), (0, "", 0)
        total = missing
        while missing > 0:
            for part, records in (await consumer.getmany(timeout_ms=1_000, max_records=5_000)).items():
                missing -= len(records)
                largest = max(largest, *((_bytes(record), part.topic, total) for record in records))
        await consumer.stop()
        return largest

    async def wrong(self, show: Show, tickets: int) -> list[str]:
        """What is wrong with the money after all of it went back, a line each."""
        once: list[Raw] = [
            {"$match": {"escrow_id": show.escrow_id, "kind": "refund"}},
            {"$group": {"_id": "$earning_id", "times": {"$sum": 1}}},
            {"$group": {"_id": "$times", "earnings": {"$sum": 1}}},
        ]
        times = {
            r["_id"]: r["earnings"] for r in await (await self.mongo["escrow"]["transfers"].aggregate(once)).to_list()
        }
        wallets = {f"wallet:{buyer.id}" for buyer in self.buyers}
        held = self.mongo["escrow"]["balances"].find({"_id": {"$in": list(wallets)}})
        other = [row async for row in held if row["balance_diamonds"] != CREDIT]
        proof = await self.ask(show.streamer, "GET", f"/escrows/{show.escrow_id}/proof")
        ledger = await self.ask(self.ops, "GET", "/ledger/proof?limit=1")
        lines = {
            f"refunds by how often: {times}": times == {1: tickets},
            f"{len(other)} wallets differ from their credit": not other,
            f"the escrow's proof: {proof}": proof["holds"] and proof["refunded_diamonds"] == proof["paid_diamonds"],
            f"the ledger's proof: {ledger}": ledger["holds"],
        }
        return [line for line, fine in lines.items() if not fine]


async def until(look: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """Look again and again, and return what was seen once it is good."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not good(seen := await look()):
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(POLL_SECONDS)
    return seen


def _topic(id_: str) -> tuple[str, int]:
    topic, _, number = id_.rpartition(":")
    return topic, int(number)


def _bytes(record: Any) -> int:
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
