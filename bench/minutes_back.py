"""Bench (j): viewers who have paid for minutes, and the session ends: everybody is paid back what has not begun.

    python bench/minutes_back.py [motor|pymongo] [viewers]

A stack of its own. Everybody pays over HTTP. While the first session pays back, others ask for tokens of another one,
at a steady pace. While the second one does, the worker of sessions is killed.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from load import load, request
from pydantic_core import to_json
from sale import CONNECTIONS, Person, Raw, TicketSale, until
from ticket_sale import Verdicts

from devstack.stack import Stack

VIEWERS = "20000"
STEPS, STEP_SECONDS, SD_DIAMONDS = 60, 60, 5
RATE, TRANSACTION_SECONDS, TOKEN_MS = 1_000, 1.0, 200
WATCHERS, PAUSE_SECONDS = 200, 0.02  # who ask for tokens meanwhile: 50 a second at most
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Broadcast:
    """A session for whose minutes people have paid."""

    streamer: Person
    session_id: str


class MinutesBack:
    """What is done in this bench, on the stack of the other one."""

    def __init__(self, stack: Stack, viewers: int) -> None:
        self.sale = TicketSale(stack, viewers)
        self.viewers = viewers

    async def begin(self) -> Broadcast:
        streamer = self.sale.person("CREATOR")
        begun = await self.sale.ask(streamer, "POST", "/sessions", {"prices": {"sd": SD_DIAMONDS}})
        return Broadcast(streamer, begun["session_id"])

    async def everybody_pays(self, broadcast: Broadcast) -> None:
        body, path = to_json({"duration": STEPS * STEP_SECONDS}), f"/sessions/{broadcast.session_id}/pay"
        asked = (request("POST", path, body, viewer.token) for viewer in self.sale.buyers)
        await load(self.sale.port, asked, 202, CONNECTIONS)
        has_time = {"session_id": broadcast.session_id, "exp": {"$ne": None}}
        count = self.sale.mongo["sessions"]["viewers"].count_documents
        await until(lambda: count(has_time), lambda found: found >= self.viewers)
        await self.sale.quiet()

    async def end(self, broadcast: Broadcast) -> None:
        await self.sale.ask(broadcast.streamer, "DELETE", f"/sessions/{broadcast.session_id}")

    async def told(self, broadcast: Broadcast, share: float) -> None:
        """Wait until sessions has told escrow of so many."""
        where = {"session_id": broadcast.session_id, "reversal": "session_ended"}
        count = self.sale.mongo["sessions"]["payments"].count_documents
        await until(lambda: count(where), lambda found: found >= share * self.viewers)

    async def paid_back(self, broadcast: Broadcast) -> None:
        """Wait until escrow has paid everybody back, and sessions knows."""
        where = {"session_id": broadcast.session_id, "reversed_diamonds": {"$gt": 0}}
        count = self.sale.mongo["sessions"]["payments"].count_documents
        await until(lambda: count(where), lambda found: found >= self.viewers)

    async def wrong(self, broadcast: Broadcast) -> list[str]:
        """A line for each thing that is not as it should be: each was paid back once, what had not begun."""
        lines: list[str] = []
        async for payment in self.sale.mongo["sessions"]["payments"].find({"session_id": broadcast.session_id}):
            theirs: Raw = await self.sale.mongo["escrow"]["payments"].find_one({"_id": payment["_id"]}) or {}
            due = payment["reversed_duration"] // STEP_SECONDS * SD_DIAMONDS
            back = (payment["reversed_diamonds"], theirs.get("reversed_diamonds"))
            if due == 0 or back != (due, due):
                lines.append(f"{payment['_id']}: {back} of {due}")
        proof = await self.sale.ask(self.sale.ops, "GET", "/ledger/proof")
        return lines[:5] + ([] if proof["holds"] and proof["sum_diamonds"] == 0 else ["the ledger does not hold"])

    async def others_ask(self, broadcast: Broadcast, latencies_ms: list[float]) -> None:
        """Tokens of another session, one after the other."""
        path = f"/sessions/{broadcast.session_id}/token"
        sent = [request("GET", path, b"", viewer.token) for viewer in self.sale.buyers[:WATCHERS]]
        while True:
            for one in sent:
                latencies_ms += (await load(self.sale.port, iter([one]), 200, 1)).latencies_ms
                await asyncio.sleep(PAUSE_SECONDS)

    async def look_at_transactions(self, longest: list[float]) -> None:
        """For how long transactions are seen open, in seconds."""
        stages: list[Raw] = [
            {"$currentOp": {"idleSessions": True, "allUsers": True}},
            {"$match": {"transaction.timeOpenMicros": {"$gt": 0}}},
            {"$group": {"_id": None, "micros": {"$max": "$transaction.timeOpenMicros"}}},
        ]
        while True:
            async for row in await self.sale.mongo["admin"].aggregate(stages):
                longest[0] = max(longest[0], row["micros"] / 1e6)
            await asyncio.sleep(LOOK_SECONDS)


async def first_session(bench: MinutesBack, verdicts: Verdicts) -> None:
    """It ends, and others are served meanwhile."""
    broadcast, other = await bench.begin(), await bench.begin()
    await bench.everybody_pays(broadcast)
    latencies_ms: list[float] = []
    longest = [0.0]
    meanwhile = [
        asyncio.create_task(bench.others_ask(other, latencies_ms)),
        asyncio.create_task(bench.look_at_transactions(longest)),
    ]
    began, cpu = time.perf_counter(), bench.sale.cpu_seconds()
    await bench.end(broadcast)
    await bench.told(broadcast, 1.0)
    told = time.perf_counter() - began
    await bench.paid_back(broadcast)
    seconds = time.perf_counter() - began
    for task in meanwhile:
        task.cancel()
    used = (bench.sale.cpu_seconds()["sessions-worker"] - cpu["sessions-worker"]) / bench.viewers * 1e3
    verdicts.tell(f"{bench.viewers} told by sessions what goes back", bench.viewers / told, "/s", RATE)
    verdicts.tell("paid back by escrow, and known to be", bench.viewers / seconds, "/s")
    verdicts.tell("processor time of sessions' worker, of a viewer", used, "ms")
    verdicts.tell("the longest transaction that was seen", longest[0], "s", below=TRANSACTION_SECONDS)
    if len(latencies_ms) > 1:
        p99 = statistics.quantiles(latencies_ms, n=100)[98]
        verdicts.tell(f"{len(latencies_ms)} tokens for others meanwhile, p99", p99, "ms", below=TOKEN_MS)
    await bench.sale.quiet("sessions", "escrow")
    verdicts.check("the money after it", await bench.wrong(broadcast))


async def second_session(bench: MinutesBack, verdicts: Verdicts) -> None:
    """It ends, and the worker that pays back is killed in the middle of it."""
    broadcast = await bench.begin()
    await bench.everybody_pays(broadcast)
    await bench.end(broadcast)
    await bench.told(broadcast, 0.1)
    await asyncio.to_thread(bench.sale.stack.kill, "sessions-worker")
    where = {"session_id": broadcast.session_id, "reversal": "session_ended"}
    told = await bench.sale.mongo["sessions"]["payments"].count_documents(where)
    await bench.paid_back(broadcast)
    await bench.sale.quiet("sessions", "escrow")
    print(f"(j) sessions' worker was killed after {told} of {bench.viewers}", flush=True)
    verdicts.check("the money after it", await bench.wrong(broadcast))


async def measure(stack: Stack, viewers: int) -> bool:
    verdicts = Verdicts("j")
    bench = MinutesBack(stack, viewers)
    await bench.sale.provision()
    await bench.sale.quiet()
    await first_session(bench, verdicts)
    await second_session(bench, verdicts)
    return verdicts.fine


def main(driver: str = "motor", viewers: str = VIEWERS) -> bool:
    environ = {**os.environ, "MONGO_DRIVER": driver}
    with tempfile.TemporaryDirectory(prefix="footlights-bench-") as data, Stack(Path(data), environ=environ) as stack:
        return asyncio.run(measure(stack, int(viewers)))


if __name__ == "__main__":
    sys.exit(not main(*sys.argv[1:]))
