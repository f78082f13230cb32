"""An open loop in a process of its own: each request at its time, whoever has answered, at little cost.

    python bench/paced.py < plan.json

Reads what to ask for (`Stream`s, as JSON), and writes what came of it (`Heard`). A process that measures is none that
asks for much: run one for the load, and another for the probes.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from load import request

REFUSED = 400


@dataclass
class Stream:
    """The same again and again, so often a second. A turn is requests one after the other, each with its token."""

    name: str
    port: int
    rate: float
    turns: list[list[tuple[str, str, str, str]]]
    """Method, path, body, token; `ORDER` in a body is the `order_id` of the answer before. Taken in turn."""


@dataclass
class Heard:
    """Milliseconds of each request of a stream, sent to read whole, and how often what was answered."""

    took: dict[str, list[float]] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Heard") -> None:
        """And this."""
        for name, took in other.took.items():
            self.took.setdefault(name, []).extend(took)
        self.answers.update(other.answers)


class Connections:
    """Kept connections to one port: as many as are needed at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, sent: bytes) -> tuple[int, bytes]:
        """Status and body; asked again where a kept connection turns out to have been closed meanwhile."""
        while self._free:
            kept = self._free.pop()
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                return await self._ask(*kept, sent)
        return await self._ask(*await asyncio.open_connection("127.0.0.1", self._port), sent)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> tuple[int, bytes]:
        writer.write(sent)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        body = await reader.readexactly(length)
        if b"connection: close" in head:  # a gateway does so after some hundreds
            writer.close()
        else:
            self._free.append((reader, writer))
        return int(head.split(b" ", 2)[1]), body


async def play(streams: Sequence[Stream], seconds: float) -> Heard:
    """All streams for so long, and until the last answer."""
    heard = Heard()
    async with asyncio.TaskGroup() as all_:
        for stream in streams:
            all_.create_task(_stream(stream, seconds, heard))
    return heard


async def _stream(stream: Stream, seconds: float, heard: Heard) -> None:
    connections, took = Connections(stream.port), heard.took.setdefault(stream.name, [])

    async def turn(steps: Sequence[Sequence[str]]) -> None:
        order = ""
        for method, path, body, token in steps:
            sent = request(method, path, body.replace("ORDER", order).encode(), token)
            began = time.perf_counter()
            status, answer = await connections.ask(sent)
            took.append((time.perf_counter() - began) * 1e3)
            heard.answers[f"{status} {method} {path.partition('?')[0]}"] += 1
            if status >= REFUSED:
                return
            if len(steps) > 1:
                order = json.loads(answer).get("order_id", "")

    began = time.perf_counter()
    async with asyncio.TaskGroup() as running:
        for number in range(int(stream.rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / stream.rate - time.perf_counter()))  # the rate is the load
            running.create_task(turn(stream.turns[number % len(stream.turns)]))


async def apart(streams: Sequence[Stream], seconds: float) -> Heard:
    """The same, in a process of its own."""
    plan = json.dumps({"seconds": seconds, "streams": [asdict(stream) for stream in streams]}).encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate(plan)
    if process.returncode:
        raise RuntimeError(f"a load ended with {process.returncode}")
    heard = json.loads(told)
    return Heard(heard["took"], Counter(heard["answers"]))


if __name__ == "__main__":
    plan = json.load(sys.stdin)
    heard = asyncio.run(play([Stream(**stream) for stream in plan["streams"]], plan["seconds"]))
    json.dump({"took": heard.took, "answers": heard.answers}, sys.stdout)
