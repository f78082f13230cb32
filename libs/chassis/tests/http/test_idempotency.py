"""Idempotency-Key: the first answer again, byte for byte; every request counts without one (SPEC §2)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import httpx
import pytest
from fastapi import Query

from chassis import ids
from chassis.errors import Conflict, Forbidden, Gone, NotFound, NotYet, TooSoon, Unavailable
from chassis.http import Body, CallerDep, TxDep, TxRouter, retries
from chassis.service import Service
from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from chassis_testing.service import ServiceHarness
from contracts import ViewerBlockedV1

USER, OTHER = "a" * 24, "c" * 24
KEY = {"Idempotency-Key": "k1"}


@dataclass(frozen=True, slots=True)
class Note:
    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Weather:
    """What the domain says to a command, whatever it is; `id` is always the same."""

    id: str
    refusal: str


NOTES = Collection("notes", Note)
WEATHER = Collection("weather", Weather)


class NewNote(Body):
    text: str


class NoteView(Body):
    id: str


class NoSuchBook(NotFound, slug="no-such-book"):
    """There is no such book."""


class BookFull(Conflict, slug="book-full"):
    """The book is full."""


class BookClosed(Gone, slug="book-closed"):
    """The book is closed."""


class NotYours(Forbidden, slug="not-yours"):
    """The book is somebody else's."""


class TooFast(TooSoon, slug="too-fast"):
    """Not so fast."""


class NoInk(Unavailable, slug="no-ink"):
    """There is no ink."""


REFUSALS = {"missing": NoSuchBook, "full": BookFull, "closed": BookClosed, "foreign": NotYours, "fast": TooFast}
REFUSALS |= {"ink": NoInk}


class Meeting:
    """Where endpoints wait until as many are there as the test wants to run at once."""

    def __init__(self) -> None:
        self.wanted = 0
        self._here = 0
        self._complete = asyncio.Event()

    async def join(self) -> None:
        self._here += 1
        if self._here >= self.wanted:
            self._complete.set()
        await self._complete.wait()


meeting = Meeting()
router = TxRouter()


@router.post("/notes", status_code=201, refuses=tuple(REFUSALS.values()))
async def write_note(
    body: NewNote, caller: CallerDep, tx: TxDep, colour: Annotated[Literal["black", "red"], Query()] = "black"
) -> NoteView:
    note = Note(ids.new_id(), f"{body.text} {colour}")
    tx.put(NOTES, note)
    tx.emit(ViewerBlockedV1(streamer_id=caller.user_id, viewer_id=note.id))
    await tx.find(NOTES, {})  # what is refused below was written to the server already
    await meeting.join()
    weather = await tx.get(WEATHER, "weather")
    if weather is not None and weather.refusal == "unknown":
        raise NotYet("book")
    if weather is not None:
        raise REFUSALS[weather.refusal]
    return NoteView(id=note.id)


async def _newest_book(path: Mapping[str, str], tx: Tx) -> str | None:
    book = await tx.find_one(NOTES, {"text": f"book of {path['author']}"}, sort={"_id": -1})
    return f"/books/{book.id}/notes" if book else None


@router.post("/books/{book_id}/notes", status_code=201)
async def write_in_book(book_id: str, body: NewNote, tx: TxDep) -> NoteView:
    note = Note(ids.new_id(), f"{body.text} in {book_id}")
    tx.put(NOTES, note)
    return NoteView(id=note.id)


@router.post("/authors/{author}/notes", status_code=201, same_as=_newest_book)
async def write_in_newest_book(author: str, body: NewNote, tx: TxDep) -> NoteView:
    path = await _newest_book({"author": author}, tx)
    assert path is not None
    return await write_in_book(path.split("/")[2], body, tx)


@router.delete("/notes/{note_id}")
async def tear_out(note_id: str, tx: TxDep) -> None:
    tx.emit(ViewerBlockedV1(streamer_id=USER, viewer_id=ids.derived_id(note_id)))


SERVICE = Service(name="notes", router=router, collections=(NOTES, WEATHER))


@pytest.fixture
async def harness(harness_of: Callable[..., Awaitable[ServiceHarness]]) -> ServiceHarness:
    meeting.__init__()  # type: ignore[misc] # a meeting of this test's own, at the place the endpoint knows
    return await harness_of(SERVICE)


@pytest.fixture
async def client(harness: ServiceHarness) -> AsyncIterator[httpx.AsyncClient]:
    async with harness.client(USER) as client:
        yield client


async def turn(harness: ServiceHarness, refusal: str | None) -> None:
    """From now on, the domain refuses; or accepts again."""
    async with harness.tx() as tx:
        tx.delete(WEATHER, "weather")
        if refusal is not None:
            tx.put(WEATHER, Weather("weather", refusal))


async def notes(harness: ServiceHarness) -> int:
    return int(await harness.runtime.database["notes"].count_documents({}))


