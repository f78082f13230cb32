"""Wake-ups: who waits for work in the database is woken when there is some; to be safe it looks by itself, too.

A process's commits notify those that wait in it. Where relay, timers and vendor calls run in another process, it
publishes a wake-up: a document in a small capped collection, which the leader follows. A change stream wakes
once in every commit of everybody: five of them made each commit in MongoDB half as dear again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from chassis import ids
from chassis.runtime.logs import reason
from chassis.storage.collection import Collection
from chassis.storage.mongo import CursorType, Database, PyMongoError, RawCollection, ReadConcern, WriteConcern

FOLLOW_AGAIN_SECONDS = 1.0
POLL_SECONDS = 1.0  # how often who works looks by itself, when nobody wakes it
FOLLOWED_POLL_SECONDS = 3.0  # the same while other processes' wake-ups are followed: a lost one must not cost much more

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wakeup:
    """Something was written to the collections `names`."""

    id: str
    names: tuple[str, ...]


WAKEUPS = Collection("wakeups", Wakeup, options={"capped": True, "size": 65_536})


class WakeupSignals:
    """One signal per collection."""

    def __init__(self) -> None:
        """Nobody was notified yet."""
        self._events: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._notified: set[str] = set()
        self.is_leader = False
        """Whether the work is done in this process, so that nobody else need know."""
        self.are_followed = False
        """Whether what other processes publish is heard here."""

    @property
    def poll_seconds(self) -> float:
        """After so long who works looks by itself, though nobody has woken it."""
        return FOLLOWED_POLL_SECONDS if self.are_followed else POLL_SECONDS

    def notify(self, names: Iterable[str]) -> None:
        """Something was written to the collections `names`."""
        for name in names:
            self._events[name].set()
            if not self.is_leader:
                self._notified.add(name)
                self._events[WAKEUPS.name].set()

    def take_notified(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that were notified since they were last taken."""
        notified, self._notified = self._notified.intersection(names), set()
        return sorted(notified)

    def seen(self, name: str) -> None:
        """Whatever collection `name` was notified of until now will be found: whoever says so looks after that.

        A write is notified once it is committed. So a look that begins later finds it, and a notification that comes
        later still ends the next wait.
        """
        self._events[name].clear()

    async def wait(self, name: str, seconds: float | None = None) -> None:
        """Return when collection `name` was notified since the last wait, or after `seconds`."""
        event = self._events[name]
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        finally:
            event.clear()


class WakeupPublisher:
    """Tells the leader of what this process has written, while that is another. Nobody waits for the answer."""

    def __init__(self, database: Database, wakeups: WakeupSignals, names: Sequence[str]) -> None:
        """Publish for the collections `names`."""
        self._collection = database[WAKEUPS.name].with_options(write_concern=WriteConcern(0))
        self._wakeups = wakeups
        self._names = names
        self._stopping = False

    async def run(self) -> None:
        """Publish until `stop`; to a database that is away, once: the leader looks by itself."""
        while not self._stopping:
            await self._wakeups.wait(WAKEUPS.name)
            names = self._wakeups.take_notified(self._names)
            try:
                if names and not self._wakeups.is_leader:
                    await _publish(self._collection, names)
            except PyMongoError as error:
                _log.debug("wake-up not published", error=reason(error))

    def stop(self) -> None:
        """Publish no more."""
        self._stopping = True
        self._wakeups.notify([WAKEUPS.name])


class WakeupSubscriber:
    """Notifies for some collections when another process has published a wake-up. Run by the leader."""

    def __init__(self, database: Database, wakeups: WakeupSignals, names: Sequence[str]) -> None:
        """Follow the collections `names`."""
        self._collection = database[WAKEUPS.name].with_options(read_concern=ReadConcern("local"))
        self._wakeups = wakeups
        self._names = names
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Follow until `stop`; while MongoDB is away there is nothing to follow."""
        self._wakeups.is_leader = True
        following = asyncio.create_task(self._follow())
        try:
            await self._stopping.wait()
        finally:
            self._wakeups.is_leader = self._wakeups.are_followed = False
            following.cancel()

    def stop(self) -> None:
        """Follow no more."""
        self._stopping.set()

    @property
    def trouble(self) -> None:
        """None of its own, likewise."""
        return

    @property
    def round_at(self) -> None:
        """It only waits; without it, those who work look by themselves."""
        return

    async def _follow(self) -> None:
        while True:
            try:
                await _publish(self._collection, self._names)  # of an empty collection nothing can be followed
                cursor = self._collection.find({}, cursor_type=CursorType.TAILABLE_AWAIT)
                while cursor.alive:
                    async for raw in cursor:  # the first one is its own
                        self._wakeups.are_followed = True
                        self._wakeups.notify(raw["names"])
            except PyMongoError as error:
                _log.warning("not following wake-ups", error=reason(error))
            self._wakeups.are_followed = False
            await asyncio.sleep(FOLLOW_AGAIN_SECONDS)


async def _publish(collection: RawCollection, names: Sequence[str]) -> None:
    await collection.insert_one(WAKEUPS.to_raw(Wakeup(ids.new_id(), tuple(names)), 0))
