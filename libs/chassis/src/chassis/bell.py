"""Doorbells: who waits for work in the database is woken when there is some; to be safe it looks by itself, too.

A process's commits ring its own bells. Where relay, timers and vendor calls run in another process, it knocks there: a
document in a small capped collection, which the leader follows. A change stream would do without the knock, and wakes
once in every commit of everybody: five of them made each commit in MongoDB half as dear again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from chassis import ids
from chassis.collection import Collection
from chassis.logs import reason
from chassis.mongo import CursorType, Database, PyMongoError, RawCollection, ReadConcern, WriteConcern

LISTEN_AGAIN_SECONDS = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Knock:
    """Something was written to the collections `names`."""

    id: str
    names: tuple[str, ...]


KNOCKS = Collection("knocks", Knock, options={"capped": True, "size": 65_536})


class Bells:
    """One bell per collection."""

    def __init__(self) -> None:
        """Nothing has rung yet."""
        self._events: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._rung: set[str] = set()
        self.at_home = False
        """Whether the work is done in this process, so that nobody else need know."""

    def ring(self, names: Iterable[str]) -> None:
        """Something was written to the collections `names`."""
        for name in names:
            self._events[name].set()
            if not self.at_home:
                self._rung.add(name)
                self._events[KNOCKS.name].set()

    def take_rung(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that have rung since they were last taken."""
        rung, self._rung = self._rung.intersection(names), set()
        return sorted(rung)

    async def wait(self, name: str, seconds: float | None = None) -> None:
        """Return when the bell of collection `name` has rung since the last wait, or after `seconds`."""
        event = self._events[name]
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            event.clear()


class Knocker:
    """Tells the leader of what this process has written, while that is another. Nobody waits for the answer."""

    def __init__(self, database: Database, bells: Bells, names: Sequence[str]) -> None:
        """Tell of the collections `names`."""
        self._knocks = database[KNOCKS.name].with_options(write_concern=WriteConcern(0))
        self._bells = bells
        self._names = names
        self._stopping = False

    async def run(self) -> None:
        """Knock until `stop`; at a database that is away, once: the leader looks by itself."""
        while not self._stopping:
            await self._bells.wait(KNOCKS.name)
            names = self._bells.take_rung(self._names)
            try:
                if names and not self._bells.at_home:
                    await _knock(self._knocks, names)
            except PyMongoError as error:
                _log.debug("not knocked", error=reason(error))

    def stop(self) -> None:
        """Knock no more."""
        self._stopping = True
        self._bells.ring([KNOCKS.name])


class Listener:
    """Rings the bells of some collections when another process knocks. A duty of the leader."""

    def __init__(self, database: Database, bells: Bells, names: Sequence[str]) -> None:
        """Listen for the collections `names`."""
        self._knocks = database[KNOCKS.name].with_options(read_concern=ReadConcern("local"))
        self._bells = bells
        self._names = names
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Listen until `stop`; while MongoDB is away there is nothing to hear."""
        self._bells.at_home = True
        listening = asyncio.create_task(self._listen())
        try:
            await self._stopping.wait()
        finally:
            self._bells.at_home = False
            listening.cancel()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()

    async def _listen(self) -> None:
        while True:
            try:
                await _knock(self._knocks, self._names)  # of an empty collection nothing can be followed
                cursor = self._knocks.find({}, cursor_type=CursorType.TAILABLE_AWAIT)
                while cursor.alive:
                    async for raw in cursor:
                        self._bells.ring(raw["names"])
            except PyMongoError as error:
                _log.warning("not listening for knocks", error=reason(error))
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)


async def _knock(knocks: RawCollection, names: Sequence[str]) -> None:
    await knocks.insert_one(KNOCKS.to_raw(Knock(ids.new_id(), tuple(names)), 0))
