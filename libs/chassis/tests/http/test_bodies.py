"""Bodies: counted, strict, and always answered with a clear 422 (pitfalls §4.4)."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Literal

import httpx
import pytest
from fastapi import Query
from pydantic import Field, TypeAdapter

from chassis import ids
from chassis.http import FORM, Body, BodyBy, TxRouter, UnixTime, bodies
from chassis.service import Service
from chassis.storage.mongo import Mongo
from chassis_testing.service import ServiceHarness
from contracts.values import Diamonds, ObjectIdStr

USER = "a" * 24


class Inner(Body):
    price: Diamonds | None = None


class Whole(Body):
    id: ObjectIdStr | None = None
    amount: Diamonds = 0
    ratio: float = 0
    title: str = ""
    agree: bool = False
    nbf: UnixTime | None = None
    tags: Annotated[tuple[str, ...], Field(max_length=3)] = ()
    prices: Inner | None = None


class Form(Body):
    name: Annotated[str, Field(max_length=10)]


class Theirs(Form, extra="ignore"):
    """A form that somebody else's library sends."""


class Several(Body, extra="ignore"):
    """A form with a field that comes several times."""

    name: str
    rooms: Annotated[list[str], Field(alias="room[]", min_length=1, max_length=2)]


router = TxRouter()


@router.post("/whole")
async def take_whole(body: Whole) -> Whole:
    return body


@router.post("/maybe")
async def take_maybe(body: Whole = Whole()) -> Whole:  # noqa: B008 - frozen, so shared safely
    return body


@router.post("/form")
async def take_form(body: Annotated[Form, FORM]) -> Form:
    return body


@router.post("/theirs")
async def take_theirs(body: Annotated[Theirs, FORM]) -> Form:
    return Form(name=body.name)


@router.post("/several")
async def take_several(body: Annotated[Several, FORM]) -> list[str]:
    return [body.name, *body.rooms]


@router.post("/chosen")
async def take_chosen(
    kind: Annotated[Literal["inner", "form"], Query(alias="type")],
    body: Annotated[Inner | Form, BodyBy("kind", {"inner": Inner, "form": Form})],
) -> dict[str, str]:
    return {"kind": kind, "class": type(body).__name__}


SERVICE = Service(name="bodies", router=router)


@pytest.fixture(scope="module")
async def client(mongo: Mongo) -> AsyncIterator[httpx.AsyncClient]:
    """A client for all of these tests: nothing is stored."""
    database = mongo.database(f"t-bodies-{ids.new_id()}")
    harness = await ServiceHarness.start(SERVICE, mongo, database)
    async with harness.client(USER) as client:
        yield client
    await harness.runtime.outside.http.close()
    await mongo.client.drop_database(database.name)


async def sent(client: httpx.AsyncClient, raw: bytes, content_type: str = "application/json") -> httpx.Response:
    return await client.post("/whole", content=raw, headers={"content-type": content_type})


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b'"x"', "body"),
        (b"{}x", "body"),
        (b"\xff\xfe{}", "body"),
        (b'{"title": "\xff"}', "body"),
        (b'{"title": "\\ud800"}', "body"),
        (b'{"\\ud800": 1}', "body"),
        (b'{"title": "a\x00b"}', "body"),
        (b'{"title": "a\\u0000b"}', "body"),
        (b'{"tags": ["a\\\\\\u0000b"]}', "body"),
        (b"[" * 60_000, "body"),
        (b'{"amount": 1, "amount": 2}', "amount"),
        (b'{"prices": {"price": 1, "price": 1}}', "price"),
        (b'{"amount": NaN}', "amount"),
        (b'{"ratio": NaN}', "ratio"),
        (b'{"ratio": Infinity}', "ratio"),
        (b'{"ratio": 1e999}', "ratio"),
        (b'{"nbf": NaN}', "nbf"),
        (b'{"nbf": -1}', "nbf"),
        (b'{"nbf": 1e300}', "nbf"),
        (b'{"nbf": "2026-01-01T00:00:00Z"}', "nbf"),
        (b'{"amount": 123456789012345678901234}', "amount"),
        (b'{"amount": ' + b"9" * 5_000 + b"}", "body"),
        (b'{"amount": 1.5}', "amount"),
        (b'{"amount": "1"}', "amount"),
        (b'{"amount": true}', "amount"),
        (b'{"amount": {"$gt": 0}}', "amount"),
        (b'{"amount": -1}', "amount"),
        (b'{"id": {"$ne": null}}', "id"),
        (b'{"id": "' + b"A" * 24 + b'"}', "id"),
        (b'{"id": "' + b"a" * 24 + b'\\n"}', "id"),
        (b'{"agree": 1}', "agree"),
        (b'{"$where": "1"}', "$where"),
        (b'{"tags": ["a", "b", "c", "d"]}', "tags"),
        (b'{"tags": "abc"}', "tags"),
        (b'{"prices": {"price": "1"}}', "prices.price"),
        (b'{"prices": {"' + b"x" * 1_000 + b'": 1}}', "prices." + "x" * 93),
    ],
    ids=lambda value: repr(value[:40]),
)
async def test_a_wrong_body_is_a_422_that_names_the_field(client: httpx.AsyncClient, raw: bytes, field: str) -> None:
    response = await sent(client, raw)

    assert (response.status_code, response.json()["type"]) == (422, "/problems/invalid-request")
    assert [error["field"] for error in response.json()["errors"]] == [field]


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", ""])
async def test_another_content_type_is_a_422(client: httpx.AsyncClient, content_type: str) -> None:
    response = await sent(client, b"{}", content_type)

    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "content-type")


