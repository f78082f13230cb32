"""Lists: page by page, in a total order, whatever is written meanwhile (SPEC §2)."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import httpx
import pytest
from fastapi import Query

from chassis import ids
from chassis.http import Body, Page, PageDep, TxDep, TxRouter, paged
from chassis.service import Service
from chassis.storage.collection import Collection, Index
from chassis_testing.service import ServiceHarness

USER = "a" * 24


@dataclass(frozen=True, slots=True)
class Line:
    id: str
    book: str
    at: datetime
    rank: int


LINES = Collection("lines", Line, indexes=(Index({"book": 1, "at": 1, "_id": 1}), Index({"book": 1, "rank": 1})))


class LineView(Body):
    id: str


router = TxRouter()


@router.get("/lines")
async def list_lines(
    tx: TxDep, page: PageDep, by: Annotated[Literal["id", "at", "rank"], Query()] = "id"
) -> Page[LineView]:
    return await paged(tx, LINES, {"book": "b"}, page, lambda line: LineView(id=line.id), by=by)


SERVICE = Service(name="lines", router=router, collections=(LINES,))


@pytest.fixture
async def harness(harness_of: Callable[..., Awaitable[ServiceHarness]]) -> ServiceHarness:
    return await harness_of(SERVICE)


@pytest.fixture
async def client(harness: ServiceHarness) -> AsyncIterator[httpx.AsyncClient]:
    async with harness.client(USER) as client:
        yield client


async def fill(harness: ServiceHarness, count: int) -> list[Line]:
    """Lines of which several share a moment and a rank."""
    lines = [
        Line(ids.new_id(), "b", harness.now + timedelta(milliseconds=number // 3), number % 4)
        for number in range(count)
    ]
    async with harness.tx() as tx:
        for line in [*lines, Line(ids.new_id(), "another", harness.now, 0)]:
            tx.put(LINES, line)
    return lines


async def all_pages(client: httpx.AsyncClient, by: str, limit: int, order: str = "asc") -> list[list[str]]:
    pages: list[list[str]] = []
    after: dict[str, Any] = {}
    while True:
        page = (await client.get("/lines", params={"by": by, "order": order, "limit": limit, **after})).json()
        pages.append([item["id"] for item in page["items"]])
        if page["next"] is None:
            return pages
        after = {"after": page["next"]}


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("by", ["id", "at", "rank"])
async def test_pages_together_are_the_list_each_item_once(
    harness: ServiceHarness, client: httpx.AsyncClient, by: str, order: str
) -> None:
    lines = await fill(harness, 10)
    keys: dict[str, Callable[[Line], Any]] = {
        "id": lambda line: line.id,
        "at": lambda line: (line.at, line.id),
        "rank": lambda line: (line.rank, line.id),
    }
    expected = [line.id for line in sorted(lines, key=keys[by], reverse=order == "desc")]

    pages = await all_pages(client, by, 3, order)

    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert [id_ for page in pages for id_ in page] == expected


@pytest.mark.parametrize("place", range(7))
async def test_a_document_that_cannot_be_read_is_left_out_and_takes_the_list_from_nobody(
    harness: ServiceHarness, client: httpx.AsyncClient, place: int
) -> None:
    lines = await fill(harness, 7)
    bad = lines[place].id
    await harness.runtime.database[LINES.name].update_one({"_id": bad}, {"$set": {"book": "b", "rank": "first"}})

    pages = await all_pages(client, "id", 3)

    assert [id_ for page in pages for id_ in page] == [line.id for line in lines if line.id != bad]


async def test_what_is_written_meanwhile_moves_nothing(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    lines = await fill(harness, 4)
    first = (await client.get("/lines", params={"limit": 2})).json()
    async with harness.tx() as tx:
        tx.put(LINES, Line("0" * 24, "b", harness.now, 0))
        tx.delete(LINES, lines[1].id)

    second = (await client.get("/lines", params={"limit": 2, "after": first["next"]})).json()

    assert [item["id"] for item in second["items"]] == [line.id for line in lines[2:]]


async def test_the_last_page_has_no_next_and_an_empty_list_is_one_page(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    assert (await client.get("/lines")).json() == {"items": [], "next": None, "last": None}
    await fill(harness, 3)

    assert (await client.get("/lines", params={"limit": 3})).json()["next"] is None


async def test_with_the_last_item_s_cursor_a_client_asks_for_what_came_later(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    await fill(harness, 3)
    shown = (await client.get("/lines")).json()

    nothing_yet = (await client.get("/lines", params={"after": shown["last"]})).json()
    lines = await fill(harness, 2)
    later = (await client.get("/lines", params={"after": nothing_yet["last"]})).json()

    assert (shown["next"], nothing_yet) == (None, {"items": [], "next": None, "last": shown["last"]})
    assert [item["id"] for item in later["items"]] == [line.id for line in lines]


async def test_a_limit_is_from_1_to_100(client: httpx.AsyncClient) -> None:
    for limit in ("0", "101", "-1", "x", "1.5", "9" * 30, "", "1_0", "+5", " 5", "05", "5.0", "٣"):
        response = await client.get("/lines", params={"limit": limit})

        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "limit"), limit


@pytest.mark.parametrize(
    ("query", "field"), [("limit=5&limit=6", "limit"), ("limit=5&limit=5", "limit"), ("limit=5&sort=x", "sort")]
)
async def test_what_is_there_twice_or_unknown_is_a_422(client: httpx.AsyncClient, query: str, field: str) -> None:
    response = await client.get(f"/lines?{query}")

    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (422, [field])


def cursor(place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


FORGED = [
    "x",
    "ab$c",
    "x" * 513,
    "a" * 511,
    cursor(None),
    cursor([]),
    cursor([1]),
    cursor([1, 2]),
    cursor([{"$gt": ""}, USER]),
    cursor([USER, {"$gt": ""}]),
    cursor([None, USER]),
    cursor([10**30, USER]),
    cursor([1e300, USER, "t"]),
    cursor([-1e18, USER, "t"]),
    cursor([1e15, USER, "t"]),
    cursor(["x", USER, "t"]),
    cursor("[NaN, 1]"),
    cursor(["\ud800", "x"]),
    cursor(["x", "\udfff"]),
    cursor([1.5, "\ud800", "t"]),
    cursor([True, USER]),
    base64.urlsafe_b64encode(b'[NaN, "a", "t"]').decode().rstrip("="),
    base64.urlsafe_b64encode(b"\xff\xff").decode().rstrip("="),
    base64.urlsafe_b64encode(b"[" * 300).decode(),
]


@pytest.mark.parametrize("by", ["id", "at", "rank"])
async def test_a_cursor_that_is_not_ours_is_a_422(client: httpx.AsyncClient, by: str) -> None:
    for after in FORGED:
        response = await client.get("/lines", params={"after": after, "by": by})

        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "after"), after


@pytest.mark.parametrize("by", ["id", "at"])
async def test_what_commits_late_is_shown_to_who_polls_once_and_nothing_twice(
    harness: ServiceHarness, client: httpx.AsyncClient, by: str
) -> None:
    """Its place, decided when its transaction began, lies before what was shown already."""
    began = harness.now
    lines = [Line(id_at(began, number), "b", began + timedelta(milliseconds=number), 0) for number in range(6)]
    early, late = [lines[1], lines[3], lines[5]], [lines[0], lines[2], lines[4]]

    seen: list[str] = []
    last: dict[str, str] = {}
    for written in ([*early, late[1]], [late[0]], [], [late[2]], []):
        async with harness.tx() as tx:
            for line in written:
                tx.put(LINES, line)
        answer = (await client.get("/lines", params={"by": by, **last})).json()
        seen += [item["id"] for item in answer["items"]]
        last = {"after": answer["last"]}
        harness.clock.advance(15)

    assert sorted(seen) == [line.id for line in lines]
    harness.clock.advance(66)
    async with harness.tx() as tx:
        tx.put(LINES, Line(id_at(harness.now, 9), "b", harness.now, 0))
    settled = (await client.get("/lines", params={"by": by, **last})).json()
    assert (len(settled["items"]), len(settled["last"]) < len(last["after"])) == (1, True)


@pytest.mark.parametrize("by", ["id", "at"])
async def test_newest_first_what_was_there_at_the_beginning_is_shown_once_whatever_commits_meanwhile(
    harness: ServiceHarness, client: httpx.AsyncClient, by: str
) -> None:
    lines = [Line(id_at(harness.now, n), "b", harness.now + timedelta(milliseconds=n), 0) for n in range(9)]
    there, late = lines[::2], lines[1::2]
    async with harness.tx() as tx:
        for line in there:
            tx.put(LINES, line)

    seen: list[str] = []
    after: dict[str, str] = {}
    for line in late:
        page = (await client.get("/lines", params={"by": by, "order": "desc", "limit": 2, **after})).json()
        seen += [item["id"] for item in page["items"]]
        after = {"after": page["last"]}
        async with harness.tx() as tx:
            tx.put(LINES, line)

    assert len(seen) == len(set(seen))
    assert {line.id for line in there} <= set(seen)


def id_at(moment: datetime, number: int) -> str:
    """An id as `new_id` makes them at that moment."""
    return f"{int(moment.timestamp()):08x}{number:016x}"
