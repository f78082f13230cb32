"""Arrivals: commands that came before the event they rest on; all who wait for its document ask one question together.

Anybody can make up an id. What each of them costs while it waits is its share of that question, and two attempts.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

import structlog

from chassis.errors import NotYet
from chassis.runtime.logs import reason
from chassis.storage.collection import Ref
from chassis.storage.mongo import Database, Mongo, PyMongoError, Raw

LOOK_SECONDS = 0.05  # between two looks, or as long as the last one took; events come within a few hops

_log = structlog.get_logger(__name__)


class Missing(NotYet):
    """An event of another service must come first: it brings a document that an attempt has looked for in vain."""

    def __init__(self, what: str, refs: Iterable[Ref]) -> None:
        """Say what has not been heard of, and which documents were not there."""
        super().__init__(what)
        self.refs = tuple(refs)


class Arrivals:
    """Those commands of a process that wait for documents. It looks for as long as anybody waits."""

    def __init__(self, mongo: Mongo, database: Database) -> None:
        """Nobody waits yet."""
        self._mongo = mongo
        self._database = database
        self._waiting: dict[asyncio.Event, frozenset[tuple[str, str]]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, refs: Iterable[Ref], seconds: float) -> None:
        """Return once one of these documents is there, or after `seconds`."""
        arrived = asyncio.Event()
        self._waiting[arrived] = frozenset((ref.collection.name, ref.id) for ref in refs)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                await arrived.wait()
        except TimeoutError:
            return
        finally:
            del self._waiting[arrived]

    async def _look(self) -> None:
        """Ask what is there, not what is new: whatever came between an attempt and its wait is seen, too."""
        now = asyncio.get_running_loop().time
        took = 0.0
        while self._waiting:
            await asyncio.sleep(max(LOOK_SECONDS, took))
            began = now()
            try:
                there = await self._there(frozenset().union(*self._waiting.values()))
            except PyMongoError as error:  # whoever waits tries for itself in the end, and is told
                _log.debug("arrivals not looked for", error=reason(error))
                there = frozenset()
            took = now() - began
            for arrived, wanted in self._waiting.items():
                if not wanted.isdisjoint(there):
                    arrived.set()

    async def _there(self, wanted: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Those of the documents that exist."""
        ids: dict[str, list[str]] = defaultdict(list)
        for name, id_ in wanted:
            ids[name].append(id_)
        if not ids:
            return frozenset()
        (first, pipeline), *others = ((name, _which(name, of)) for name, of in ids.items())
        pipeline += ({"$unionWith": {"coll": name, "pipeline": of}} for name, of in others)
        rows = await self._mongo.aggregate(self._database[first], pipeline)
        return frozenset((row["of"], row["_id"]) for row in rows)


def _which(name: str, ids: list[str]) -> list[Raw]:
    return [{"$match": {"_id": {"$in": ids}}}, {"$project": {"of": {"$literal": name}}}]
