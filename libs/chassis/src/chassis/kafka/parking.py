"""Parking: a message that cannot take effect waits in the database with its reason, later ones of its key behind it.

Other keys flow. A key that waits for another service's event (`NotYet`), or has failed only a few times, is tried again
by itself; one that can never succeed waits for an operator, with an alarm and a copy on `<service>.dlq`. Whenever a
parked message succeeds, those behind it follow in order, and then the key is free.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from chassis.clock import Clock
from chassis.errors import NotYet
from chassis.kafka.dead_letter import bounded, copy_to_dead_letters
from chassis.kafka.decoding import InboundMessage, Partition
from chassis.runtime import metrics
from chassis.storage.batch import AbortedError
from chassis.storage.collection import Collection, Index
from chassis.storage.mongo import Database, Raw
from chassis.storage.retry_policy import RetryPolicy
from chassis.storage.tx import Tx
from contracts import Undecodable, UnknownType, UnknownVersion

CRASHES_MAX = 3  # of the process, while it handled this very message
WAIT_FIRST_SECONDS = 0.1
WAIT_SECONDS_MAX = 30.0
ATTEMPTS_MAX = 5  # within some 1.5 s: long enough for a passing cause, short enough to call for help
NOT_YET_PATIENCE = timedelta(hours=24)  # a service that is away for a day is an incident of its own
REASON_CHARACTERS_MAX = 500
CACHED_SECONDS = 1.0  # how late an HTTP command may learn that its key is parked, or free again
LIST_MAX = 1_000
VALUE_BYTES_MAX = 1_024 * 1_024  # kept of a parked message; compressed, a record may come that no document can hold
CACHED_KEYS_MAX = 10_000  # parked keys that every process remembers; with more, it asks for each command


class CrashedError(Exception):
    """This message has ended the process each time it was handled."""

    def __init__(self, times: int) -> None:
        """Say how often."""
        super().__init__(f"crashed the process {times} times")


class NotStoredError(Exception):
    """What the handlers did with this message, MongoDB will never take."""

    def __init__(self, error: Exception) -> None:
        """Say why, without the document."""
        details: Any = getattr(error, "details", None) or {}
        wrong = [write["errmsg"] for write in details.get("writeErrors", ())]
        super().__init__(wrong[0] if wrong else f"{type(error).__name__}: {error}")


NON_RETRYABLE = (Undecodable, UnknownType, UnknownVersion, CrashedError, AbortedError)
"""What trying again can never mend."""

RETRIES = RetryPolicy(WAIT_FIRST_SECONDS, WAIT_SECONDS_MAX, ATTEMPTS_MAX, non_retryable=NON_RETRYABLE)


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that waits, as it came from Kafka. Without a reason it waits only because another one does."""

    id: str
    ordering_key: str
    partition: int
    offset: int
    topic: str
    key: str
    headers: list[tuple[str, bytes]]
    value: bytes | None
    at: datetime
    reason: str | None = None

    def inbound(self) -> InboundMessage:
        """As it was received."""
        return InboundMessage(Partition(self.topic, self.partition), self.offset, self.key, self.headers, self.value)


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key whose messages wait, in order, until the first of them succeeds."""

    id: str
    position: str
    topic: str
    key: str
    head: str
    """The message that failed."""
    type: str
    reason: str
    since: datetime
    """When the head failed first."""
    next_try_at: datetime
    state: Literal["retrying", "parked"] = "retrying"
    attempts: int = 0
    """Failed attempts at the head; waiting for another service's event is none."""
    unfinished_attempts: int = 0
    """Tries that were begun and not ended: what remains when the process dies of it."""
    alone: bool = False
    """Whether its messages are tried one by one, because the process has died of one."""
    copied: bool = False
    """Whether the head is on the dead letter topic."""


PARKED = Collection(
    "parked",
    Parked,
    indexes=tuple(Index({name: 1, "offset": 1}) for name in ("ordering_key", "lane")),
    formerly={"ordering_key": "lane"},
)
PARKED_KEYS = Collection(
    "parked_keys",
    ParkedKey,
    indexes=(
        Index({"key": 1}),
        Index({"position": 1, "state": 1, "next_try_at": 1}),
        Index({"state": 1, "since": 1}),
    ),
    formerly={"unfinished_attempts": "trying"},
)


