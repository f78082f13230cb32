"""The edge when the line to MongoDB breaks around the commit: no success that was none, no command done twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest

from chassis import ids, storage
from chassis import mongo as mongo_module
from chassis.collection import Collection
from chassis.http import Body, TxDep, TxRouter, attempts
from chassis.mongo import Driver, Mongo
from chassis.service import Service
from chassis.testing import Solo

USER = "a" * 24
KEY = {"Idempotency-Key": "k1"}


@dataclass(frozen=True, slots=True)
class Coin:
    id: str


COINS = Collection("coins", Coin)


class Made(Body):
    id: str


router = TxRouter()


@router.post("/coins", status_code=201)
async def make_coin(tx: TxDep) -> Made:
    coin = Coin(ids.new_id())
    tx.put(COINS, coin)
    return Made(id=coin.id)


SERVICE = Service(name="coins", router=router, collections=(COINS,))


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
    solo: Solo
    client: httpx.AsyncClient
    line: Line
    straight: Mongo

    async def coins(self) -> list[str]:
        """What is really there, asked on another line."""
        database = self.straight.database(self.solo.runtime.database.name)
        return [raw["_id"] for raw in await database["coins"].find().to_list(None)]


@pytest.fixture
async def bench(mongo: Mongo, mongo_url: str, mongo_driver: Driver) -> AsyncIterator[Bench]:
    there = urlsplit(mongo_url)
    line = Line(there.hostname or "127.0.0.1", there.port or 27_017)
    server = await asyncio.start_server(line.join, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    far = Mongo(f"mongodb://127.0.0.1:{port}/?directConnection=true", mongo_driver)
    database = far.database(f"t-coins-{ids.new_id()}")
    solo = await Solo.start(SERVICE, far, database)
    async with solo.client(USER) as client:
        yield Bench(solo, client, line, mongo)
    await solo.runtime.outside.http.aclose()
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
    monkeypatch.setattr(storage, "COMMIT_SECONDS", 0.2)
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
    monkeypatch.setattr(attempts, "RETRY_SECONDS", 0.3)
    away = Mongo("mongodb://127.0.0.1:1/?directConnection=true", mongo_driver)
    runtime = replace(bench.solo.runtime, mongo=away, database=away.database("away"))

    response = await Solo(SERVICE, runtime, bench.solo.settings, bench.solo.clock).client(USER).post("/coins")

    assert (response.status_code, response.json()["type"]) == (503, "/problems/try-again")
    await away.close()
