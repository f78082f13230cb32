"""Bench (l): every list of one's own when it has 100 000 rows: newest first, from its middle, and what is new.

    python bench/lists.py [motor|pymongo] [ROWS]

A MongoDB of its own and each service alone in this process: from the request to the answer's last byte, without a
network. The rows are clones of what one deed has left. Each kind of page is asked for in turn; the slowest of a hundred
must take less than 50 ms, and MongoDB must look at no more than it shows.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

import httpx
from servers import bench_servers

from chassis import ids
from chassis.clock import SystemClock
from chassis.http.cursors import Cursor, Place
from chassis.storage.mongo import Driver, Mongo, Raw
from chassis_testing.costs import Clones, Commands, Counted, counted, plans
from contracts import OrderPaidV1, Prices, SessionStartedV1, Statuses
from escrow.service import SERVICE as ESCROW
from goals.service import SERVICE as GOALS
from notifier.service import SERVICE as NOTIFIER
from sessions.service import SERVICE as SESSIONS
from shop.service import SERVICE as SHOP
from shop.store import ORDERS
from shop.store.orders import settle

ROWS, ASKED, LIMIT = 100_000, 400, 50
P99_MILLISECONDS_MAX = 50.0
LOOKED_AT_MAX = 4 * (LIMIT + 1)  # a key and a document for each row, of two alternatives at the same time


@dataclass(frozen=True)
class List:
    """One list of one user's: where its rows are, and what they are sorted by."""

    harness: Counted
    client: httpx.AsyncClient
    path: str
    collection: str
    by: str
    kept: frozenset[str]
    """The ids that all rows have in common."""
    beside: tuple[str, ...] = ()
    """Where there is something of each row, too."""

    def url(self, **query: Any) -> str:
        return f"{self.path}{'&' if '?' in self.path else '?'}" + "&".join(f"{k}={v}" for k, v in query.items())


async def wallet(harness: Counted) -> list[List]:
    user = ids.new_id()
    done(await harness.client(ids.new_id(), "OPS").post(f"/wallets/{user}/credit", json={"amount_diamonds": 5}))
    return [List(harness, harness.client(user), "/wallets/me/entries", "transfers", "at", frozenset({user}))]


async def goals(harness: Counted) -> list[List]:
    session = await on_air(harness)
    streamer = harness.client(session.streamer_id, "CREATOR")
    context = {
        "session_id": session.session_id, "perform_duration": 60, "hesitation_countdown": 60,
        "ticket_product_id": "livestream-show-ticket_134", "ticket_product_type": "regular",
    }  # fmt: skip
    offer = {"levels": [{"title": "a song", "target": 1}], "exp": time.time() + 3_600, "context": context}
    done(await streamer.post("/goals?type=show-funding", json=offer))
    kept = frozenset({session.session_id, session.streamer_id})
    paths = ("/goals?mine=true", f"/goals?session_id={session.session_id}")
    return [List(harness, streamer, path, "goals", "created_at", kept) for path in paths]


async def sessions(harness: Counted) -> list[List]:
    streamer, viewer = ids.new_id(), ids.new_id()
    host, guest = harness.client(streamer, "CREATOR"), harness.client(viewer)
    session_id = done(await host.post("/sessions", json={"prices": {"sd": 10}}))["session_id"]
    done(await guest.post(f"/sessions/{session_id}/pay", json={"duration": 60}))
    done(await host.put(f"/blocks/{viewer}"))
    done(await host.delete(f"/sessions/{session_id}"))  # one at a time is on
    everybody = frozenset({streamer, viewer, session_id})
    return [
        List(harness, guest, "/payments", "payments", "id", everybody),
        List(harness, host, "/blocks", "blocks", "at", frozenset({streamer})),
        List(
            harness,
            guest,
            f"/sessions?streamer_id={streamer}",
            "head_counts",
            "id",
            frozenset({streamer}),
            ("sessions",),
        ),
    ]


async def shop(harness: Counted) -> list[List]:
    session, user = await on_air(harness), ids.new_id()
    client = harness.client(user)
    rose = {"product_id": "livestream-gift_rose", "session_id": session.session_id, "count": 1}
    done(await client.post("/gifts", json=rose))
    wish = {"product_id": "livestream_pass", "quantity": 1, "gateway": "sandbox"}
    order_id = done(await client.post("/shop/checkout", json=wish))["order_id"]
    async with harness.tx() as tx:
        order = await tx.get(ORDERS, order_id)
        assert order is not None
        settle(tx, replace(order, payment="confirming"), "confirmed")
    kept = frozenset({user, session.session_id, session.streamer_id})
    return [
        List(harness, client, "/gifts", "gifts", "id", kept),
        List(harness, client, "/shop/orders", "orders", "id", kept),
        List(harness, client, "/shop/backpack", "backpack", "granted", kept),
    ]


