"""Bench (e): a ticket sale. 20 000 tickets, a request each, by 5 000 buyers; then everybody's money goes back.

    python bench/ticket_sale.py [motor|pymongo] [tickets]

A stack of its own, three shows. The first is sold in slices, in turn with a bare FastAPI endpoint that inserts a
document in a transaction, and refunded by escrow alone. The second is sold in one go and refunded with everything
running, until the last push. While the third is refunded, escrow's worker is killed.
"""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from load import Slice, load, request
from pydantic_core import to_json
from sale import CONNECTIONS, SERVICES, TICKET, Show, TicketSale, until

from devstack.stack import Stack

BUYERS, TICKETS = 5_000, "20000"
SLICES = 8
ANCHOR_PORT, ANCHOR_SECONDS = 18_711, 3.0
FEW_PART, WINDOW_PART, WINDOWS = 20, 40, 5  # 1 000 and 500 of 20 000
LOOKS = 200
SIZE_MAX = 64 * 1_024
OTHERS = tuple(f"{name}-worker" for name in SERVICES if name != "escrow")


class Verdicts:
    """Prints figures with what was expected of them, and remembers whether all came up to it."""

    def __init__(self, bench: str) -> None:
        """Of the bench with this letter."""
        self.fine = True
        self._bench = bench

    def tell(
        self, what: str, figure: float, unit: str, at_least: float | None = None, below: float | None = None
    ) -> None:
        expected = f" (expected ≥ {at_least:g})" if at_least is not None else ""
        expected += f" (expected < {below:g})" if below is not None else ""
        short = (at_least is not None and figure < at_least) or (below is not None and figure >= below)
        self.fine &= not short
        load_average = f"load {os.getloadavg()[0]:.1f}"
        print(
            f"({self._bench}) {what:62} {figure:9.2f} {unit:8} {load_average}{expected}{' SHORT' if short else ''}",
            flush=True,
        )

    def check(self, what: str, lines: list[str]) -> None:
        self.fine &= not lines
        print(f"({self._bench}) {what}: {'; '.join(lines) or 'as it should be'}", flush=True)


@contextmanager
def anchor(stack: Stack) -> Iterator[int]:
    """The bare endpoint, as a process of its own on the same MongoDB."""
    env = {**os.environ, "MONGO_URL": stack.mongo_url, "BENCH_DATABASE": "bench", "HTTP_PORT": str(ANCHOR_PORT)}
    running = subprocess.Popen([sys.executable, str(Path(__file__).with_name("ticket_sale_anchor.py"))], env=env)
    try:
        yield running.pid
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(15)


async def anchor_answers() -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", ANCHOR_PORT)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def load_anchor(seconds: float) -> Slice:
    id_ = "0" * 24
    body = to_json({"product_id": TICKET, "session_id": id_, "goal_id": id_, "count": 1})
    until = time.perf_counter() + seconds

    def requests() -> Iterator[bytes]:
        while time.perf_counter() < until:
            yield request("POST", "/gifts", body, "none")

    return await load(ANCHOR_PORT, requests(), 202, CONNECTIONS)


async def sell_in_turn(sale: TicketSale, show: Show, tickets: int, verdicts: Verdicts) -> None:
    """Slices of ours and of the anchor's, each while the other rests."""
    with anchor(sale.stack):
        await until(anchor_answers, bool)
        await load_anchor(1.0)  # warm
        ours, bare = [], []
        for number in range(SLICES):
            part = tickets * (number + 1) // SLICES - tickets * number // SLICES
            bare.append((await load_anchor(ANCHOR_SECONDS)).per_second)
            _, seconds = await sale.sell(show, part)
            ours.append(part / seconds)
            await sale.quiet()
    verdicts.tell(
        f"{SLICES} slices of {tickets // SLICES}: held and counted, median", statistics.median(ours), "/s", 150
    )
    verdicts.tell("a bare FastAPI endpoint with one insert, median", statistics.median(bare), "/s")
    ratios = [mine / other for mine, other in zip(ours, bare, strict=True)]
    verdicts.tell("ours of it, median of the slices", statistics.median(ratios), "x", 0.3)


async def cpu_per_ticket(sale: TicketSale, show: Show, window: int) -> tuple[float, Counter[str]]:
    """Milliseconds of all processes together until the last push, median of the windows; and of each process."""
    sums, parts = [], Counter[str]()
    for _ in range(WINDOWS):
        before = sale.cpu_seconds()
        await sale.sell(show, window)
        await sale.quiet()
        used = {name: (at - before[name]) / window * 1e3 for name, at in sale.cpu_seconds().items()}
        sums.append(sum(used.values()))
        parts.update({name: ms / WINDOWS for name, ms in used.items()})
    return statistics.median(sums), parts


async def look_at_leaderboard(sale: TicketSale, show: Show, verdicts: Verdicts) -> None:
    asked = (request("GET", f"/goals/{show.goal_id}/leaderboard", b"", show.streamer.token) for _ in range(LOOKS))
    cuts = statistics.quantiles((await load(sale.port, asked, 200, 1)).latencies_ms, n=100)
    verdicts.tell("leaderboard p50", cuts[49], "ms", below=20)
    verdicts.tell("leaderboard p99", cuts[98], "ms", below=20)


