"""Tx on a real MongoDB: the identity map, savepoints, conflicts and stamps."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import pytest
from pymongo import monitoring

from chassis import ids
from chassis.cause import Cause
from chassis.decision import At, Timer
from chassis.effects.model import EFFECTS
from chassis.outbox.model import OUTBOX
from chassis.storage.collection import Collection, Index
from chassis.storage.documents import Stamps
from chassis.storage.errors import is_transient
from chassis.storage.mongo import Database, Driver, DuplicateKeyError, Mongo, PyMongoError
from chassis.storage.tx import TooManyFound, Tx
from chassis.timers.model import TIMERS
from contracts import ViewerBlockedV1


@dataclass(frozen=True, slots=True)
class Jar:
    id: str
    owner: str
    beans: int = 0
    seen: datetime | None = None


class Nap(Timer, name="nap"):
    """Some time later."""


JARS = Collection("jars", Jar, indexes=(Index({"owner": 1}),))


@pytest.fixture
async def database(mongo: Mongo) -> AsyncIterator[Database]:
    name = f"t-tx-{ids.new_id()}"
    database = mongo.database(name)
    for collection in (JARS, OUTBOX, TIMERS, EFFECTS):
        await database.create_collection(collection.name)
    yield database
    await mongo.client.drop_database(name)


class Servers(Protocol):
    """Where MongoDB is."""

    @property
    def mongo_url(self) -> str: ...


class Begin:
    """Makes transactions whose clock stands where the test puts it."""

    def __init__(self, mongo: Mongo, database: Database) -> None:
        self.micros = 1_000_000
        self._mongo = mongo
        self._database = database

    def __call__(self, *, read_only: bool = False, seen: Stamps | None = None) -> Tx:
        cause = Cause(at=datetime(2026, 1, 1, tzinfo=UTC), correlation_id="c")
        return Tx(
            self._mongo,
            self._database,
            service="tests",
            micros=self.micros,
            machine_micros=self.micros,
            cause=cause,
            settings={},
            read_only=read_only,
            seen=seen,
        )


@pytest.fixture
def begin(mongo: Mongo, database: Database) -> Begin:
    return Begin(mongo, database)


async def save(begin: Begin, *jars: Jar) -> None:
    tx = begin()
    for jar in jars:
        tx.put(JARS, jar)
    await tx.commit()


async def load(begin: Begin, id_: str) -> Jar | None:
    return await begin(read_only=True).get(JARS, id_)


def blocked() -> ViewerBlockedV1:
    return ViewerBlockedV1(streamer_id=ids.new_id(), viewer_id=ids.new_id())


async def test_what_is_saved_reads_back_the_same(begin: Begin) -> None:
    jar = Jar("a", "ann", 3, datetime(2026, 1, 1, 12, 30, 15, 123_000, tzinfo=UTC))

    await save(begin, jar)

    assert await load(begin, "a") == jar


async def test_nothing_is_saved_without_a_commit(begin: Begin) -> None:
    tx = begin()
    tx.put(JARS, Jar("a", "ann"))
    assert await tx.find(JARS, {"owner": "ann"}) == [Jar("a", "ann")]  # flushed, not committed
    await tx.abort()

    assert await load(begin, "a") is None


async def test_a_document_loaded_twice_is_one(begin: Begin) -> None:
    await save(begin, Jar("a", "ann", 1))
    tx = begin()

    first = await tx.get(JARS, "a")
    tx.put(JARS, Jar("a", "ann", 2))

    assert first == Jar("a", "ann", 1)
    assert await tx.get(JARS, "a") == Jar("a", "ann", 2)
    await tx.abort()


async def test_a_query_that_finds_too_much_says_so_and_never_cuts(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.storage.tx.FIND_LIMIT", 3)
    await save(begin, *(Jar(str(number), "ann", 1) for number in range(5)))
    tx = begin()

    with pytest.raises(TooManyFound, match="more than 3 documents of jars"):
        await tx.find(JARS, {"owner": "ann"})
    assert len(await tx.find(JARS, {"owner": "ann"}, limit=4)) == 4
    assert len(await tx.get_many(JARS, [str(number) for number in range(5)])) == 5
    await tx.abort()


async def test_a_query_sees_this_transactions_own_changes(begin: Begin) -> None:
    await save(begin, Jar("a", "ann", 1), Jar("b", "ann", 1))
    tx = begin()
    tx.put(JARS, Jar("a", "bob", 1))
    tx.insert(JARS, Jar("c", "ann", 1))
    tx.delete(JARS, "b")

    found = await tx.find(JARS, {"owner": "ann"})

    assert found == [Jar("c", "ann", 1)]
    await tx.abort()


async def test_rolling_back_drops_what_came_after_the_savepoint_only(begin: Begin) -> None:
    await save(begin, Jar("a", "ann", 1), Jar("b", "ann", 1), Jar("d", "dan", 1))
    tx = begin()
    tx.put(JARS, Jar("a", "ann", 2))
    savepoint = tx.savepoint()
    tx.put(JARS, Jar("a", "ann", 3))
    tx.delete(JARS, "b")
    tx.insert(JARS, Jar("c", "ann"))
    tx.put(JARS, Jar("d", "dan", 9))
    tx.emit(blocked())
    tx.rollback(savepoint)
    await tx.commit()

    assert [await load(begin, id_) for id_ in "abcd"] == [
        Jar("a", "ann", 2),
        Jar("b", "ann", 1),
        None,
        Jar("d", "dan", 1),
    ]
    assert await begin(read_only=True).find(OUTBOX, {}) == []


async def test_what_is_done_after_a_commit_is_done_once_and_not_for_what_was_dropped(begin: Begin) -> None:
    done: list[str] = []
    lost, tx = begin(), begin()
    lost.put(JARS, Jar("a", "ann", 1))
    lost.after_commit(lambda: done.append("lost"))
    await lost.abort()
    tx.put(JARS, Jar("a", "ann", 2))
    tx.after_commit(lambda: done.append("kept"))
    savepoint = tx.savepoint()
    tx.after_commit(lambda: done.append("dropped"))
    tx.rollback(savepoint)
    assert done == []

    await tx.commit()

    assert done == ["kept"]


async def test_rolling_back_undoes_what_a_query_has_flushed(begin: Begin) -> None:
    await save(begin, Jar("a", "ann", 1), Jar("b", "ann", 1), Jar("d", "ann", 1))
    tx = begin()
    tx.put(JARS, Jar("a", "ann", 2))
    savepoint = tx.savepoint()
    tx.put(JARS, Jar("a", "ann", 3))
    tx.delete(JARS, "b")
    tx.insert(JARS, Jar("c", "ann"))
    tx.put(JARS, Jar("d", "ann", 9))
    assert len(await tx.find(JARS, {"owner": "ann"})) == 3
    tx.rollback(savepoint)

    assert {jar.id: jar.beans for jar in await tx.find(JARS, {"owner": "ann"})} == {"a": 2, "b": 1, "d": 1}
    await tx.commit()
    assert {jar.id: jar.beans for jar in await begin(read_only=True).find(JARS, {"owner": "ann"})} == {
        "a": 2,
        "b": 1,
        "d": 1,
    }


async def test_two_that_write_what_both_relied_on_cannot_both_win(begin: Begin) -> None:
    await save(begin, Jar("stage", "ann", 0))
    one, two = begin(), begin()
    for tx in (one, two):
        stage = await tx.get(JARS, "stage")
        assert stage is not None
        tx.put(JARS, stage)  # unchanged: it is relied on
    one.insert(JARS, Jar("x", "one"))
    two.insert(JARS, Jar("y", "two"))
    await one.commit()

    with pytest.raises(PyMongoError) as conflict:
        await two.commit()

    assert is_transient(conflict.value)
    await two.abort()
    assert await load(begin, "y") is None


async def test_inserting_what_exists_fails(begin: Begin) -> None:
    await save(begin, Jar("a", "ann"))
    tx = begin()
    tx.insert(JARS, Jar("a", "bob"))

    with pytest.raises(PyMongoError) as error:
        await tx.commit()

    await tx.abort()
    assert not is_transient(error.value) or isinstance(error.value, DuplicateKeyError)
    assert await load(begin, "a") == Jar("a", "ann")


async def test_stamps_follow_causes_even_when_the_clock_steps_back(begin: Begin, database: Database) -> None:
    await save(begin, Jar("a", "ann"))
    begin.micros = 500_000
    tx = begin()
    jar = await tx.get(JARS, "a")
    assert jar is not None
    tx.put(JARS, replace(jar, beans=1))
    tx.emit(blocked())
    await tx.commit()

    row = await database["outbox"].find_one({})
    stored = await database["jars"].find_one({"_id": "a"})

    assert row is not None
    assert stored is not None
    assert row["_stamp"] == stored["_stamp"] == 1_000_001


async def test_what_follows_an_absence_is_stamped_after_what_made_it(begin: Begin, database: Database) -> None:
    process = Stamps()
    await save(begin, Jar("a", "ann"))
    begin.micros = 9_000_000  # on a clock that was ahead
    tx = begin(seen=process)
    tx.delete(JARS, "a")
    await tx.commit()

    begin.micros = 2_000_000
    tx = begin(seen=process)
    assert await tx.get(JARS, "a") is None
    tx.emit(blocked())
    await tx.commit()

    row = await database["outbox"].find_one({})
    assert row is not None
    assert row["_stamp"] > 9_000_000


async def test_what_was_flushed_early_gets_the_final_stamp(begin: Begin, database: Database) -> None:
    begin.micros = 2_000_000
    await save(begin, Jar("late", "zoe"))
    begin.micros = 1_000_000
    tx = begin()
    tx.insert(JARS, Jar("early", "ann"))
    await tx.find(JARS, {"owner": "ann"})
    await tx.get(JARS, "late")
    await tx.commit()

    stored = await database["jars"].find_one({"_id": "early"})

    assert stored is not None
    assert stored["_stamp"] == 2_000_001


async def test_a_query_may_not_write(begin: Begin) -> None:
    tx = begin(read_only=True)
    tx.put(JARS, Jar("a", "ann"))

    with pytest.raises(RuntimeError, match="a query wrote to jars"):
        await tx.commit()


async def test_a_transaction_that_only_reads_leaves_nothing_open(begin: Begin, mongo: Mongo) -> None:
    async def read() -> None:
        tx = begin()
        await tx.get(JARS, "a")
        await tx.commit()

    await asyncio.gather(*(read() for _ in range(5)))

    status = await mongo.client.admin.command({"serverStatus": 1, "transactions": 1})
    assert status["transactions"]["currentOpen"] == 0


class Writes(monitoring.CommandListener):
    """Every write that a driver sends, and whether it is part of a transaction."""

    def __init__(self) -> None:
        self.in_transaction: list[tuple[str, bool]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in ("insert", "update", "delete", "findAndModify", "bulkWrite"):
            numbered = "txnNumber" in event.command and event.command.get("autocommit") is False
            self.in_transaction.append((event.command_name, numbered))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...


async def test_every_write_of_a_tx_is_part_of_its_transaction(
    database: Database, servers: Servers, mongo_driver: Driver
) -> None:
    writes = Writes()
    mongo = Mongo(servers.mongo_url, mongo_driver, listeners=[writes])
    tx = Begin(mongo, mongo.database(database.name))()
    tx.put(JARS, Jar("a", "ann"))
    await tx.find(JARS, {"owner": "ann"})  # flushes
    tx.put(JARS, Jar("d", "ann"))
    tx.insert(JARS, Jar("b", "ann"))
    tx.delete(JARS, "c")
    tx.emit(blocked())
    await tx.commit()
    await mongo.close()

    assert {name for name, _ in writes.in_transaction} == {"insert", "update", "delete"}
    assert all(numbered for _, numbered in writes.in_transaction)


async def test_what_follows_from_a_cause_is_said_under_the_same_ids_once_more_and_a_command_says_it_anew(
    begin: Begin,
) -> None:
    event = blocked()

    async def ids_said(cause: Cause, *, dropped: bool = False) -> list[str]:
        tx = begin()
        tx.cause = cause
        tx.emit(event)
        savepoint = tx.savepoint()
        if dropped:
            tx.emit(event)
            tx.rollback(savepoint)
        tx.emit(event)
        rows = await tx.find(OUTBOX, {}, sort={"n": 1})
        await tx.abort()
        return [row.id for row in rows]

    heard = Cause(at=datetime(2026, 1, 1, tzinfo=UTC), correlation_id="c", event_id="e", origin="/footlights/goals e")
    another, command = replace(heard, origin="/footlights/sessions e"), replace(heard, origin=None)

    first = await ids_said(heard)

    assert len(set(first)) == 2
    assert await ids_said(heard) == first
    assert await ids_said(heard, dropped=True) == first
    assert not {*first} & {*await ids_said(another)}
    assert not {*await ids_said(command)} & {*await ids_said(command)}


async def test_no_two_subjects_ever_share_an_id_though_they_come_in_another_order(begin: Begin) -> None:
    """Or a consumer's inbox would take one for the other: a restored database settles in any order."""
    one, other = blocked(), blocked()
    other = other.model_copy(update={"streamer_id": one.streamer_id, "viewer_id": ids.new_id()})
    heard = Cause(at=datetime(2026, 1, 1, tzinfo=UTC), correlation_id="c", event_id="e", origin="/footlights/goals e")

    async def ids_said(*events: ViewerBlockedV1) -> list[str]:
        tx = begin()
        tx.cause = heard
        for event in events:
            tx.emit(event)
        rows = await tx.find(OUTBOX, {}, sort={"n": 1})
        await tx.abort()
        return [row.id for row in rows]

    assert await ids_said(one, other) == list(reversed(await ids_said(other, one)))


async def test_timers_and_vendor_calls_remember_what_they_follow_from(begin: Begin) -> None:
    command = Cause(at=datetime(2026, 1, 1, tzinfo=UTC), correlation_id="c")
    heard = replace(command, event_id="e", origin="/footlights/goals e")
    origins = []
    for cause in (heard, command, command):
        tx = begin()
        tx.cause = cause
        tx.set_timer(At(Nap(), "nap", datetime(2026, 1, 2, tzinfo=UTC), "k"))
        [timer] = await tx.find(TIMERS, {})
        await tx.abort()
        origins.append(timer.cause.origin)

    assert origins[0] == heard.origin
    assert None not in origins
    assert len(set(origins)) == 3
