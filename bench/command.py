"""Bench (d): an HTTP command of ours (`POST /wallets/{id}/credit`) against the same by hand on bare Starlette.

    python bench/command.py [motor|pymongo]

Both run as processes of their own on the same MongoDB and are loaded in turn, slice by slice, in one run. Before a ratio
is printed, the documents they left must be alike: the same collections, counts per command and fields.
"""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jwt
import psutil
from bson import ObjectId
from load import post
from pymongo import MongoClient

EXPECTED = 0.75
SLICES, SECONDS, CONNECTIONS = 8, 3.0, 8
KEY = "a-demo-key-of-at-least-thirty-two-bytes"
OURS, ANCHOR = "ours", "anchor"
COLLECTIONS = ("balances", "entries", "movements", "outbox", "transfers")


def token() -> str:
    claims = {
        "sub": str(ObjectId()), "scopes": ["OPS"], "jti": str(ObjectId()), "iss": "footlights", "aud": "footlights",
        "nbf": 0, "iat": 0, "exp": 4_000_000_000, "version": 1,
        "metadata": {"fingerprint": "bench", "flavor": "bench", "original": {"iat": 0, "method": "bench"}},
    }  # fmt: skip
    return jwt.encode(claims, KEY, algorithm="HS256", headers={"kid": "demo-bench"})


def start(what: str, driver: str, mongo_url: str, kafka: str, port: int, namespace: str) -> subprocess.Popen[bytes]:
    env = os.environ | {
        "MONGO_URL": mongo_url, "MONGO_DRIVER": driver, "KAFKA_BOOTSTRAP": kafka, "NAMESPACE": namespace,
        "DEVSTACK": "true", "HTTP_PORT": str(port), "LOG_LEVEL": "WARNING",
        "JWT_KEYS": json.dumps({"demo-bench": {"alg": "HS256", "key": KEY}}),
        "BENCH_JWT_KEY": KEY, "BENCH_DATABASE": f"{namespace}-escrow",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "escrow", "migrate"], env=env, check=True)  # the anchor needs its indexes too
    command = ["-m", "escrow", "api"] if what == OURS else [str(Path(__file__).with_name("command_anchor.py"))]
    return subprocess.Popen([sys.executable, *command], env=env)


async def answers(port: int) -> None:
    async with httpx.AsyncClient() as http:
        for _ in range(200):
            try:
                await http.get(f"http://127.0.0.1:{port}/")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
    raise TimeoutError(f"nothing answers on {port}")


def shape(database: Any, commands: int) -> dict[str, Any]:
    """How many documents per command each collection holds, and their fields."""
    shapes = {}
    for name in COLLECTIONS:
        fields = sorted(database[name].find_one({}, sort=[("_id", -1)]) or {})
        shapes[name] = {"per_command": round(database[name].count_documents({}) / commands, 2), "fields": fields}
    return shapes


async def main(driver: str, mongo_url: str, kafka: str) -> bool:
    run = str(ObjectId())[-6:]
    ports = {OURS: 18_701, ANCHOR: 18_702}
    namespaces = {what: f"bench-{what}-{run}" for what in ports}
    servers = {what: start(what, driver, mongo_url, kafka, port, namespaces[what]) for what, port in ports.items()}
    mongo: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    try:
        rates: dict[str, list[float]] = {OURS: [], ANCHOR: []}
        cpu: dict[str, float] = {}
        latencies: dict[str, list[float]] = {OURS: [], ANCHOR: []}
        counts = {OURS: 0, ANCHOR: 0}
        for port in ports.values():
            await answers(port)
        bearer, body = token(), b'{"amount_diamonds":5}'

        def path() -> str:
            return f"/wallets/{ObjectId()}/credit"

        for what, port in ports.items():  # warm
            counts[what] += (await post(port, path, body, bearer, connections=CONNECTIONS, seconds=1)).requests
        before = {what: sum(psutil.Process(server.pid).cpu_times()[:2]) for what, server in servers.items()}
        measured = dict(counts)
        for _ in range(SLICES):
            for what, port in ports.items():
                done = await post(port, path, body, bearer, connections=CONNECTIONS, seconds=SECONDS)
                rates[what].append(done.per_second)
                latencies[what] += done.latencies_ms
                counts[what] += done.requests
        for what, server in servers.items():
            spent = sum(psutil.Process(server.pid).cpu_times()[:2]) - before[what]
            cpu[what] = spent / (counts[what] - measured[what]) * 1e6
        shapes = {what: shape(mongo[f"{name}-escrow"], counts[what]) for what, name in namespaces.items()}
        if shapes[OURS] != shapes[ANCHOR]:
            print("the final states differ, so there is no ratio:", json.dumps(shapes, indent=1))
            return False
        ratio = statistics.median(a / b for a, b in zip(rates[OURS], rates[ANCHOR], strict=True))
        for what in ports:
            p50, p99 = (statistics.quantiles(latencies[what], n=100)[i] for i in (49, 98))
            print(
                f"{what:7} {statistics.median(rates[what]):7.0f}/s  p50 {p50:5.1f} ms  p99 {p99:6.1f} ms"
                f"  CPU {cpu[what]:6.0f} µs/command  ({counts[what]} commands, driver {driver if what == OURS else 'motor'})"
            )
        print(f"(d) command / bare Starlette = {ratio:.2f} (expected ≥ {EXPECTED})")
        return ratio >= EXPECTED
    finally:
        for server in servers.values():
            server.send_signal(signal.SIGTERM)
        for server in servers.values():
            server.wait(15)
        for name in namespaces.values():
            mongo.drop_database(f"{name}-escrow")


if __name__ == "__main__":
    sys.exit(not asyncio.run(main((sys.argv[1:] or ["motor"])[0], os.environ["MONGO_URL"], os.environ["KAFKA_BOOTSTRAP"])))