def park(tx: Tx, inbound: InboundMessage, reason: str | None = None) -> None:
    """Let `received` wait."""
    row = Parked(
        id=inbound.id,
        ordering_key=inbound.ordering_key,
        partition=inbound.partition.number,
        offset=inbound.offset,
        topic=inbound.partition.topic,
        key=inbound.key,
        headers=bounded(inbound.headers),
        value=inbound.value if len(inbound.value or b"") <= VALUE_BYTES_MAX else None,
        at=tx.now,
        reason=reason,
    )
    tx.put(PARKED, row)


def fail(tx: Tx, inbound: InboundMessage, failure: Exception, before: ParkedKey | None, dlq: str) -> ParkedKey:
    """Park `received` because of `failure`, at the head of its key; `before` is what is known of the key so far."""
    reason = f"{type(failure).__name__}: {failure}"[:REASON_CHARACTERS_MAX]
    park(tx, inbound, reason)
    if before is None or before.head != inbound.id:
        before = ParkedKey(
            id=inbound.ordering_key,
            position=inbound.partition.id,
            topic=inbound.partition.topic,
            key=inbound.key,
            head=inbound.id,
            type=inbound.type,
            reason=reason,
            since=tx.now,
            next_try_at=tx.now,
            alone=before is not None and before.alone,
        )
    key = _judged(replace(before, reason=reason, unfinished_attempts=0), failure, tx.now)
    if key.state == "parked" and not key.copied:
        copy_to_dead_letters(tx, inbound, reason, dlq)
        key = replace(key, copied=True)
    tx.put(PARKED_KEYS, key)
    return key


def _judged(key: ParkedKey, failure: Exception, now: datetime) -> ParkedKey:
    """Whether and when the head is tried again."""
    if isinstance(failure, NotYet):
        waited = now - key.since
        if waited >= NOT_YET_PATIENCE:
            return replace(key, state="parked")
        # It waits as long again as it has waited already: 0.1 s, 0.2 s, 0.4 s, …
        seconds = min(WAIT_SECONDS_MAX, max(WAIT_FIRST_SECONDS, waited.total_seconds()))
        return replace(key, state="retrying", next_try_at=now + timedelta(seconds=seconds))
    attempts = key.attempts + 1
    wait = RETRIES.wait(failure, attempts, now - key.since)
    if wait is None:
        return replace(key, state="parked", attempts=attempts)
    return replace(key, state="retrying", attempts=attempts, next_try_at=now + wait)


async def parked_among(tx: Tx, keys: Iterable[str]) -> set[str]:
    """Those of `keys` of which anything is parked, whatever the topic: what concerns them waits, too."""
    of_these: list[Raw] = [{"$match": {"key": {"$in": list(keys)}}}, {"$group": {"_id": "$key"}}]
    return {row["_id"] for row in await tx.aggregate(PARKED_KEYS, of_these)}


class ParkedKeys:
    """The keys that wait for an operator, as this process last saw them, at most a second ago: free to ask per request.

    A key that is tried again by itself is none of them: whatever its events bring comes late, as after a slow hop, and
    may wait a day for a service that is away. Should there be very many, it asks per request: nothing bounds that list.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        """Look when first asked."""
        self._keys = database[PARKED_KEYS.name]
        self._clock = clock
        self._seen: set[str] | None = set()
        self._until = float("-inf")
        self._looking = asyncio.Lock()

    async def among(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` that wait for an operator.

        Raises:
            PyMongoError: the database is away.
        """
        if self._clock.monotonic() >= self._until:
            await self._look()
        if self._seen is None:
            return set(await self._keys.distinct("key", {"key": {"$in": list(keys)}, "state": "parked"}))
        return self._seen.intersection(keys) if self._seen else set()

    async def _look(self) -> None:
        async with self._looking:
            if self._clock.monotonic() >= self._until:
                parked = self._keys.find({"state": "parked"}, {"key": 1, "_id": 0})
                rows = await parked.limit(CACHED_KEYS_MAX + 1).to_list(None)
                self._seen = {row["key"] for row in rows} if len(rows) <= CACHED_KEYS_MAX else None
                self._until = self._clock.monotonic() + CACHED_SECONDS


async def measure_parked(database: Database) -> None:
    """Set the gauge of messages that wait for an operator."""
    keys = await database[PARKED_KEYS.name].find({"state": "parked"}, {"_id": 1}).limit(LIST_MAX).to_list(None)
    where = {PARKED.name_in_queries("ordering_key"): {"$in": [raw["_id"] for raw in keys]}}
    metrics.PARKED_MESSAGES.set(await database[PARKED.name].count_documents(where) if keys else 0)
