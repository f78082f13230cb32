"""What a running process holds: its settings, clock, database, and the way out to vendors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

import httpx
from pydantic_settings import BaseSettings

from chassis.bell import Bells
from chassis.cause import Cause
from chassis.clock import Clock, instant
from chassis.mongo import Database, Mongo
from chassis.tx import Tx

C = TypeVar("C", bound=BaseSettings)


@dataclass(frozen=True)
class Outside:
    """What a vendor call may use: settings, a pooled HTTP client and the time. No database."""

    settings_by_type: Mapping[type[BaseSettings], BaseSettings]
    http: httpx.AsyncClient
    clock: Clock

    def settings(self, cls: type[C]) -> C:
        """The service's settings."""
        return cast("C", self.settings_by_type[cls])


@dataclass(frozen=True)
class Runtime:
    """One process of one service."""

    service: str
    mongo: Mongo
    database: Database
    clock: Clock
    outside: Outside
    bells: Bells = field(default_factory=Bells)

    def begin(self, cause: Cause, *, read_only: bool = False) -> Tx:
        """A new Tx at this moment."""
        return Tx(
            self.mongo,
            self.database,
            service=self.service,
            micros=self.clock.micros(),
            cause=cause,
            settings=self.outside.settings_by_type,
            read_only=read_only,
            committed=self.bells.ring,
        )

    def now_cause(self, correlation_id: str) -> Cause:
        """A cause that begins here and now."""
        return Cause(at=instant(self.clock.micros()), correlation_id=correlation_id)
