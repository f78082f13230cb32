"""Bench (d): an HTTP command of ours (`POST /wallets/{id}/credit`) against the same by hand on bare Starlette.

    python bench/command.py [motor|pymongo]

Both run as processes of their own on the same MongoDB and are loaded in turn, slice by slice, in one run. Before a
ratio is printed, the documents they left must be alike: the same collections, counts per command and fields.
"""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import psutil
from bson import ObjectId
from load import post
from pymongo import MongoClient
from servers import Servers, bench_servers

EXPECTED = 0.75
SLICES, SECONDS, CONNECTIONS = 8, 3.0, 8
KEY = "a-demo-key-of-at-least-thirty-two-bytes"
OURS, ANCHOR = "ours", "anchor"
PORTS = {OURS: 18_701, ANCHOR: 18_702}
COLLECTIONS = ("balances", "movements", "outbox", "transfers")


@dataclass
class Measured:
    commands: int = 0
    rates: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)


def token() -> str:
    claims = {
        "sub": str(ObjectId()), "scopes": ["OPS"], "jti": str(ObjectId()), "iss": "footlights", "aud": "footlights",
        "nbf": 0, "iat": int(time.time()), "exp": int(time.time()) + 3_600, "version": 1,
        "metadata": {"fingerprint": "bench", "flavor": "bench", "original": {"iat": 0, "method": "bench"}},
    }  # fmt: skip
    return jwt.encode(claims, KEY, algorithm="HS256", headers={"kid": "demo-bench"})


def start(what: str, driver: str, servers: Servers, port: int, namespace: str) -> subprocess.Popen[bytes]:
    env = os.environ | {
        "MONGO_URL": servers.mongo_url, "MONGO_DRIVER": driver, "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "NAMESPACE": namespace,
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


async def alternate(ports: dict[str, int], pids: dict[str, int]) -> dict[str, Measured]:
    """Load one after the other, slice by slice."""
    bearer, body = token(), b'{"amount_diamonds":5}'
    results = {what: Measured() for what in ports}
    for number in range(SLICES + 1):  # the first slice only warms
        for what, port in ports.items():
            cpu = sum(psutil.Process(pids[what]).cpu_times()[:2])
            done = await post(port, lambda: f"/wallets/{ObjectId()}/credit", body, bearer, CONNECTIONS, SECONDS)
            results[what].commands += done.requests
            if number:
                results[what].rates.append(done.per_second)
                results[what].latencies_ms += done.latencies_ms
                results[what].cpu_us.append(
                    (sum(psutil.Process(pids[what]).cpu_times()[:2]) - cpu) / done.requests * 1e6
                )
    return results


def tell(results: dict[str, Measured], driver: str) -> bool:
    """Print the figures; True when the expectation is met."""
    for what, result in results.items():
        p50, p99 = (statistics.quantiles(result.latencies_ms, n=100)[i] for i in (49, 98))
        rate, cpu = statistics.median(result.rates), statistics.median(result.cpu_us)
        print(f"{what:7} {rate:5.0f}/s  p50 {p50:5.1f} ms  p99 {p99:6.1f} ms  CPU {cpu:5.0f} µs/command", end="  ")
        print(f"({result.commands} commands, driver {driver if what == OURS else 'motor'})")
    ratio = statistics.median(a / b for a, b in zip(results[OURS].rates, results[ANCHOR].rates, strict=True))
    print(f"(d) command / bare Starlette = {ratio:.2f} (expected ≥ {EXPECTED})")
    return ratio >= EXPECTED


async def main(driver: str, servers: Servers) -> bool:
    run = str(ObjectId())[-6:]
    names = {what: f"bench-{what}-{run}" for what in PORTS}
    running = {what: start(what, driver, servers, port, names[what]) for what, port in PORTS.items()}
    mongo: MongoClient[dict[str, Any]] = MongoClient(servers.mongo_url)
    try:
        for port in PORTS.values():
            await answers(port)
        results = await alternate(PORTS, {what: process.pid for what, process in running.items()})
        shapes = {what: shape(mongo[f"{name}-escrow"], results[what].commands) for what, name in names.items()}
        if shapes[OURS] != shapes[ANCHOR]:
            print("the final states differ, so there is no ratio:", json.dumps(shapes, indent=1))
            return False
        return tell(results, driver)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
            process.wait(15)
        for name in names.values():
            mongo.drop_database(f"{name}-escrow")


if __name__ == "__main__":
    with bench_servers() as found:
        sys.exit(not asyncio.run(main((sys.argv[1:] or ["motor"])[0], found)))
