"""Bench (h): `GET /sessions/{id}/token`, answered from what is kept, against bare Starlette that answers a constant.

    python bench/watch.py [motor|pymongo]

Both verify the same access tokens, and are loaded in turn, slice by slice, in one run. Ours reads in each request what
the answer is made of. Then two replicas are asked 10 000 times, right after a block was set or taken back on the other
one: no answer may be older than that.
"""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import jwt
import psutil
from bson import ObjectId
from load import load, request
from pymongo import MongoClient
from servers import Servers, bench_servers

EXPECTED = 0.6
SLICES, SECONDS, CONNECTIONS, VIEWERS = 8, 2.0, 32, 200
TRIES, AT_ONCE = 10_000, 10
KEY = "a-demo-key-of-at-least-thirty-two-bytes"
OURS, OTHER, ANCHOR = "ours", "other replica", "anchor"
PORTS = {OURS: 18_711, OTHER: 18_712, ANCHOR: 18_713}


def bearer(user_id: str, *scopes: str) -> str:
    claims = {
        "sub": user_id, "scopes": scopes, "jti": str(ObjectId()), "iss": "footlights", "aud": "footlights",
        "nbf": 0, "iat": int(time.time()), "exp": int(time.time()) + 3_600, "version": 1,
        "metadata": {"fingerprint": "bench", "flavor": "bench", "original": {"iat": 0, "method": "bench"}},
    }  # fmt: skip
    return jwt.encode(claims, KEY, algorithm="HS256", headers={"kid": "demo-bench"})


def environment(driver: str, servers: Servers, namespace: str) -> dict[str, str]:
    return os.environ | {
        "MONGO_URL": servers.mongo_url, "MONGO_DRIVER": driver, "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "NAMESPACE": namespace, "DEVSTACK": "true", "LOG_LEVEL": "WARNING", "BENCH_JWT_KEY": KEY,
        "JWT_KEYS": json.dumps({"demo-bench": {"alg": "HS256", "key": KEY}}),
        "STREAM_TOKEN_KEYS": json.dumps({"demo-bench": {"alg": "HS256", "key": KEY[::-1] + "-demo"}}),
        "BYTEPLUS_APP_ID": "demo" * 6, "BYTEPLUS_APP_KEY": "demo-app-key-of-the-bench-0123456789",
    }  # fmt: skip


async def answers(port: int) -> None:
    async with httpx.AsyncClient() as http:
        for _ in range(400):
            try:
                await http.get(f"http://127.0.0.1:{port}/")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
    raise TimeoutError(f"nothing answers on {port}")


async def go_on_air(streamer: str) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORTS[OURS]}") as http:
        headers = {"authorization": f"Bearer {streamer}"}
        started = await http.post("/sessions", json={"prices": {"sd": 10}}, headers=headers)
        session_id = str(started.raise_for_status().json()["session_id"])
        source = await http.put(f"/sessions/{session_id}/sources/room-{session_id}", json={}, headers=headers)
        source.raise_for_status()
        return session_id


async def compare(session_id: str, pids: dict[str, int]) -> bool:
    """Load ours and the anchor, slice by slice, and print the figures; True when the expectation is met."""
    sent = [request("GET", f"/sessions/{session_id}/token", b"", bearer(str(ObjectId()))) for _ in range(VIEWERS)]
    rates: dict[str, list[float]] = {OURS: [], ANCHOR: []}
    latencies: dict[str, list[float]] = {OURS: [], ANCHOR: []}
    cpu: dict[str, list[float]] = {OURS: [], ANCHOR: []}

    def requests(until: float) -> Iterator[bytes]:
        turn = cycle(sent)
        while time.perf_counter() < until:
            yield next(turn)

    for number in range(SLICES + 1):  # the first slice only warms
        for what in (OURS, ANCHOR):
            used = sum(psutil.Process(pids[what]).cpu_times()[:2])
            done = await load(PORTS[what], requests(time.perf_counter() + SECONDS), 200, CONNECTIONS)
            if number:
                rates[what].append(done.per_second)
                latencies[what] += done.latencies_ms
                cpu[what].append((sum(psutil.Process(pids[what]).cpu_times()[:2]) - used) / done.requests * 1e6)
    for what in (OURS, ANCHOR):
        p50, p99 = (statistics.quantiles(latencies[what], n=100)[i] for i in (49, 98))
        print(f"{what:7} {statistics.median(rates[what]):6.0f}/s  p50 {p50:5.1f} ms  p99 {p99:5.1f} ms", end="  ")
        print(f"CPU {statistics.median(cpu[what]):4.0f} µs/request")
    ratio = statistics.median(a / b for a, b in zip(rates[OURS], rates[ANCHOR], strict=True))
    print(f"(h) token / bare Starlette = {ratio:.2f} (expected ≥ {EXPECTED})")
    return ratio >= EXPECTED


async def stale(session_id: str, streamer: str) -> int:
    """How many of the tries were answered as if the last command had not been."""
    found: list[int] = []

    async def one() -> None:
        """A viewer who is blocked, then not any more, and so on: each try finds what the last one has left."""
        viewer = str(ObjectId())
        watching, commanding = ({"authorization": f"Bearer {token}"} for token in (bearer(viewer), streamer))
        async with httpx.AsyncClient(timeout=30) as http:
            for number in range(TRIES // AT_ONCE):
                here, there = (f"http://127.0.0.1:{PORTS[what]}" for what in (OURS, OTHER))
                if number % 4 >= 2:
                    here, there = there, here
                block = number % 2 == 0
                method = "PUT" if block else "DELETE"
                done = await http.request(method, f"{here}/blocks/{viewer}", headers=commanding)
                done.raise_for_status()
                seen = await http.get(f"{there}/sessions/{session_id}/token", headers=watching)
                assert seen.status_code in (200, 403), seen.text
                if (seen.status_code == 403) is not block:
                    found.append(number)

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    return len(found)


def start(driver: str, servers: Servers, namespace: str) -> dict[str, subprocess.Popen[bytes]]:
    env = environment(driver, servers, namespace)
    subprocess.run([sys.executable, "-m", "sessions", "migrate"], env=env, check=True)
    commands = {
        OURS: ["-m", "sessions", "api"],
        OTHER: ["-m", "sessions", "api"],
        ANCHOR: [str(Path(__file__).with_name("watch_anchor.py"))],
    }
    return {
        what: subprocess.Popen([sys.executable, *command], env=env | {"HTTP_PORT": str(PORTS[what])})
        for what, command in commands.items()
    }


async def main(driver: str, servers: Servers) -> bool:
    namespace = f"bench-{str(ObjectId())[-6:]}"
    running = start(driver, servers, namespace)
    try:
        for port in PORTS.values():
            await answers(port)
        streamer = bearer(str(ObjectId()), "CREATOR")
        session_id = await go_on_air(streamer)
        fast = await compare(session_id, {what: process.pid for what, process in running.items()})
        began = time.perf_counter()
        old = await stale(session_id, streamer)
        print(f"(h) two replicas, {TRIES} tries in {time.perf_counter() - began:.0f} s: {old} stale (expected 0)")
        return fast and not old
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        MongoClient[dict[str, Any]](servers.mongo_url).drop_database(f"{namespace}-sessions")


if __name__ == "__main__":
    with bench_servers() as found:
        sys.exit(not asyncio.run(main((sys.argv[1:] or ["motor"])[0], found)))