async def first_show(sale: TicketSale, tickets: int, verdicts: Verdicts) -> None:
    """In slices; what a ticket costs at the beginning and at the end; refunded by escrow alone."""
    show = await sale.open()
    few, window = tickets // FEW_PART, tickets // WINDOW_PART
    await sale.sell(show, few)
    await sale.quiet()
    early, _ = await cpu_per_ticket(sale, show, window)
    await sell_in_turn(sale, show, tickets - few - WINDOWS * window, verdicts)
    sold = await sale.progress(show)
    await look_at_leaderboard(sale, show, verdicts)
    late, parts = await cpu_per_ticket(sale, show, window)
    verdicts.tell(f"CPU of a ticket with {few} sold", early, "ms")
    verdicts.tell(f"CPU of a ticket with {sold} sold", late, "ms")
    verdicts.tell("the latter of the former", late / early, "x", below=1.2)
    print("    ", ", ".join(f"{name} {ms:.2f}" for name, ms in parts.most_common() if ms >= 0.01), flush=True)
    sold = await sale.progress(show)
    seconds = await refund_alone(sale, show)
    verdicts.tell(f"{sold} earnings refunded by escrow alone", sold / seconds, "/s", 2_000)
    for name in OTHERS:
        await asyncio.to_thread(sale.stack.start_part, name)
    await sale.quiet()
    verdicts.check("the money after it", await sale.wrong(show, sold))


async def refund_alone(sale: TicketSale, show: Show) -> float:
    """Seconds from escrow's first to its last settlement, with no other worker running."""
    await asyncio.to_thread(sale.stack.stop_part, "escrow-worker")
    await sale.end(show)
    await until(lambda: sale.ask(show.streamer, "GET", f"/goals/{show.goal_id}"), lambda goal: goal["lapsed"])
    await sale.quiet("goals")
    for name in OTHERS:
        await asyncio.to_thread(sale.stack.stop_part, name)
    await asyncio.to_thread(sale.stack.start_part, "escrow-worker")
    await sale.settled(show)
    return time.time() - await began(sale, show)


async def began(sale: TicketSale, show: Show) -> float:
    """When the first earning was refunded (Unix seconds)."""
    of_show = {"escrow_id": show.escrow_id, "kind": "refund"}
    first = await sale.mongo["escrow"]["transfers"].find_one(of_show, sort=[("at", 1)])
    assert first is not None
    return float(first["at"].timestamp())


async def second_show(sale: TicketSale, tickets: int, verdicts: Verdicts) -> None:
    """In one go, and refunded with everything running."""
    show = await sale.open()
    asked, seconds = await sale.sell(show, tickets)
    verdicts.tell(f"{tickets} in one go: held and counted", tickets / seconds, "/s", 150)
    cuts = statistics.quantiles(asked.latencies_ms, n=100)
    print(f"     answered {asked.per_second:.0f}/s, p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms", flush=True)
    await sale.quiet()
    notified, pushes = await sale.notified("escrow.failed"), await sale.pushes()
    await sale.end(show)
    await sale.settled(show)
    settled = time.time() - (beginning := await began(sale, show))
    await sale.quiet()
    verdicts.tell(f"{tickets} refunded with everything running, in escrow", tickets / settled, "/s")
    verdicts.tell("from the verdict until the last push", time.time() - beginning, "s")
    pushes = {what: times - pushes.get(what, 0) for what, times in (await sale.pushes()).items()}
    print(f"     pushes: {', '.join(f'{times:.0f} {what}' for what, times in pushes.items())}", flush=True)
    notified = await sale.notified("escrow.failed") - notified
    lines = [] if notified == tickets else [f"{notified} buyers were told, of {tickets}"]
    verdicts.check("the money after it", lines + await sale.wrong(show, tickets))


async def third_show(sale: TicketSale, tickets: int, verdicts: Verdicts) -> None:
    """Refunded by an escrow that is killed in the middle of it."""
    show = await sale.open()
    await sale.sell(show, tickets)
    await sale.quiet()
    await sale.end(show)
    half = await sale.settled(show, tickets // 2)
    await asyncio.to_thread(sale.stack.kill, "escrow-worker")
    assert not half["settled"]
    await sale.settled(show)
    await sale.quiet()
    print(f"(e) escrow's worker was killed after {half['refunded']} of {tickets}", flush=True)
    verdicts.check("the money after it", await sale.wrong(show, tickets))


async def measure(stack: Stack, tickets: int) -> bool:
    verdicts = Verdicts("e")
    sale = TicketSale(stack, min(BUYERS, tickets))
    await sale.provision()
    await sale.quiet()
    await first_show(sale, tickets, verdicts)
    size, where = await sale.largest_document()
    verdicts.tell(f"the largest document ({where})", size, "bytes", below=SIZE_MAX + 1)
    size, topic, records = await sale.largest_event()
    verdicts.tell(f"the largest of {records} events ({topic})", size, "bytes", below=SIZE_MAX + 1)
    await second_show(sale, tickets, verdicts)
    await third_show(sale, tickets, verdicts)
    return verdicts.fine


def main(driver: str = "motor", tickets: str = TICKETS) -> bool:
    environ = {**os.environ, "MONGO_DRIVER": driver}
    with tempfile.TemporaryDirectory(prefix="footlights-bench-") as data, Stack(Path(data), environ=environ) as stack:
        return asyncio.run(measure(stack, int(tickets)))


if __name__ == "__main__":
    sys.exit(not main(*sys.argv[1:]))
