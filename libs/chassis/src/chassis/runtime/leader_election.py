"""One leader per service: it runs the relay, the timers and the vendor calls.

The lease is for economy, not for safety: an old leader that was frozen can only repeat what the new one did. Time is
the database server's (`$$NOW`), and its holder stops by its own monotonic clock before the server could give it away.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from chassis import ids
from chassis.clock import Clock, instant
from chassis.context import Runtime
from chassis.errors import StuckError
from chassis.runtime import metrics
from chassis.runtime.backoff import pause
from chassis.runtime.logs import reason
from chassis.runtime.runnable import Runnable
from chassis.storage.collection import Collection
from chassis.storage.mongo import PyMongoError, Raw

LEADER = "leader"
STOP_SECONDS = 4.0  # for what a task has in hand, e.g. a vendor call
END_SECONDS = 1.0  # for one that is cancelled

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseDocument:
    """Who leads until when; `token` grows with every change of owner."""

    id: str
    owner: str
    token: int
    expires_at: datetime


LEASES = Collection("leases", LeaseDocument)


class LeaderTask(Runnable, Protocol):
    """What only the leader does."""

    @property
    def round_at(self) -> float | None:
        """When it last got anywhere, by the process's own clock; None if it cannot hang."""

    @property
    def trouble(self) -> str | None:
        """Why it does not do what it is for, although it comes round."""


class Lease:
    """The right to lead, for some seconds at a time."""

    def __init__(self, runtime: Runtime, seconds: float, *, name: str = LEADER) -> None:
        """Compete for the lease `name` of the service's database."""
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{ids.new_id()}"
        self.seconds = seconds
        self.token = 0
        self._name = name
        self._clock = runtime.clock
        self._leases = runtime.database[LEASES.name]
        self._held_until = 0.0
        self._compared: tuple[int, float] | None = None
        self._ahead_seconds = 0.0

    @property
    def clock_ahead_seconds(self) -> float:
        """How far this machine's clock is ahead of the database's at least, or behind it (negative), at this moment."""
        if self._compared is None:
            return 0.0
        micros, monotonic = self._compared
        stepped = (self._clock.machine_micros() - micros) / 1_000_000 - (self._clock.monotonic() - monotonic)
        return self._ahead_seconds + stepped

    @property
    def held(self) -> bool:
        """Whether it is certainly ours at this moment."""
        return self._clock.monotonic() < self._held_until

    async def take(self) -> bool:
        """Take or renew the lease, if it is ours or nobody's; returns whether it is ours now.

        Raises:
            PyMongoError: the database cannot be asked.
        """
        asked_at, asked_micros = self._clock.monotonic(), self._clock.machine_micros()
        ours: Raw = {"$eq": ["$owner", self.owner]}
        free: Raw = {"$lte": [{"$ifNull": ["$expires_at", "$$NOW"]}, "$$NOW"]}
        token: Raw = {"$ifNull": ["$token", 0]}
        takes: Raw = {
            "owner": self.owner,
            "token": {"$cond": [ours, token, {"$add": [token, 1]}]},
            "expires_at": {"$add": ["$$NOW", int(self.seconds * 1_000)]},
        }
        leaves = {field: f"${field}" for field in takes}
        change: Raw = {"$cond": [{"$or": [ours, free]}, takes, leaves]}
        update: list[Raw] = [{"$replaceWith": {"$mergeObjects": ["$$ROOT", change]}}]
        where: Raw = {"_id": self._name}
        lease: Raw = await self._leases.find_one_and_update(where, update, upsert=True, return_document=True) or {}
        if lease["owner"] != self.owner:
            self._held_until = 0.0
            return False
        self.token = lease["token"]
        self._held_until = asked_at + self.seconds
        self._compare(asked_micros, lease["expires_at"] - timedelta(seconds=self.seconds))
        return True

    def _compare(self, asked_micros: int, server: datetime) -> None:
        """Note how far the clocks are apart, as far as it is certain: the answer took its time."""
        now = self._clock.machine_micros()
        ahead = (instant(asked_micros) - server).total_seconds()
        behind = (server - instant(now)).total_seconds()
        self._ahead_seconds = ahead if ahead > 0 else -behind if behind > 0 else 0.0
        self._compared = now, self._clock.monotonic()
        metrics.CLOCK_AHEAD_SECONDS.set(self._ahead_seconds)

    async def release(self) -> None:
        """Give it to whoever asks next."""
        self._held_until = 0.0
        await self._leases.update_one({"_id": self._name, "owner": self.owner}, [{"$set": {"expires_at": "$$NOW"}}])


