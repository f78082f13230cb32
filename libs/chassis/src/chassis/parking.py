"""Parking: a message that cannot take effect waits in the database with its reason, later ones of its key behind it.

Other keys flow. A key that waits for another service's event (`NotYet`), or has failed only a few times, is tried again
by itself; one that can never succeed waits for an operator, with an alarm and a copy on `<service>.dlq`. Whenever a
parked message succeeds, those behind it follow in order, and then the key is free.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from chassis import metrics
from chassis.batch import AbortedError
from chassis.clock import Clock, instant
from chassis.collection import Collection, Index
from chassis.errors import NotYet
from chassis.mongo import Database
from chassis.outbox import EVENT_BYTES_MAX
from chassis.received import Headers, Partition, Received
from chassis.tx import Tx
from contracts import Undecodable, UnknownType, UnknownVersion

ATTEMPTS_MAX = 5  # within some 1.5 s: long enough for a passing cause, short enough to call for help
CRASHES_MAX = 3  # of the process, while it handled this very message
WAIT_FIRST_SECONDS = 0.1
WAIT_SECONDS_MAX = 30.0
NOT_YET_PATIENCE = timedelta(hours=24)  # a service that is away for a day is an incident of its own
REASON_CHARACTERS_MAX = 500
CACHED_SECONDS = 1.0  # how late an HTTP command may learn that its key is parked, or free again
LIST_MAX = 1_000
VALUE_BYTES_MAX = 1_024 * 1_024  # kept of a parked message; compressed, a record may come that no document can hold
HEADERS_BYTES_MAX = 64 * 1_024
HEADER_BYTES = 16  # what a header costs beside its name and value
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


HOPELESS = (Undecodable, UnknownType, UnknownVersion, CrashedError, AbortedError)
"""What trying again can never mend."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that waits, as it came from Kafka. Without a reason it waits only because another one does."""

    id: str
    lane: str
    partition: int
    offset: int
    topic: str
    key: str
    headers: list[tuple[str, bytes]]
    value: bytes | None
    at: datetime
    reason: str | None = None

    def received(self) -> Received:
        """As it was received."""
        return Received(Partition(self.topic, self.partition), self.offset, self.key, self.headers, self.value)


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
    trying: int = 0
    """Tries that were begun and not ended: what remains when the process dies of it."""
    alone: bool = False
    """Whether its messages are tried one by one, because the process has died of one."""
    copied: bool = False
    """Whether the head is on the dead letter topic."""


PARKED = Collection("parked", Parked, indexes=(Index({"lane": 1, "offset": 1}),))
PARKED_KEYS = Collection(
    "parked_keys",
    ParkedKey,
    indexes=(Index({"key": 1}), Index({"position": 1, "state": 1, "next_try_at": 1})),
)


def park(tx: Tx, received: Received, reason: str | None = None) -> None:
    """Let `received` wait."""
    row = Parked(
        id=received.id,
        lane=received.lane,
        partition=received.partition.number,
        offset=received.offset,
        topic=received.partition.topic,
        key=received.key,
        headers=_bounded(received.headers),
        value=received.value if len(received.value or b"") <= VALUE_BYTES_MAX else None,
        at=tx.now,
        reason=reason,
    )
    tx.put(PARKED, row)


def fail(tx: Tx, received: Received, failure: Exception, before: ParkedKey | None, dlq: str) -> ParkedKey:
    """Park `received` because of `failure`, at the head of its key; `before` is what is known of the key so far."""
    reason = f"{type(failure).__name__}: {failure}"[:REASON_CHARACTERS_MAX]
    park(tx, received, reason)
    if before is None or before.head != received.id:
        before = ParkedKey(
            id=received.lane,
            position=received.partition.id,
            topic=received.partition.topic,
            key=received.key,
            head=received.id,
            type=received.type,
            reason=reason,
            since=tx.now,
            next_try_at=tx.now,
            alone=before is not None and before.alone,
        )
    key = _judged(replace(before, reason=reason, trying=0), failure, tx.now)
    if key.state == "parked" and not key.copied:
        _copy(tx, received, reason, dlq)
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
    if attempts >= ATTEMPTS_MAX or isinstance(failure, HOPELESS):
        return replace(key, state="parked", attempts=attempts)
    seconds = WAIT_FIRST_SECONDS * 2 ** (attempts - 1)
    return replace(key, state="retrying", attempts=attempts, next_try_at=now + timedelta(seconds=seconds))


