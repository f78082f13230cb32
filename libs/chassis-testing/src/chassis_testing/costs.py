"""For tests of what a command or an event costs: counted commands to MongoDB, and a long history made in a moment.

    commands = Commands()
    mongo = Mongo(url, driver, listeners=[commands])
    solo = await counted(SERVICE, mongo, commands, clock)     # a ServiceHarness that says what it is doing
    ...                                                       # play
    commands.costs["escrow: goal.proposed.v1"]                # of each time: round trips and bytes

What a service has stored meanwhile is multiplied by `Clones`; how MongoDB finds what was asked for is said by `plans`.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import bson
import httpx
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from fastapi.routing import APIRoute
from pymongo import WriteConcern, monitoring

from chassis import ids
from chassis.clock import Clock
from chassis.service import Service
from chassis.storage.batch import WorkItem
from chassis.storage.mongo import Mongo, Raw
from chassis.timers.model import StoredTimer
from chassis_testing.service import ServiceHarness
from contracts import Event

DRIVERS = ("lsid", "$clusterTime", "operationTime", "recoveryToken")  # said by the driver and the server, not by us
TRANSACTIONS = ("txnNumber", "startTransaction", "autocommit", "readConcern", "writeConcern", "$db", "$readPreference")
ID = re.compile(rb"[0-9a-f]{24}")
NOBODYS = ("denied_tokens", "parked_keys")  # looked at once a second, whoever asks then
BYTES_MAX = 1.2  # times those of the first: ids and numbers have more digits, a counter another size
RAW: Any = CodecOptions(document_class=RawBSONDocument)
QUICKLY = WriteConcern(1)
TOGETHER = 5_000  # clones inserted at once
NUMBERED = 8  # digits of an id, the first ones: its time; the others tell ids of a second from each other


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command or event cost."""

    round_trips: int
    bytes: int

    def is_like(self, before: "Cost") -> bool:
        """Whether it is what it was before: the same round trips, nearly the same bytes."""
        return self.round_trips == before.round_trips and self.bytes <= BYTES_MAX * before.bytes


@dataclass(frozen=True, slots=True)
class Query:
    """A question to MongoDB, and who asked."""

    label: str
    database: str
    command: Raw

    @property
    def shape(self) -> tuple[str, ...]:
        """What of it makes the plan: not the values."""
        of = self.command.get("filter", self.command.get("pipeline"))
        asked_of = self.command.get("find") or self.command["aggregate"]
        return self.database, asked_of, str(_names(of)), str(self.command.get("sort")), str(self.command.get("limit"))