async def test_the_same_key_and_body_give_the_first_answer_byte_for_byte(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    first = await client.post("/notes", json={"text": "x"}, headers=KEY)
    again = await client.post("/notes", json={"text": "x"}, headers=KEY)

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (again.headers["idempotent-replayed"], "idempotent-replayed" in first.headers) == ("true", False)
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert {**again.headers, "x-request-id": ""}.items() >= {**first.headers, "x-request-id": ""}.items()
    assert (await notes(harness), len(await harness.take())) == (1, 1)


async def test_without_a_key_every_request_counts(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await client.post("/notes", json={"text": "x"})

    assert await notes(harness) == 2


async def test_an_answer_without_a_body_is_given_again_too(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    answers = [await client.delete("/notes/n1", headers=KEY) for _ in range(2)]

    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
    assert len(await harness.take()) == 1


@pytest.mark.parametrize(("path", "text"), [("/notes", "y"), ("/notes?colour=red", "x")])
async def test_the_same_key_with_another_request_is_a_422(client: httpx.AsyncClient, path: str, text: str) -> None:
    await client.post("/notes", json={"text": "x"}, headers=KEY)

    other = await client.post(path, json={"text": text}, headers=KEY)

    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


async def test_a_key_belongs_to_its_caller_and_its_path(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    await client.post("/notes", json={"text": "x"}, headers=KEY)
    await harness.client(OTHER).post("/notes", json={"text": "y"}, headers=KEY)
    await client.delete("/notes/n1", headers=KEY)
    await client.delete("/notes/n2", headers=KEY)

    assert (await notes(harness), len(await harness.take())) == (2, 4)


async def new_book(harness: ServiceHarness) -> str:
    book = Note(ids.new_id(), "book of ann")
    async with harness.tx() as tx:
        tx.put(NOTES, book)
    return book.id


@pytest.mark.parametrize("alias_first", [False, True])
async def test_an_alias_shares_the_keys_of_its_command(
    harness: ServiceHarness, client: httpx.AsyncClient, *, alias_first: bool
) -> None:
    book = await new_book(harness)
    paths = [f"/books/{book}/notes", "/authors/ann/notes"]
    if alias_first:
        paths.reverse()

    answers = [await client.post(path, json={"text": "x"}, headers=KEY) for path in paths]
    other = await client.post(paths[1], json={"text": "y"}, headers=KEY)

    assert answers[0].status_code == 201
    assert answers[1].content == answers[0].content
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    assert await notes(harness) == 2  # the book, and one in it


async def test_an_alias_gives_its_first_answer_again_when_it_stands_for_something_else_by_now(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    await new_book(harness)
    first = await client.post("/authors/ann/notes", json={"text": "x"}, headers=KEY)
    await new_book(harness)

    again = await client.post("/authors/ann/notes", json={"text": "x"}, headers=KEY)

    assert (first.status_code, again.content) == (201, first.content)


async def test_an_alias_and_its_command_at_once_are_one(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    book = await new_book(harness)
    paths = [f"/books/{book}/notes", "/authors/ann/notes"] * 3

    answers = await asyncio.gather(*(client.post(path, json={"text": "x"}, headers=KEY) for path in paths))

    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert await notes(harness) == 2


async def test_two_requests_with_one_key_at_once_are_one(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    meeting.wanted = 2  # both are past their look for a stored answer before either goes on

    first, second = await asyncio.gather(*(client.post("/notes", json={"text": "x"}, headers=KEY) for _ in range(2)))

    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.status_code == 201
    assert (await notes(harness), len(await harness.take())) == (1, 1)


@pytest.mark.parametrize(("refusal", "status"), [("missing", 404), ("full", 409), ("closed", 410)])
async def test_a_refusal_of_the_domain_is_the_answer_for_ten_minutes(
    harness: ServiceHarness, client: httpx.AsyncClient, refusal: str, status: int
) -> None:
    await turn(harness, refusal)
    first = await client.post("/notes", json={"text": "x"}, headers=KEY)
    await turn(harness, None)
    again = await client.post("/notes", json={"text": "x"}, headers=KEY)

    assert (first.status_code, again.status_code, again.content) == (status, status, first.content)
    assert (await notes(harness), await harness.take()) == (0, [])
    harness.clock.advance(10 * 60)
    assert (await client.post("/notes", json={"text": "x"}, headers=KEY)).status_code == 201


@pytest.mark.parametrize(("refusal", "status"), [("foreign", 403), ("fast", 429), ("ink", 503), ("unknown", 404)])
async def test_what_another_moment_may_change_is_not_stored(
    harness: ServiceHarness, client: httpx.AsyncClient, refusal: str, status: int
) -> None:
    await turn(harness, refusal)
    first = await client.post("/notes", json={"text": "x"}, headers=KEY)
    await turn(harness, None)
    again = await client.post("/notes", json={"text": "x"}, headers=KEY)

    assert (first.status_code, again.status_code) == (status, 201)
    assert (await notes(harness), len(await harness.take())) == (1, 1)


async def test_a_request_that_was_not_valid_does_not_use_the_key_up(client: httpx.AsyncClient) -> None:
    assert (await client.post("/notes", json={"text": 1}, headers=KEY)).status_code == 422

    assert (await client.post("/notes", json={"text": "x"}, headers=KEY)).status_code == 201


async def test_a_key_is_free_again_after_a_day(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    await client.post("/notes", json={"text": "x"}, headers=KEY)
    harness.clock.advance(24 * 3_600)
    await client.post("/notes", json={"text": "y"}, headers=KEY)

    assert await notes(harness) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "ü", "a\x7fb"])
async def test_a_malformed_key_is_a_422(client: httpx.AsyncClient, key: str) -> None:
    response = await client.post("/notes", json={"text": "x"}, headers=[(b"idempotency-key", key.encode())])

    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "idempotency-key")


async def test_nothing_is_left_open(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    await client.post("/notes", json={"text": "x"}, headers=KEY)
    await client.post("/notes", json={"text": "x"}, headers=KEY)
    await retries.all_done()

    status = await harness.runtime.mongo.client.admin.command("serverStatus")

    assert status["transactions"]["currentOpen"] == 0
