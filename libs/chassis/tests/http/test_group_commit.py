"""Commands that share a transaction: each is answered as if it had one of its own."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from chassis import ids
from chassis.errors import Conflict
from chassis.http import Body, CallerDep, TxDep, TxRouter
from chassis.service import Service
from chassis.storage.collection import Collection
from chassis_testing.service import ServiceHarness
from contracts import ViewerBlockedV1

USER = "a" * 24


@dataclass(frozen=True, slots=True)
class Stamp:
    id: str
    value: int


STAMPS = Collection("stamps", Stamp)


class NewStamp(Body):
    id: str
    value: int = 0


class Worthless(Conflict, slug="worthless"):
    """A stamp needs a value."""


router = TxRouter()


@router.post("/stamps", status_code=201, refuses=(Worthless,), group_commit=True)
async def stick(body: NewStamp, caller: CallerDep, tx: TxDep) -> NewStamp:
    tx.insert(STAMPS, Stamp(body.id, body.value))
    tx.emit(ViewerBlockedV1(streamer_id=caller.user_id, viewer_id=body.id))
    if not body.value:
        raise Worthless
    return body


SERVICE = Service(name="shop", router=router, collections=(STAMPS,))


@pytest.fixture
async def harness(harness_of: Any) -> ServiceHarness:
    harness: ServiceHarness = await harness_of(SERVICE)
    return harness


async def post(harness: ServiceHarness, bodies: Sequence[dict[str, Any]], **headers: str) -> list[httpx.Response]:
    client = harness.client(USER)
    return await asyncio.gather(*(client.post("/stamps", json=body, headers=headers) for body in bodies))


async def test_a_rush_shares_transactions_and_each_is_answered_with_its_own(harness: ServiceHarness) -> None:
    bodies = [{"id": ids.new_id(), "value": number + 1} for number in range(40)]
    answers = await post(harness, bodies)

    assert [answer.status_code for answer in answers] == [201] * 40
    assert [answer.json() for answer in answers] == bodies
    stored = await harness.runtime.database["stamps"].find().to_list(None)
    assert {row["_id"] for row in stored} == {body["id"] for body in bodies}
    assert len({row["_stamp"] for row in stored}) < 40
    assert await harness.runtime.database["outbox"].count_documents({}) == 40


async def test_what_follows_from_each_carries_the_id_of_its_own_request(harness: ServiceHarness) -> None:
    client = harness.client(USER)
    stamps = {f"click-{number}": ids.new_id() for number in range(20)}

    await asyncio.gather(
        *(
            client.post("/stamps", json={"id": id_, "value": 1}, headers={"x-request-id": click})
            for click, id_ in stamps.items()
        )
    )

    rows = await harness.runtime.database["outbox"].find().to_list(None)
    assert len({row["_stamp"] for row in rows}) < 20
    followed = {row["headers"]["ce_correlationid"].decode(): json.loads(row["value"])["viewer_id"] for row in rows}
    assert followed == stamps


async def test_a_refusal_is_one_commands_alone(harness: ServiceHarness) -> None:
    bodies = [{"id": ids.new_id(), "value": number % 2} for number in range(20)]
    answers = await post(harness, bodies)

    assert [answer.status_code for answer in answers] == [409, 201] * 10
    stored = await harness.runtime.database["stamps"].find().to_list(None)
    assert {row["_id"] for row in stored} == {body["id"] for body in bodies if body["value"]}
    assert await harness.runtime.database["outbox"].count_documents({}) == 10


async def test_what_the_database_refuses_spoils_nobody_elses_command(harness: ServiceHarness) -> None:
    taken, bodies = ids.new_id(), [{"id": ids.new_id(), "value": 1} for _ in range(10)]
    await post(harness, [{"id": taken, "value": 1}])
    answers = await post(harness, [*bodies[:5], {"id": taken, "value": 2}, *bodies[5:], {"id": "big", "value": 2**70}])

    assert [answer.status_code for answer in answers] == [201] * 5 + [500] + [201] * 5 + [500]
    assert await harness.runtime.database["stamps"].count_documents({}) == 11


async def test_one_key_counts_once_also_within_one_transaction(harness: ServiceHarness) -> None:
    body = {"id": ids.new_id(), "value": 1}
    answers = await post(harness, [body] * 5, **{"Idempotency-Key": "k1"})

    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert await harness.runtime.database["outbox"].count_documents({}) == 1


async def test_a_caller_who_goes_away_disturbs_nobody(harness: ServiceHarness) -> None:
    client, gone = harness.client(USER), ids.new_id()
    leaving = asyncio.create_task(client.post("/stamps", json={"id": gone, "value": 1}))

    async def leave() -> None:
        await asyncio.sleep(0)
        leaving.cancel()

    answers, _ = await asyncio.gather(post(harness, [{"id": ids.new_id(), "value": 1} for _ in range(5)]), leave())
    assert [answer.status_code for answer in answers] == [201] * 5
