"""Neither a key nor a secret of Pusher's is written anywhere, however Pusher fails a notifier that runs."""

import asyncio
import json
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from chassis.clock import SystemClock
from chassis.effects.model import EFFECTS
from chassis.storage.mongo import Database, Mongo
from chassis_testing.output import Output
from chassis_testing.service import NO_TLS, ServiceHarness
from contracts import EscrowFailedV1, Event
from devstack.tokens import DEMO_STREAM_TOKENS
from notifier.service import SERVICE

KEY, SECRET = "c4n4rykey" * 3, "c4n4ry" * 8
PATIENCE_SECONDS = 60.0
NO_HTTP, SILENCE, GONE = "no HTTP", "silence", "gone"
# What becomes of a push, call by call, and what is said of it; the first call finds nobody who listens.
FAILURES = (
    ("ClientPayloadError", ("200 OK", "content-encoding: gzip")),
    ("ClientResponseError", (NO_HTTP,)),
    ("ServerDisconnectedError", (GONE,)),
    ("TimeoutError", (SILENCE,)),
    ("status 401", ("401 Unauthorized", "retry-after: 0")),
    ("status 403", ("403 Forbidden", "retry-after: 0")),
    ("status 429", ("429 Too Many Requests", "retry-after: 0")),
    ("status 302", ("302 Found", "retry-after: 0")),
    ("status 500", ("500 Internal Server Error", "retry-after: 0")),
    ("push dropped", ("400 Bad Request",)),
)
WRONG_JSON = ("200 OK", "content-type: application/json")


class IllPusher:
    """Fails call after call, each in another way, and tells in its answers all that it was asked."""

    def __init__(self) -> None:
        """Its port is taken, and nobody listens yet."""
        self.answers: list[tuple[str, ...]] = []
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer as `answers` say."""
        async with await asyncio.start_server(self._fail, sock=self._socket):
            yield

    async def _fail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        asked = head + await reader.readexactly(int(length[1]) if length else 0)
        status, *headers = self.answers.pop(0)
        if status == SILENCE:
            await reader.read()
        elif status == NO_HTTP:
            writer.write(asked)
        elif status != GONE:
            lines = (f"HTTP/1.1 {status}", "connection: close", f"content-length: {len(asked)}", *headers, "", "")
            writer.write("\r\n".join(lines).encode() + asked)
        writer.close()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"not after {PATIENCE_SECONDS} s: {what}"
        await asyncio.sleep(0.05)


async def said_by(command: str, env: Mapping[str, str]) -> str:
    """All that a command of the notifier writes."""
    output = Output(terminal=False)
    process = output.start([sys.executable, "-m", "notifier", command], env)
    said = await asyncio.to_thread(output.whole)
    assert process.wait() == 0, said
    return said


async def everything_in(database: Database) -> str:
    return repr([await database[name].find().to_list(None) for name in await database.list_collection_names()])


@asynccontextmanager
async def migrated(servers: Any, mongo: Mongo, namespace: str, **more: str) -> AsyncIterator[dict[str, str]]:
    """What a notifier runs with, on a database of its own."""
    settings = {
        "DEVSTACK": "true",
        "LOG_LEVEL": "DEBUG",
        "MONGO_URL": servers.mongo_url,
        "KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "NAMESPACE": namespace,
        "PUSHER_SCHEME": "http",
        "PUSHER_HOST": "127.0.0.1",
        "PUSHER_CLIENT_HOST": "127.0.0.1",
        "PUSHER_APP_ID": "1",
        "PUSHER_KEYS": json.dumps({KEY: SECRET}),
        **DEMO_STREAM_TOKENS,
        **more,
    }
    assert "c4n4ry" not in await said_by("migrate", settings)
    yield settings
    await mongo.client.drop_database(f"{namespace}-notifier")


async def test_whatever_pusher_does_its_secrets_are_written_nowhere(
    servers: Any, mongo: Mongo, namespace: str, an: Callable[..., Event], unused_tcp_port_factory: Callable[[], int]
) -> None:
    async def fail(to: str) -> None:
        pusher = IllPusher()
        ports = {"HTTP_PORT": str(unused_tcp_port_factory()), "PUSHER_PORT": str(pusher.port)}
        async with migrated(servers, mongo, f"{namespace}-{to}", **ports) as env:
            await fail_a_notifier(to, env, mongo, pusher, an)

    async with asyncio.TaskGroup() as both:  # at once, as they wait between their tries
        both.create_task(fail("terminal"))
        both.create_task(fail("pipe"))


async def fail_a_notifier(
    to: str, env: dict[str, str], mongo: Mongo, pusher: IllPusher, an: Callable[..., Event]
) -> None:
    database = mongo.database(f"{env['NAMESPACE']}-notifier")
    harness = await ServiceHarness.start(SERVICE, mongo, database, clock=SystemClock())
    await harness.handle(an(EscrowFailedV1, buyer_id="7" * 24))
    output = Output(terminal=to == "terminal")
    written: list[str] = []

    async def noted() -> bool:
        """Whether no push waits any more; and meanwhile everything that an operator could see."""
        waiting = await database[EFFECTS.name].find().to_list(None)
        written.append(repr(waiting))
        return not waiting

    async def tried() -> bool:
        return await database[EFFECTS.name].find_one({"attempts": {"$gt": 0}}) is not None

    process = output.start([sys.executable, "-m", "notifier", "worker"], env)
    reading = asyncio.create_task(asyncio.to_thread(output.whole))
    try:
        await until(tried, "a call that is refused")
        written += [await said_by("parked", env), await everything_in(database)]
        pusher.answers = [*(answer for _, answer in FAILURES), WRONG_JSON]
        async with pusher.listening():
            await until(noted, "the end of a push that fails")
            await harness.handle(an(EscrowFailedV1, buyer_id="7" * 24))
            await until(noted, "a push whose answer nobody can read")
        async with httpx.AsyncClient(verify=NO_TLS) as client:
            written.append((await client.get(f"http://127.0.0.1:{env['HTTP_PORT']}/metrics")).text)
    finally:
        process.send_signal(signal.SIGTERM)
        said = await reading
        await harness.runtime.outside.http.close()

    assert (process.wait(), pusher.answers) == (0, []), said
    assert [what for what in ("ClientConnectorError", *(what for what, _ in FAILURES)) if what not in said] == []
    written += [said, await everything_in(database)]
    assert "c4n4ry" not in "".join(written).lower()
