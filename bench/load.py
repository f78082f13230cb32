"""A small HTTP/1.1 load: a few kept connections that ask as fast as they are answered, at little cost of their own."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass
class Slice:
    """What one stretch of load measured."""

    requests: int
    seconds: float
    latencies_ms: list[float]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def request(method: str, path: str, body: bytes, token: str) -> bytes:
    """One request, as it is sent."""
    return (
        f"{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


async def load(port: int, requests: Iterator[bytes], status: int, connections: int) -> Slice:
    """Send all `requests` over so many connections, each the next one as soon as it is free; all answer `status`."""
    latencies: list[float] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for sent in requests:
            began = time.perf_counter()
            writer.write(sent)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 %d" % status), answer
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append((time.perf_counter() - began) * 1_000)
            if b"connection: close" in answer.lower():  # a gateway does so after some hundreds
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return Slice(len(latencies), time.perf_counter() - began, latencies)


async def post(port: int, paths: Callable[[], str], body: bytes, token: str, connections: int, seconds: float) -> Slice:
    """Post `body` to a new path again and again for `seconds` on each of `connections`; every answer must be a 201."""
    until = time.perf_counter() + seconds

    def requests() -> Iterator[bytes]:
        while time.perf_counter() < until:
            yield request("POST", paths(), body, token)

    return await load(port, requests(), 201, connections)