class Commands(monitoring.CommandListener):
    """What goes to MongoDB and comes back, under the label of who asks; what nobody has labelled is not counted."""

    def __init__(self) -> None:
        """Nothing was counted yet."""
        self.costs: dict[str, list[Cost]] = defaultdict(list)
        self.queries: list[Query] = []
        self.born: dict[tuple[str, str], list[Any]] = defaultdict(list)
        """The ids of the documents that were inserted, by database and collection."""
        self._upserting: dict[int, str] = {}
        self._unlabelled: set[int] = set()
        self._label: str | None = None
        self._count = self._bytes = 0

    def begin(self, label: str) -> None:
        """What comes now is the cost of this."""
        self._label, self._count, self._bytes = label, 0, 0

    def end(self) -> None:
        """That was all of it."""
        if self._label is not None:
            self.costs[self._label].append(Cost(self._count, self._bytes))
        self._label = None

    def take(self) -> dict[str, list[Cost]]:
        """What was counted since the last take."""
        costs, self.costs = self.costs, defaultdict(list)
        return costs

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """One more."""
        command = cast("Raw", event.command)
        if event.command_name == "insert":
            self.born[event.database_name, command["insert"]] += [one["_id"] for one in command["documents"]]
        elif event.command_name == "update":
            self._upserting[event.request_id] = command["update"]
        if self._label is None or command.get(event.command_name) in NOBODYS:
            self._unlabelled.add(event.request_id)
            return
        self._count += 1
        self._bytes += size(command)
        if event.command_name in ("find", "aggregate"):
            asked = {key: value for key, value in command.items() if key not in (*DRIVERS, *TRANSACTIONS)}
            self.queries.append(Query(self._label, event.database_name, asked))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Its answer."""
        if (name := self._upserting.pop(event.request_id, None)) is not None:
            self.born[event.database_name, name] += [one["_id"] for one in event.reply.get("upserted", ())]
        if event.request_id in self._unlabelled:
            self._unlabelled.remove(event.request_id)
        elif self._label is not None:
            self._bytes += size(cast("Raw", event.reply))

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """It has none."""
        self._upserting.pop(event.request_id, None)
        self._unlabelled.discard(event.request_id)


def size(document: Mapping[str, Any]) -> int:
    """Of what is sent or comes back, in bytes, without what driver and server tell each other."""
    return len(bson.encode({key: value for key, value in document.items() if key not in DRIVERS}))


class Counted(ServiceHarness):
    """A service alone that says to a listener what it is doing, event by event; its clients say each command."""

    commands: Commands

    @property
    def _name(self) -> str:
        return self.service.name

    async def handle_items(self, works: Sequence[WorkItem]) -> list[Exception | None]:
        """One event is counted; what a batch costs is said of none of its events."""
        if len(works) != 1:
            return await super().handle_items(works)
        self.commands.begin(handled(self._name, type(works[0].subject).TYPE))
        try:
            return await super().handle_items(works)
        finally:
            self.commands.end()

    async def run_timer(self, stored: StoredTimer) -> None:
        """The same of a timer."""
        self.commands.begin(f"{self._name}: timer {stored.name}")
        try:
            await super().run_timer(stored)
        finally:
            self.commands.end()

    def client(self, user_id: str | None = None, *scopes: str) -> httpx.AsyncClient:
        """A client whose every request is counted."""
        client = super().client(user_id, *scopes)

        async def begin(request: httpx.Request) -> None:
            if request.method != "GET":
                request.headers.setdefault("idempotency-key", ids.new_id())
            self.commands.begin(asked(self._name, request.method, self._path(request.url.path)))

        async def end(_: httpx.Response) -> None:
            self.commands.end()

        client.event_hooks = {"request": [begin], "response": [end]}
        return client

    def _path(self, path: str) -> str:
        routes = (route for route in self.service.router.routes if isinstance(route, APIRoute))
        return next(route.path for route in routes if route.path_regex.match(path))


async def counted(service: Service, mongo: Mongo, commands: Commands, clock: Clock | None = None) -> Counted:
    """A service alone on a database of its own, which is to be dropped."""
    database = mongo.database(f"t-{service.package}-{ids.new_id()}")
    harness = await Counted.start(service, mongo, database, clock=clock)
    assert isinstance(harness, Counted)  # noqa: S101 - `start` makes what it is called on
    harness.commands = commands
    return harness


def handled(service: str, event_type: str) -> str:
    """The label of an event's handling."""
    return f"{service}: {event_type}"


def asked(service: str, method: str, path: str) -> str:
    """The label of a command or a question."""
    return f"{service}: {method} {path}"


def all_labels(service: Service) -> set[str]:
    """Every event that a service handles, and every command and question that it answers."""
    events = {handled(service.name, row.subject.TYPE) for row in service.handlers if issubclass(row.subject, Event)}
    routes = (route for route in service.router.routes if isinstance(route, APIRoute))
    return events | {
        asked(service.name, method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}
    }


def grown(costs: Sequence[Mapping[str, Sequence[Cost]]]) -> list[str]:
    """What costs more in a later one of these than in the first, each time that it was done: in a line each."""
    lines = []
    for label, before in costs[0].items():
        for later in costs[1:]:
            now = later.get(label, ())
            if len(now) != len(before) or any(not one.is_like(was) for one, was in zip(now, before, strict=True)):
                lines.append(f"{label}: {_figures(before)}; later {_figures(now)}")
    return lines


def _figures(costs: Iterable[Cost]) -> str:
    return ", ".join(f"{cost.round_trips}x {cost.bytes} B" for cost in costs)


# -- a long history ----------------------------------------------------------------------------------------------------


