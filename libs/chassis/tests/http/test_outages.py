"""The edge while MongoDB is silent: its sockets are open and nothing comes. Nobody waits for it longer than 5 s."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from chassis import ids
from chassis.http import TxDep, TxRouter, retries
from chassis.service import Service
from chassis.storage.mongo import Driver, Mongo
from chassis_testing.coins import COINS, SERVICE, CoinView
from chassis_testing.service import ServiceHarness
from devstack.stack import Stack

USER = "a" * 24
KEY = {"Idempotency-Key": "k1"}
SECONDS_MAX = 6.0  # what a request may take, whatever happens
Eventually = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A MongoDB of our own, which may be frozen."""
    with tempfile.TemporaryDirectory(prefix="footlights-silent-") as data:
        stack = Stack(data=Path(data), only=("mongod",), environ={})
        stack.start(attached=True)
        yield stack
        stack.stop()


@pytest.fixture
async def harness(stack: Stack, mongo_driver: Driver) -> AsyncIterator[ServiceHarness]:
    mongo = Mongo(stack.mongo_url, mongo_driver)
    harness = await ServiceHarness.start(SERVICE, mongo, mongo.database(f"t-coins-{ids.new_id()}"))
    yield harness
    await retries.all_done(10)
    await harness.runtime.outside.http.close()
    await mongo.close()


@asynccontextmanager
async def silent(stack: Stack) -> AsyncIterator[None]:
    stack.pause("mongod")
    try:
        yield
    finally:
        stack.resume("mongod")


class Between:
    """A reader between its two reads."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.left = asyncio.Event()


def reading_twice(between: Between) -> Service:
    """The coins, looked for twice as of one moment."""
    router = TxRouter()

    @router.get("/coins-twice/{id_}")
    async def get_coin_twice(id_: str, tx: TxDep) -> CoinView:
        await tx.begin_snapshot()
        first = await tx.find(COINS, {"_id": id_}, limit=1)
        between.reached.set()
        await between.left.wait()
        second = await tx.find(COINS, {"_id": id_}, limit=1)
        return CoinView(id="none" if first == second else id_)

    return replace(SERVICE, router=router)


async def timed(answer: Awaitable[httpx.Response]) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    return await answer, time.monotonic() - began


async def test_while_mongodb_is_silent_everybody_is_answered_and_the_key_tells_later(
    harness: ServiceHarness, stack: Stack, eventually: Eventually
) -> None:
    client = harness.client(USER)
    assert (await client.post("/coins")).status_code == 201

    async with silent(stack):
        asked = (
            client.post("/coins", headers=KEY),
            client.post("/coins"),
            client.post("/group"),
            client.post("/group"),
            client.get("/coins/x"),
        )
        answers = await asyncio.gather(*map(timed, asked))
        later = await timed(client.post("/coins"))

    for answer, seconds in (*answers, later):
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/try-again")
        assert seconds < SECONDS_MAX

    async def comes_back() -> bool:
        return (await client.post("/coins", headers=KEY)).status_code == 201

    await eventually(comes_back, seconds=10)
    first, again = [await client.post("/coins", headers=KEY) for _ in range(2)]
    assert first.content == again.content


async def test_while_many_attempts_hang_nobody_waits_for_one_more(
    harness: ServiceHarness, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "LEFT_MAX", 3)
    monkeypatch.setattr(retries, "RETRY_SECONDS", 0.5)
    client = harness.client(USER)
    assert (await client.post("/coins")).status_code == 201

    async with silent(stack):
        await asyncio.gather(*(client.post("/coins") for _ in range(3)))
        refused, seconds = await timed(client.post("/coins"))

    assert (refused.status_code, refused.json()["detail"]) == (503, "The database does not answer.")
    assert seconds < 1.5


async def test_a_reader_does_not_wait_until_its_transaction_is_given_back(stack: Stack, mongo_driver: Driver) -> None:
    mongo, between = Mongo(stack.mongo_url, mongo_driver), Between()
    harness = await ServiceHarness.start(reading_twice(between), mongo, mongo.database(f"t-coins-{ids.new_id()}"))
    asked = asyncio.create_task(timed(harness.client(USER).get("/coins-twice/x")))
    await between.reached.wait()

    async with silent(stack):
        between.left.set()
        answer, seconds = await asked

    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/try-again")
    assert seconds < SECONDS_MAX
    await retries.all_done(10)
    await harness.runtime.outside.http.close()
    await mongo.close()
