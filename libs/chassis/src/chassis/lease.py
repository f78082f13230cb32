"""One leader per service: it runs the relay, the timers and the vendor calls.

The lease is for economy, not for safety: an old leader that was frozen can only repeat what the new one did. Time is
the database server's (`$$NOW`), and its holder stops by its own monotonic clock before the server could give it away.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from chassis import ids, metrics
from chassis.collection import Collection
from chassis.logs import reason
from chassis.mongo import PyMongoError, Raw
from chassis.runtime import Runtime

LEADER = "leader"
STOP_SECONDS = 5.0  # for what a duty has in hand, e.g. a vendor call

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseDocument:
    """Who leads until when; `token` grows with every change of owner."""

    id: str
    owner: str
    token: int
    expires_at: datetime


LEASES = Collection("leases", LeaseDocument)


class Duty(Protocol):
    """What only the leader does."""

    async def run(self) -> None:
        """Work until `stop`, then finish what is in hand and return."""

    def stop(self) -> None:
        """Take nothing new."""


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

    @property
    def held(self) -> bool:
        """Whether it is certainly ours at this moment."""
        return self._clock.monotonic() < self._held_until

    async def take(self) -> bool:
        """Take or renew the lease, if it is ours or nobody's; returns whether it is ours now.

        Raises:
            PyMongoError: the database cannot be asked.
        """
        asked_at = self._clock.monotonic()
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
        return True

    async def release(self) -> None:
        """Give it to whoever asks next."""
        self._held_until = 0.0
        await self._leases.update_one({"_id": self._name, "owner": self.owner}, [{"$set": {"expires_at": "$$NOW"}}])


class Leader:
    """Competes for the lease for as long as the process lives, and does the duties while it holds it."""

    def __init__(self, lease: Lease, duties: Callable[[], Sequence[Duty]]) -> None:
        """Do `duties`, made anew each time, while `lease` is held."""
        self._lease = lease
        self._duties = duties
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Lead whenever possible, until `stop`. A duty that fails ends this with its error."""
        try:
            while not self._stopping.is_set():
                if await self._try_to_take():
                    await self._lead()
                await self._pause()
        finally:
            try:
                await self._lease.release()
            except PyMongoError:
                _log.warning("lease not released", owner=self._lease.owner)

    def stop(self) -> None:
        """Finish what is in hand, then give the lease back."""
        self._stopping.set()

    async def _lead(self) -> None:
        _log.info("leading", token=self._lease.token)
        metrics.LEADER.set(1)
        duties = self._duties()
        tasks = [asyncio.create_task(duty.run(), name=type(duty).__name__) for duty in duties]
        keeping = asyncio.create_task(self._keep(), name="lease")
        try:
            await asyncio.wait([keeping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            metrics.LEADER.set(0)
            for duty in duties:
                duty.stop()
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
            await _end(keeping, *tasks)
        _log.info("not leading any more", token=self._lease.token)

    async def _keep(self) -> None:
        """Return when the lease is lost, or at `stop`."""
        while self._lease.held and not self._stopping.is_set():
            await self._pause()
            await self._try_to_take()

    async def _try_to_take(self) -> bool:
        try:
            return await asyncio.wait_for(self._lease.take(), self._lease.seconds / 3)
        except (PyMongoError, TimeoutError) as error:
            _log.warning("lease not renewed", error=reason(error))
            return False

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), self._lease.seconds / 3)
        except TimeoutError:
            return


async def _end(*tasks: "asyncio.Task[None]") -> None:
    """Cancel what still runs and raise what failed."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