class Clones:
    """Many more documents like some that a service has stored: the same to the byte, but for their ids.

    Every id in them, alone or as a part of another, is another one in each clone, and the same in all documents of one
    clone, so what belonged together does. Only what is `kept` stays: the people and, where it is wanted, the session.
    An id means nothing, so nobody can tell a clone from what the same deeds would have left at the same moment.
    """

    def __init__(self, mongo: Mongo) -> None:
        """`mongo` is a connection that nobody counts."""
        self._mongo = mongo
        self._number = 0

    async def add(
        self,
        born: Mapping[tuple[str, str], Sequence[Any]],
        count: int,
        kept: Iterable[str],
        changes: Mapping[str, Callable[[Raw, int], Raw]] = MappingProxyType({}),
    ) -> dict[tuple[str, str], int]:
        """Of what was `born` and is still there, so many clones in each collection; returns where there are some.

        `changes` of a collection makes of a clone, by its number, what it is to be: where one is to follow another.
        """
        made = {}
        for (database, name), born_ids in born.items():
            there: Any = self._mongo.client.get_database(database).get_collection(name, RAW, write_concern=QUICKLY)
            found = [bytes(one.raw) for one in await there.find({"_id": {"$in": list(born_ids)}}).to_list(None)]
            originals = [(one, others) for one in found if (others := _other_ids(one, kept))]
            for first in range(0, count if originals else 0, TOGETHER):
                numbers = range(first, min(count, first + TOGETHER))
                clones = [_clone(*originals[n % len(originals)], self._number + n // len(originals)) for n in numbers]
                if name in changes:
                    clones = [_changed(clone, n, changes[name]) for n, clone in zip(numbers, clones, strict=True)]
                await there.insert_many(clones, ordered=False)
                made[database, name] = count
        self._number += count
        return made


def _other_ids(document: bytes, kept: Iterable[str]) -> frozenset[bytes]:
    return frozenset(ID.findall(document)) - {id_.encode() for id_ in kept}


def _clone(document: bytes, ids: Iterable[bytes], number: int) -> RawBSONDocument:
    for id_ in ids:
        document = document.replace(id_, b"%08x" % number + id_[NUMBERED:])
    return RawBSONDocument(document)


def _changed(clone: RawBSONDocument, number: int, change: Callable[[Raw, int], Raw]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode(change(bson.decode(clone.raw), number)))


# -- plans -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """How MongoDB answers a query: what it looks at, index keys and documents, and whether no index leads it."""

    query: Query
    keys: int
    documents: int
    stages: tuple[str, ...]
    """Of the plan that MongoDB has chosen, not of those that it has not."""

    @property
    def looked_at(self) -> int:
        """Index keys and documents."""
        return self.keys + self.documents

    @property
    def scans(self) -> bool:
        """Whether no index leads a part of it."""
        return "COLLSCAN" in self.stages


async def plans(mongo: Mongo, queries: Iterable[Query]) -> list[Plan]:
    """How each of these is answered now; of those that differ in values alone, the last."""
    return [await _plan(mongo, query) for query in {query.shape: query for query in queries}.values()]


async def _plan(mongo: Mongo, query: Query) -> Plan:
    explain = {"explain": query.command, "verbosity": "executionStats"}
    explained = await mongo.client.get_database(query.database).command(explain)
    parts = list(_parts(explained))
    keys, documents = (sum(part.get(f"total{of}Examined", 0) for part in parts) for of in ("Keys", "Docs"))
    chosen = [part for found in parts if "winningPlan" in found for part in _parts(found["winningPlan"])]
    return Plan(query, keys, documents, tuple(part["stage"] for part in chosen if "stage" in part))


def _parts(explained: Any) -> Iterator[Raw]:
    if isinstance(explained, Mapping):
        yield cast("Raw", explained)
        for value in explained.values():
            yield from _parts(value)
    elif isinstance(explained, list):
        for value in explained:
            yield from _parts(value)


def _names(of: Any) -> Any:
    """The names in a filter or a pipeline, without what they are compared with."""
    if isinstance(of, Mapping):
        return {name: _names(value) for name, value in of.items()}
    return [_names(value) for value in of] if isinstance(of, list) and of and isinstance(of[0], Mapping) else "?"
