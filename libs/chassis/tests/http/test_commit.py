"""The edge when the line to MongoDB breaks around the commit: no success that was none, no command done twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest

from chassis import ids
from chassis.http import retries
from chassis.storage import errors
from chassis.storage import mongo as mongo_module
from chassis.storage.mongo import Driver, Mongo
from chassis_testing.coins import SERVICE
from chassis_testing.service import ServiceHarness

USER = "a" * 24
KEY = {"Idempotency-Key": "k1"}


class Line:
    """A line to MongoDB that can be cut when a commit passes."""

    def __init__(self, host: str, port: int) -> None:
        self.cut: Literal["never", "before", "after"] = "never"
        self.cuts_left = 0
        self.cuts = 0
        self._to = (host, port)

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until it ends or is cut."""
        far_reader, far_writer = await asyncio.open_connection(*self._to)
        back = asyncio.create_task(_pump(far_reader, writer))
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                cut = b"commitTransaction" in data and self.cuts_left > 0
                if cut:
                    self.cuts_left -= 1
                    self.cuts += 1
                    await _cancelled(back)
                if not (cut and self.cut == "before"):
                    far_writer.write(data)
                if cut:
                    break
            if self.cut == "after" and back.done():
                await far_reader.read(65_536)  # the server has done it; nobody will hear of it
        await _cancelled(back)
        for end in (writer, far_writer):
            end.close()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)


@dataclass(frozen=True, slots=True)
class Bench:
    harness: ServiceHarness
    client: httpx.AsyncClient
    line: Line
    straight: Mongo

    async def coins(self) -> list[str]:
        """What is really there, asked on another line."""
        database = self.straight.database(self.harness.runtime.database.name)
        return [raw["_id"] for raw in await database["coins"].find().to_list(None)]


@pytest.fixture
async def bench(mongo: Mongo, mongo_url: str, mongo_driver: Driver) -> AsyncIterator[Bench]:
    there = urlsplit(mongo_url)
    line = Line(there.hostname or "127.0.0.1", there.port or 27_017)
    server = await asyncio.start_server(line.join, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    far = Mongo(f"mongodb://127.0.0.1:{port}/?directConnection=true", mongo_driver)
    database = far.database(f"t-coins-{ids.new_id()}")
    harness = await ServiceHarness.start(SERVICE, far, database)
    async with harness.client(USER) as client:
        yield Bench(harness, client, line, mongo)
    await harness.runtime.outside.http.close()
    await far.close()
    server.close()
    await mongo.client.drop_database(database.name)


@pytest.fixture
def mongo_url(servers: object) -> str:
    return str(servers.mongo_url)  # type: ignore[attr-defined] # conftest's class cannot be imported


async def test_a_lost_answer_to_the_commit_is_asked_for_again(bench: Bench) -> None:
    bench.line.cut, bench.line.cuts_left = "after", 3

    response = await bench.client.post("/coins")

    assert bench.line.cuts == 3
    assert response.status_code == 201
    assert await bench.coins() == [response.json()["id"]]


async def test_a_commit_that_never_arrived_is_sent_again(bench: Bench) -> None:
    bench.line.cut, bench.line.cuts_left = "before", 3

    response = await bench.client.post("/coins")

    assert bench.line.cuts == 3
    assert response.status_code == 201
    assert await bench.coins() == [response.json()["id"]]


async def until_known(client: httpx.AsyncClient) -> httpx.Response:
    """Ask again as `Retry-After` says: a transaction that lost its client lives for some 5 s, and its key with it."""
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        response = await client.post("/coins", headers=KEY)
        if response.status_code != 503 or asyncio.get_running_loop().time() > deadline:
            return response


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_an_unknown_outcome_is_a_503_and_the_key_tells_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, cut: Literal["before", "after"]
) -> None:
    monkeypatch.setattr(errors, "COMMIT_SECONDS", 0.2)
    bench.line.cut, bench.line.cuts_left = cut, 1_000

    unknown = await bench.client.post("/coins", headers=KEY)
    bench.line.cuts_left = 0
    known = await until_known(bench.client)

    assert (unknown.status_code, unknown.json()["type"]) == (503, "/problems/try-again")
    assert unknown.headers["retry-after"] == "1"
    assert known.status_code == 201
    assert await bench.coins() == [known.json()["id"]]


async def test_a_database_that_is_away_is_a_503(
    bench: Bench, mongo_driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mongo_module._OPTIONS, "serverSelectionTimeoutMS", 100)  # noqa: SLF001 - not to wait 5 s
    monkeypatch.setattr(retries, "RETRY_SECONDS", 0.3)
    away = Mongo("mongodb://127.0.0.1:1/?directConnection=true", mongo_driver)
    runtime = replace(bench.harness.runtime, mongo=away, database=away.database("away"))

    response = (
        await ServiceHarness(SERVICE, runtime, bench.harness.settings, bench.harness.clock).client(USER).post("/coins")
    )

    assert (response.status_code, response.json()["type"]) == (503, "/problems/try-again")
    await away.close()