class Leader:
    """Competes for the lease for as long as the process lives, and does the tasks while it holds it."""

    def __init__(
        self, lease: Lease, tasks: Callable[[], Sequence[LeaderTask]], clock: Clock, stuck_seconds: float = 60.0
    ) -> None:
        """Do `tasks`, made anew each time, while `lease` is held; each comes round within `stuck_seconds`."""
        self._lease = lease
        self._make_tasks = tasks
        self._clock = clock
        self._stuck_seconds = stuck_seconds
        self._tasks: Sequence[LeaderTask] = ()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Lead whenever possible, until `stop`. A task that fails ends this with its error.

        Raises:
            StuckError: a task does not come round, or does not end.
        """
        try:
            while not self._stopping.is_set():
                if await self._try_to_take():
                    await self._lead()
                await pause(self._stopping, self._lease.seconds / 3)
        finally:
            try:
                async with asyncio.timeout(END_SECONDS):
                    await self._lease.release()
            except (PyMongoError, TimeoutError):
                _log.warning("lease not released", owner=self._lease.owner)

    def stop(self) -> None:
        """Finish what is in hand, then give the lease back."""
        self._stopping.set()

    async def _lead(self) -> None:
        _log.info("leading", token=self._lease.token)
        metrics.LEADER.set(1)
        self._tasks = running = self._make_tasks()
        tasks = [asyncio.create_task(task.run(), name=type(task).__name__) for task in running]
        keeping = asyncio.create_task(self._keep(), name="lease")
        try:
            await asyncio.wait([keeping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            metrics.LEADER.set(0)
            self._tasks = ()
            for task in running:
                task.stop()
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
            await _end(keeping, *tasks)
        _log.info("not leading any more", token=self._lease.token)

    def trouble(self) -> str | None:
        """Which task gets nowhere, if one does; or what is in its way."""
        name, idle_seconds = self._slowest()
        if idle_seconds > self._stuck_seconds / 2:
            return f"{name} has not come round for {idle_seconds:.0f} s"
        return next((trouble for task in self._tasks if (trouble := task.trouble)), None)

    async def _keep(self) -> None:
        """Return when the lease is lost, or at `stop`.

        Raises:
            StuckError: a task does not come round. A process that was frozen as a whole has lost the lease before that.
        """
        while self._lease.held and not self._stopping.is_set():
            name, idle_seconds = self._slowest()
            if idle_seconds > self._stuck_seconds:
                raise StuckError(f"{name} has not come round for {idle_seconds:.0f} s")
            await pause(self._stopping, self._lease.seconds / 3)
            await self._try_to_take()

    def _slowest(self) -> tuple[str, float]:
        """The task that came round the longest ago, and how long that is."""
        now = self._clock.monotonic()
        idle = [(now - at, type(task).__name__) for task in self._tasks if (at := task.round_at) is not None]
        seconds, name = max(idle, default=(0.0, ""))
        return name, seconds

    async def _try_to_take(self) -> bool:
        try:
            return await asyncio.wait_for(self._lease.take(), self._lease.seconds / 3)
        except (PyMongoError, TimeoutError) as error:
            _log.warning("lease not renewed", error=reason(error))
            return False


async def _end(*tasks: "asyncio.Task[None]") -> None:
    """Cancel what still runs and raise what failed.

    Raises:
        StuckError: a task does not even end when it is cancelled.
    """
    for task in tasks:
        task.cancel()
    done, late = await asyncio.wait(tasks, timeout=END_SECONDS)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    if late:
        raise StuckError(f"{', '.join(sorted(task.get_name() for task in late))} does not end")