@pytest.mark.parametrize(
    "raw", [b"{}", b' {"title": "\\\\u0000 \xf0\x9f\x8e\xad"}', b'{"nbf": 1.5, "tags": ["a"], "prices": {"price": 1}}']
)
async def test_a_right_body_is_taken(client: httpx.AsyncClient, raw: bytes) -> None:
    response = await sent(client, raw, "Application/JSON; charset=utf-8")

    assert response.status_code == 200
    assert response.json().items() >= json.loads(raw).items()


async def test_many_wrong_fields_are_told_at_once_but_not_any_number(client: httpx.AsyncClient) -> None:
    response = await sent(client, json.dumps({f"f{number}": 1 for number in range(100)}).encode())

    assert len(response.json()["errors"]) == 20


async def test_an_optional_body_may_be_left_out(client: httpx.AsyncClient) -> None:
    assert (await client.post("/maybe")).json()["amount"] == 0
    assert (await client.post("/maybe", json={"amount": 3})).json()["amount"] == 3


@pytest.mark.parametrize("chunked", [False, True])
async def test_64_kib_are_taken_and_one_byte_more_is_refused(client: httpx.AsyncClient, *, chunked: bool) -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    fits = b'{"title": "' + b"x" * (65_536 - 13) + b'"}'
    headers = {"content-type": "application/json"}

    for body, status in ((fits, 200), (fits + b" ", 413)):
        response = await client.post("/whole", content=pieces(body) if chunked else body, headers=headers)
        assert response.status_code == status


async def test_a_content_length_that_lies_is_not_believed(client: httpx.AsyncClient) -> None:
    for length, status in (("5", 413), ("70000", 413), ("9" * 5_000, 413), ("-1", 413), ("x", 413)):
        headers = {"content-type": "application/json", "content-length": length}
        response = await client.post("/whole", content=b"x" * 70_000, headers=headers)
        assert response.status_code == status


async def test_a_body_that_does_not_come_is_refused_and_its_connection_ends(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)

    response = await client.post("/whole", content=pieces(), headers={"content-type": "application/json"})

    assert (response.status_code, response.json()["type"]) == (408, "/problems/request-timeout")
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("raw", [b"name=x&name=y", b"name=%ff", b"name=" + b"x" * 11, b"nome=x", b"\xff", b"&" * 200])
async def test_a_wrong_form_is_a_422(client: httpx.AsyncClient, raw: bytes) -> None:
    response = await client.post("/form", content=raw, headers={"content-type": "application/x-www-form-urlencoded"})

    assert response.status_code == 422


@pytest.mark.parametrize("more", ["", "&extra=1", "&extra=1&extra=2", "&%24where=1", "&" + "x" * 300 + "="])
async def test_a_form_that_is_not_ours_may_have_further_fields(client: httpx.AsyncClient, more: str) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}

    assert (await client.post("/theirs", content=f"name=a+b{more}", headers=form)).json() == {"name": "a b"}
    assert (await client.post("/theirs", content=f"name=a&name=b{more}", headers=form)).status_code == 422
    assert (await client.post("/theirs", content=more[1:], headers=form)).status_code == 422


@pytest.mark.parametrize(
    ("rooms", "answer"),
    [
        ("room%5B%5D=a", ["x", "a"]),
        ("room[]=a&room[]=a&more=1&more=2", ["x", "a", "a"]),
        ("", None),
        ("room=a", None),
        ("room[]=a&room[]=b&room[]=c", None),
        ("room[]=a&name=y", None),
    ],
)
async def test_what_is_declared_as_a_list_may_come_several_times(
    client: httpx.AsyncClient, rooms: str, answer: list[str] | None
) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}

    response = await client.post("/several", content=f"name=x&{rooms}", headers=form)

    assert (response.json() if response.is_success else None) == answer
    assert response.is_success or response.status_code == 422


async def test_a_form_is_taken_by_name(client: httpx.AsyncClient) -> None:
    assert (await client.post("/form", data={"name": "a b"})).json() == {"name": "a b"}
    assert (await client.post("/form", json={"name": "a b"})).status_code == 422


async def test_a_parameter_chooses_what_a_body_must_be(client: httpx.AsyncClient) -> None:
    answers = {
        (kind, name): (await client.post(f"/chosen{kind}", json={name: 1 if name == "price" else "x"})).status_code
        for kind in ("?type=inner", "?type=form", "?type=other", "")
        for name in ("price", "name")
    }

    assert answers == {
        ("?type=inner", "price"): 200,
        ("?type=inner", "name"): 422,
        ("?type=form", "price"): 422,
        ("?type=form", "name"): 200,
        ("?type=other", "price"): 422,
        ("?type=other", "name"): 422,
        ("", "price"): 422,
        ("", "name"): 422,
    }


def test_unix_time_is_cut_to_milliseconds_and_comes_back_as_it_was() -> None:
    time = TypeAdapter[datetime](UnixTime)

    assert time.validate_json("1.0019999") == datetime(1970, 1, 1, 0, 0, 1, 2_000, tzinfo=UTC)
    for moment in ("0", "1700000000", "1700000000.123", "253402300799"):
        assert float(time.dump_json(time.validate_json(moment))) == float(moment)
