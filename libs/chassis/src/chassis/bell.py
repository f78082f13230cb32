"""Doorbells: who waits for work in the database is woken when there is some; to be safe it looks by itself, too."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

import structlog

from chassis.logs import reason
from chassis.mongo import Database, Mongo, PyMongoError, Raw

LISTEN_AGAIN_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Bells:
    """One bell per collection. This process's own commits ring them, and `Listener` for everybody else's."""

    def __init__(self) -> None:
        """Nothing has rung yet."""
        self._events: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def ring(self, names: Iterable[str]) -> None:
        """Something was written to the collections `names`."""
        for name in names:
            self._events[name].set()

    async def wait(self, name: str, seconds: float) -> None:
        """Return when the bell of collection `name` has rung since the last wait, or after `seconds`."""
        event = self._events[name]
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            event.clear()


class Listener:
    """Rings the bells of some collections when any process writes to them. A duty of the leader."""

    def __init__(self, mongo: Mongo, database: Database, bells: Bells, names: Sequence[str]) -> None:
        """Listen to the collections `names`."""
        self._mongo = mongo
        self._database = database
        self._bells = bells
        self._names = names
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Listen until `stop`; while MongoDB is away there is nothing to hear."""
        listening = asyncio.create_task(self._listen())
        try:
            await self._stopping.wait()
        finally:
            listening.cancel()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()

    async def _listen(self) -> None:
        while True:
            try:
                async with await self._mongo.watch(self._database, _written(self._names)) as changes:
                    self._bells.ring(self._names)
                    async for change in changes:
                        self._bells.ring([change["ns"]["coll"]])
            except PyMongoError as error:
                _log.warning("not listening for changes", error=reason(error))
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)


def _written(names: Sequence[str]) -> list[Raw]:
    """What was written to the collections `names`. Of rows that a transaction numbers only the one with `n` 1: as a
    doorbell, one change per transaction is enough.
    """
    first = {
        "operationType": {"$in": ["insert", "replace"]},
        "ns.coll": {"$in": list(names)},
        "fullDocument.n": {"$in": [1, None]},
    }
    return [{"$match": first}, {"$project": {"ns.coll": 1}}]
