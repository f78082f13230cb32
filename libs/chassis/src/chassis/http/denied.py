"""Access tokens that an operator has stopped: one that was stolen ends before its time, and no key has to change."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from chassis.clock import Clock, instant
from chassis.storage.collection import Collection, Index
from chassis.storage.mongo import Database, PyMongoError

CACHED_SECONDS = 1.0  # how late a process learns of it
LOOK_SECONDS = 0.5  # of a request's time, while the database is silent
DENIED_MAX = 10_000  # more stolen tokens than this are a stolen key: change it

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeniedToken:
    """The `jti` of a token that is not accepted any more."""

    id: str
    until: datetime
    """When the token has ended by itself."""


DENIED_TOKENS = Collection("denied_tokens", DeniedToken, indexes=(Index({"until": 1}, expire_after_seconds=0),))


class DeniedTokens:
    """The denied tokens as this process last saw them, at most a second ago: free to ask per request.

    While the database is away the list stays as it was; hardly a request is answered without the database anyway.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        """Look when first asked."""
        self._denied = database[DENIED_TOKENS.name]
        self._clock = clock
        self._seen: frozenset[str] = frozenset()
        self._until = float("-inf")
        self._looking = asyncio.Lock()

    async def has(self, jti: str) -> bool:
        """Whether the token of this id is denied."""
        if self._clock.monotonic() >= self._until:
            await self._look()
        return jti in self._seen

    async def _look(self) -> None:
        async with self._looking:
            if self._clock.monotonic() < self._until:
                return
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    rows = await self._denied.find({}, {"_id": 1}).limit(DENIED_MAX).to_list(None)
                self._seen = frozenset(row["_id"] for row in rows)
            except (PyMongoError, TimeoutError) as error:
                _log.warning("denied tokens not read", error=type(error).__name__)
            self._until = self._clock.monotonic() + CACHED_SECONDS


async def deny(database: Database, clock: Clock, jti: str, seconds: float) -> None:
    """Accept the token of this id no more; it ends by itself within `seconds`."""
    until = instant(clock.micros()) + timedelta(seconds=seconds)
    await database[DENIED_TOKENS.name].replace_one({"_id": jti}, {"until": until}, upsert=True)