async def notifier(harness: Counted) -> list[List]:
    user = ids.new_id()
    order = OrderPaidV1(user_id=user, order_id=ids.new_id(), items=(), amount=1, currency="TWD", gateway="sandbox")
    await harness.handle(order)
    return [List(harness, harness.client(user), "/notifications", "notifications", "seq", frozenset({user}))]


async def on_air(harness: Counted) -> SessionStartedV1:
    started = SessionStartedV1(
        session_id=ids.new_id(), streamer_id=ids.new_id(), active=True, prices=Prices(sd=10, exclusive=20),
        preset="preview", sources=(), statuses=Statuses(created=harness.now, ended=None), exclusive_to=(),
    )  # fmt: skip
    await harness.handle(started)
    return started


def done(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
    return answer.json() if answer.content else None


def spread(by: str, rows: int) -> Callable[[Raw, int], Raw]:
    """A clone's place in the list: one a millisecond until now, or one number after the other."""

    def place(row: Raw, number: int) -> Raw:
        value = row[by]
        moved = value - timedelta(milliseconds=rows - number) if isinstance(value, datetime) else value + 1 + number
        return {**row, by: moved}

    return place


async def fill(one: List, clones: Clones, rows: int) -> Place | None:
    """Make it long; returns a place in its middle, if places are what its cursors are made of."""
    database = one.harness.runtime.database
    there = database[one.collection]
    born = {(database.name, name): await database[name].distinct("_id") for name in (one.collection, *one.beside)}
    place = "_id" if one.by == "id" else one.by
    changes: Mapping[str, Any] = {} if one.by == "id" else {one.collection: spread(one.by, rows)}
    await clones.add(born, rows, one.kept, changes)
    for _, name in born:
        while await database[name].count_documents({}) < rows:  # noqa: ASYNC110 - the majority has them later than one
            await asyncio.sleep(0.1)
    middle = await there.find({}).sort(place, 1).skip(rows // 2).limit(1).to_list(1)
    value, id_ = middle[0][place], middle[0]["_id"]
    return None if one.by == "seq" else Place(value, id_)


async def measure(one: List, middle: Place | None, rows: int) -> tuple[float, float]:
    """The median and the slowest of a hundred, in milliseconds."""
    newest = done(await one.client.get(one.url(order="desc", limit=1)))
    after = rows // 2 if middle is None else Cursor(middle).text()
    end = newest["items"][0]["seq"] if middle is None else newest["last"]
    urls = [one.url(order="desc", limit=LIMIT), one.url(after=after, limit=LIMIT), one.url(after=end, limit=LIMIT)]
    took = []
    for number in range(ASKED):
        began = time.perf_counter()
        page = done(await one.client.get(urls[number % len(urls)]))
        took.append((time.perf_counter() - began) * 1_000)
        assert len(page["items"]) == (0 if number % len(urls) == 2 else LIMIT), one.path
    return statistics.median(took), statistics.quantiles(took, n=100)[98]


async def main(driver: Driver, url: str, rows: int) -> bool:
    commands = Commands()
    mongo, uncounted = Mongo(url, driver, listeners=[commands]), Mongo(url, driver)
    clones = Clones(uncounted)
    good = True
    scenarios: tuple[tuple[Any, Callable[[Counted], Awaitable[list[List]]]], ...] = (
        (ESCROW, wallet), (GOALS, goals), (SESSIONS, sessions), (SHOP, shop), (NOTIFIER, notifier),
    )  # fmt: skip
    for service, scenario in scenarios:
        harness = await counted(service, mongo, commands, SystemClock())
        filled: dict[str, Place | None] = {}
        for one in await scenario(harness):
            if one.collection not in filled:
                filled[one.collection] = await fill(one, clones, rows)
            commands.queries.clear()
            median, p99 = await measure(one, filled[one.collection], rows)
            asked = await plans(uncounted, commands.queries)
            looked_at = max(plan.looked_at for plan in asked)
            fast = p99 < P99_MILLISECONDS_MAX and looked_at <= LOOKED_AT_MAX and not any(plan.scans for plan in asked)
            good &= fast
            path = one.path.partition("?session_id=")[0].partition("?streamer_id=")[0]
            print(f"{path:22} {rows} rows: median {median:5.1f} ms, p99 {p99:5.1f} ms, looked at {looked_at}"
                  f"{'' if fast else '  MISSED'}")  # fmt: skip
        await mongo.client.drop_database(harness.runtime.database.name)
    await mongo.close()
    await uncounted.close()
    return good


if __name__ == "__main__":
    chosen = cast("Driver", next(iter(sys.argv[1:]), "motor"))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else ROWS
    with bench_servers() as servers:
        sys.exit(0 if asyncio.run(main(chosen, servers.mongo_url, count)) else 1)
