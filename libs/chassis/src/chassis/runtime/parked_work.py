"""What waits for an operator, whatever it is: listed, shown, tried again, or given up with a reason that stays.

Everything is parked where it would be done, for it still has its place there: a message with those behind it, a timer
with its moment, a vendor call and an event to publish each at the head of its key. Only what happens to them is here.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Collection as AnyCollection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chassis import ids
from chassis.clock import Clock, instant
from chassis.context import Runtime
from chassis.effects.model import EFFECTS as STORED_EFFECTS
from chassis.kafka.parking import PARKED, PARKED_KEYS
from chassis.outbox.model import OUTBOX as STORED_EVENTS
from chassis.outbox.relay import OUTBOX_PARKED
from chassis.storage.collection import Collection
from chassis.storage.errors import commit
from chassis.storage.mongo import Database, Raw
from chassis.timers.model import TIMERS as STORED_TIMERS

LIST_BATCH = 200  # read at once; there may be as many as the backlog allows, and nobody's memory is to hold them all
OUTCOMES_MAX = 1_000  # of each kind, of which it is told what has become of them; all are tried
OUTCOME_SECONDS = 30.0  # for what is tried again: a message five times within 2 s, and a leader looks within 5
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Discarded:
    """Work that an operator has given up. It stays here for ever."""

    id: str
    kind: str
    reason: str
    at: datetime
    work: dict[str, Any]
    """As it was stored."""


DISCARDED = Collection("discarded", Discarded)


@dataclass(frozen=True, slots=True, eq=False)
class ParkedWork:
    """One kind of work that can be parked."""

    kind: str
    collection: Collection[Any]
    """Where it says that it is parked."""
    fields: tuple[str, ...]
    """What the list says of each, whatever release has written it."""
    oldest_first: Mapping[str, int]
    where: Mapping[str, Any] = field(default_factory=lambda: {"parked": True})
    """Which documents wait for an operator."""
    listed: Mapping[str, Any] | None = None
    """Which are listed, when those that try again by themselves are, too."""
    again: Callable[[datetime], Raw] | None = None
    """What lets one be tried again at a moment: fields that change. None: its document is deleted."""
    rows: Collection[Any] | None = None
    """Where the work itself is, if it is another collection."""
    row_id: str = "_id"
    """Which field names it."""
    behind: str | None = None
    """The field by which what waits behind it is found there."""

    async def list(self, runtime: Runtime) -> AsyncIterator[Raw]:
        """All of them with their reasons, the oldest first, read as they are asked for."""
        where = self.where if self.listed is None else self.listed
        found = runtime.database[self.collection.name].find(where, dict.fromkeys(self.fields, 1))
        found = found.sort(list(self.oldest_first.items())).batch_size(LIST_BATCH)
        while part := await found.to_list(LIST_BATCH):
            behind = await self._count_behind(runtime, [raw["_id"] for raw in part])
            for raw in part:
                waiting = {} if self.behind is None else {"waiting": behind.get(raw["_id"], 0) - 1}
                yield {"waits": self.kind} | {name: raw.get(name) for name in self.fields} | waiting

    async def _count_behind(self, runtime: Runtime, of: AnyCollection[str]) -> dict[str, int]:
        """How much waits behind each `of` them, itself included."""
        if self.behind is None:
            return {}
        counted: list[Raw] = [
            {"$match": {self.behind: {"$in": list(of)}}},
            {"$group": {"_id": f"${self.behind}", "count": {"$sum": 1}}},
        ]
        rows = await runtime.mongo.aggregate(runtime.database[self._rows], counted)
        return {row["_id"]: row["count"] for row in rows}

    async def show(self, database: Database, id_: str) -> Raw | None:
        """One of them whole, with what can be read of its bytes."""
        raw = await database[self._rows].find_one({"_id": id_})
        return None if raw is None else {name: _readable(value) for name, value in raw.items()}

    async def parked(self, database: Database, key: str | None = None) -> dict[str, str]:
        """The ids of those that wait for an operator, of all or of `key`, each with its reason; of very many, some."""
        found = database[self.collection.name].find(self._where(key), {self.row_id: 1, "reason": 1}).limit(OUTCOMES_MAX)
        return {raw.get(self.row_id, ""): raw.get("reason", "") for raw in await found.to_list(None)}

    async def replay(self, database: Database, clock: Clock, key: str | None = None) -> int:
        """Let them be tried again, all or those of `key`; returns how many will be."""
        collection = database[self.collection.name]
        if self.again is None:
            return (await collection.delete_many(self._where(key))).deleted_count
        change = {"$set": self.again(instant(clock.micros()))}
        return (await collection.update_many(self._where(key), change)).modified_count

    async def left(self, database: Database, of: AnyCollection[str]) -> set[str]:
        """Those `of` them that are still to be done."""
        rows = await database[self._rows].find({"_id": {"$in": list(of)}}, {"_id": 1}).to_list(None)
        return {row["_id"] for row in rows}

    async def discard(self, runtime: Runtime, id_: str, reason: str) -> bool:
        """Give one up, and keep it with the reason; what waits behind it follows. False if it is not parked.

        Raises:
            PyMongoError: the database is away, or somebody has it in hand.
        """
        database, now = runtime.database, instant(runtime.clock.micros())
        where = {**self.where, self.row_id: id_}
        session = await runtime.mongo.begin()
        try:
            if await database[self.collection.name].find_one(where, session=session) is None:
                return False
            work = await database[self._rows].find_one_and_delete({"_id": id_}, session=session)
            given_up = Discarded(ids.new_id(), self.kind, reason, now, work or {"_id": id_})
            await database[DISCARDED.name].insert_one(
                DISCARDED.to_raw(given_up, runtime.clock.micros()), session=session
            )
            if self.again is not None:
                await database[self.collection.name].update_one(where, {"$set": self.again(now)}, session=session)
            else:
                await database[self.collection.name].delete_one(where, session=session)
            await commit(session)
        finally:
            await session.end_session()
        return True

    @property
    def _rows(self) -> str:
        return (self.rows or self.collection).name

    def _where(self, key: str | None) -> Raw:
        return dict(self.where) if key is None else {**self.where, "key": key}


def _readable(value: Any) -> Any:
    """Bytes as the JSON or the text that they are; headers by name."""
    if isinstance(value, bytes):
        text = value.decode(errors="backslashreplace")
        try:
            return json.loads(text)
        except ValueError:
            return text
    if isinstance(value, dict):
        return {name: _readable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_readable(one) for one in value]
    return value


def _key_again(now: datetime) -> Raw:
    again = {"state": "retrying", "attempts": 0, "unfinished_attempts": 0, "since": now, "next_try_at": now}
    return PARKED_KEYS.with_former(again)


MESSAGES = ParkedWork(
    "messages",
    PARKED_KEYS,
    ("topic", "key", "state", "type", "head", "reason", "attempts", "since", "next_try_at"),
    {"since": 1},
    where={"state": "parked"},
    listed={"state": {"$in": ["parked", "retrying"]}},
    again=_key_again,
    rows=PARKED,
    row_id="head",
    behind=PARKED.name_in_queries("ordering_key"),
)
TIMERS = ParkedWork(
    "timers",
    STORED_TIMERS,
    ("_id", "name", "key", "due", "attempts", "reason"),
    {"due": 1},
    again=lambda _now: {"parked": False, "attempts": 0},
)
EFFECTS = ParkedWork(
    "effects",
    STORED_EFFECTS,
    ("_id", "name", "key", "due", "attempts", "reason"),
    {"_stamp": 1, "n": 1},
    again=lambda now: {"parked": False, "failures": 0, "due": now},
)
OUTBOX = ParkedWork(
    "outbox",
    OUTBOX_PARKED,
    ("topic", "key", "row_id", "reason", "at"),
    {"at": 1},
    where={},
    rows=STORED_EVENTS,
    row_id="row_id",
)

KINDS = {kind.kind: kind for kind in (MESSAGES, TIMERS, EFFECTS, OUTBOX)}


async def list_all(runtime: Runtime) -> AsyncIterator[Raw]:
    """Everything that waits for an operator, and the messages that are still tried, read as it is asked for."""
    for kind in KINDS.values():
        async for line in kind.list(runtime):
            yield line


async def replay_all(
    database: Database, clock: Clock, key: str | None = None, *, seconds: float = OUTCOME_SECONDS
) -> list[Raw]:
    """Let everything be tried again, or what is of `key`; returns what has become of each within some seconds.

    Of more than `OUTCOMES_MAX` of a kind, it tells of so many, and how many more it has let be tried.
    """
    tried = {kind: set(await kind.parked(database, key)) for kind in KINDS.values()}
    more: list[Raw] = []
    for kind, of in tried.items():
        untold = await kind.replay(database, clock, key) - len(of)
        more += [{"tried": kind.kind, "more": untold}] if untold > 0 else []
    outcomes: dict[tuple[str, str], Raw] = {}
    until = clock.monotonic() + seconds
    while True:
        for kind, of in tried.items():
            parked, left = await kind.parked(database, key), await kind.left(database, of)
            for id_ in of:
                outcome: Raw = {"outcome": "done"}
                if id_ in parked:
                    outcome = {"outcome": "parked", "reason": parked[id_]}
                elif id_ in left:
                    outcome = {"outcome": "waits"}
                outcomes[kind.kind, id_] = {"tried": kind.kind, "id": id_} | outcome
        waits = any(outcome["outcome"] == "waits" for outcome in outcomes.values())
        if not waits or clock.monotonic() > until:
            return [*outcomes.values(), *more]
        await asyncio.sleep(LOOK_SECONDS)
