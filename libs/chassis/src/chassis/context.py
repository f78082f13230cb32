"""What a running process holds: its settings, clock, database, and the way out to vendors."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

from pydantic_settings import BaseSettings

from chassis.cause import Cause
from chassis.clock import Clock, instant
from chassis.effects.vendor_client import VendorClient
from chassis.runtime.wakeup import WakeupSignals
from chassis.storage.documents import Stamps
from chassis.storage.mongo import Database, Mongo
from chassis.storage.tx import Tx

C = TypeVar("C", bound=BaseSettings)


class Closable(Protocol):
    """A vendor's own client, which holds connections."""

    async def close(self) -> None:
        """Close every socket."""


V = TypeVar("V", bound=Closable)


@dataclass(frozen=True)
class Outside:
    """What a vendor call may use: settings, pooled clients, of HTTP or a vendor's own, and the time. No database."""

    settings_by_type: Mapping[type[BaseSettings], BaseSettings]
    http: VendorClient
    clock: Clock
    _clients: dict[type[Any], Any] = field(default_factory=dict)

    def settings(self, cls: type[C]) -> C:
        """The service's settings."""
        return cast("C", self.settings_by_type[cls])

    def client(self, cls: type[V], make: Callable[["Outside"], V]) -> V:
        """The one `cls` of this process: made when it is first asked for, closed when the process ends."""
        kept = self._clients.get(cls)
        if kept is None:
            kept = self._clients[cls] = make(self)
        return cast("V", kept)

    async def close(self) -> None:
        """Close every socket to vendors."""
        await asyncio.gather(*(client.close() for client in (self.http, *self._clients.values())))


@dataclass
class Backlog:
    """What waits to be done after all that was committed, as far as this process knows."""

    full: str | None = None
    """Why nothing more should be taken, if so: too much waits."""


@dataclass(frozen=True)
class Runtime:
    """One process of one service."""

    service: str
    mongo: Mongo
    database: Database
    clock: Clock
    outside: Outside
    wakeups: WakeupSignals = field(default_factory=WakeupSignals)
    stamps: Stamps = field(default_factory=Stamps)
    backlog: Backlog = field(default_factory=Backlog)
    former_collections: set[str] = field(default_factory=set)
    """Collections of the release before that were there when this process began: it may be running, too."""
    of_process: dict[type[Any], Any] = field(default_factory=dict)
    """What a service keeps in memory for all of its transactions; see `Tx.of_process`."""

    def begin(self, cause: Cause, *, read_only: bool = False) -> Tx:
        """A new Tx at this moment."""
        return Tx(
            self.mongo,
            self.database,
            service=self.service,
            micros=self.clock.micros(),
            machine_micros=self.clock.machine_micros(),
            cause=cause,
            settings=self.outside.settings_by_type,
            read_only=read_only,
            committed=self.wakeups.notify,
            seen=self.stamps,
            of_process=self.of_process,
        )

    def now_cause(self, correlation_id: str) -> Cause:
        """A cause that begins here and now."""
        return Cause(at=instant(self.clock.micros()), correlation_id=correlation_id)