def _copy(tx: Tx, received: Received, reason: str, dlq: str) -> None:
    """Put a copy on the dead letter topic; a value that is too large for an event stays in the database alone."""
    value = received.value or b""
    headers = {name: value for name, value in _bounded(received.headers) if "\0" not in name} | {
        "dlq_reason": reason.encode(),
        "dlq_topic": received.partition.topic.encode(),
        "dlq_partition": str(received.partition.number).encode(),
        "dlq_offset": str(received.offset).encode(),
    }
    tx.forward(dlq, received.key, value if len(value) <= EVENT_BYTES_MAX else b"", headers)


def _bounded(headers: Headers) -> list[tuple[str, bytes]]:
    """As many of them as fit; those of an event of ours always do."""
    left = HEADERS_BYTES_MAX
    fitting = []
    for name, value in headers:
        left -= len(name.encode()) + len(value or b"") + HEADER_BYTES
        if left < 0:
            break
        fitting.append((name, value or b""))
    return fitting


async def parked_among(tx: Tx, keys: Iterable[str]) -> set[str]:
    """Those of `keys` of which anything is parked, whatever the topic: what concerns them waits, too."""
    found = await tx.find(PARKED_KEYS, {"key": {"$in": list(keys)}})
    return {parked.key for parked in found}


class ParkedKeys:
    """The parked keys of a service as this process last saw them, at most a second ago: free to ask per request.

    Should there be very many, it asks per request: nothing bounds that list.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        """Look when first asked."""
        self._keys = database[PARKED_KEYS.name]
        self._clock = clock
        self._seen: set[str] | None = set()
        self._until = float("-inf")
        self._looking = asyncio.Lock()

    async def among(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` of which anything is parked.

        Raises:
            PyMongoError: the database is away.
        """
        if self._clock.monotonic() >= self._until:
            await self._look()
        if self._seen is None:
            return set(await self._keys.distinct("key", {"key": {"$in": list(keys)}}))
        return self._seen.intersection(keys) if self._seen else set()

    async def _look(self) -> None:
        async with self._looking:
            if self._clock.monotonic() >= self._until:
                rows = await self._keys.find({}, {"key": 1, "_id": 0}).limit(CACHED_KEYS_MAX + 1).to_list(None)
                self._seen = {row["key"] for row in rows} if len(rows) <= CACHED_KEYS_MAX else None
                self._until = self._clock.monotonic() + CACHED_SECONDS


async def list_parked(database: Database) -> list[dict[str, Any]]:
    """The parked keys, the oldest first, each with its reason and how many messages wait behind its head."""
    keys = await database[PARKED_KEYS.name].find().sort("since", 1).limit(LIST_MAX).to_list(None)
    lines = []
    for raw in keys:
        raw.pop("_stamp", None)
        messages = await database[PARKED.name].count_documents({"lane": raw["_id"]})
        lines.append({name: raw[name] for name in _LISTED} | {"waiting": messages - 1})
    return lines


_LISTED = ("topic", "key", "state", "type", "head", "reason", "attempts", "since", "next_try_at")


async def replay(database: Database, clock: Clock, key: str | None = None) -> int:
    """Let the workers try parked keys again, all or those called `key`; returns how many will be."""
    where: Mapping[str, Any] = {"state": "parked"} if key is None else {"state": "parked", "key": key}
    now = instant(clock.micros())
    again = {"state": "retrying", "attempts": 0, "trying": 0, "since": now, "next_try_at": now}
    done = await database[PARKED_KEYS.name].update_many(where, {"$set": again})
    return done.modified_count


async def measure_parked(database: Database) -> None:
    """Set the gauge of messages that wait for an operator."""
    keys = await database[PARKED_KEYS.name].find({"state": "parked"}, {"_id": 1}).limit(LIST_MAX).to_list(None)
    lanes = [raw["_id"] for raw in keys]
    metrics.PARKED_MESSAGES.set(await database[PARKED.name].count_documents({"lane": {"$in": lanes}}) if lanes else 0)
