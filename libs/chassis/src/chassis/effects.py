"""Vendor calls: found by the leader, in order per key (one at a time, or a few in a row), many keys together.

The head of a key is its oldest call, in (`_stamp`, `n`) order. Each look reads a snapshot of the oldest calls of all
keys that are not busy: in a vendor's hands, queued, or waiting to be tried again. So neither a blocked key with many
calls behind it nor a slow vendor holds up anybody else. What a look has read of a key is made before the key is looked
at again.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from chassis import metrics
from chassis.backoff import back_off
from chassis.calls import Calls, is_over
from chassis.clock import instant
from chassis.logs import reason
from chassis.mongo import PyMongoError, ReadConcern
from chassis.pace import Pace
from chassis.pending import EFFECTS, StoredEffect
from chassis.runtime import Runtime
from chassis.service import Service

LOOK_MAX = 500  # calls read at once
POLL_SECONDS = 1.0  # when nothing rang; the bell is quick, this is to be safe
BUSY_MAX = 10_000  # keys in memory; further ones wait in the database
READ_MAX = 10_000  # calls in memory, likewise
BATCHES_MAX = 4  # of one kind, in a vendor's hands at once
GAUGE_SECONDS = 5.0

_log = structlog.get_logger(__name__)

_UNTIL_DONE = datetime.max.replace(tzinfo=UTC)
_UNKNOWN_WAIT = timedelta(seconds=30)
_AWAY_WAIT = timedelta(seconds=1)


class Effects:
    """Makes the vendor calls of one service for as long as it is the leader."""

    def __init__(self, runtime: Runtime, service: Service) -> None:
        """Make them as the service's table says."""
        self._clock = runtime.clock
        self._bells = runtime.bells
        self._effects = runtime.database[EFFECTS.name]
        self._snapshot = self._effects.with_options(read_concern=ReadConcern("snapshot"))
        self._rows = {row.effect.NAME: row for row in service.effects}
        self._calls = {name: Calls(runtime, row) for name, row in self._rows.items()}
        self._busy: dict[str, datetime] = {}
        self._read: dict[str, deque[StoredEffect]] = {}
        self._queues: dict[str, deque[list[StoredEffect]]] = defaultdict(deque)
        self._running: dict[str, int] = defaultdict(int)
        self._passed_over = False
        self._gauge_until = 0.0
        self._pace = Pace(runtime.clock)
        self._stopping = False

    async def run(self) -> None:
        """Make calls until `stop`; waits out a database that is away. Ends when what is in hand is recorded."""
        failures = 0
        async with asyncio.TaskGroup() as batches:
            while not self._stopping:
                try:
                    await self._pace.keep()
                    self._pace.begin()
                    while await self._look():
                        self._start(batches)
                    await self._measure()
                    failures = 0
                except PyMongoError as error:
                    failures += 1
                    _log.warning("vendor calls not found", error=reason(error))
                    await back_off(failures, first_seconds=0.1)
                self._start(batches)
                await self._bells.wait(EFFECTS.name, self._wait_seconds())

    def stop(self) -> None:
        """Start no more calls."""
        self._stopping = True
        self._bells.ring([EFFECTS.name])

    async def _look(self) -> bool:
        """Queue the heads that are due; returns whether there may be more."""
        now = self._now()
        for key in [key for key, until in self._busy.items() if until <= now]:
            del self._busy[key]
        self._passed_over = bool(self._busy)
        if len(self._busy) >= BUSY_MAX or sum(map(len, self._read.values())) >= READ_MAX:
            return False
        where = {"_stamp": {"$gt": 0}, "key": {"$nin": list(self._busy)}}  # both are read from the index
        oldest = self._snapshot.find(where, batch_size=LOOK_MAX + 1).sort([("_stamp", 1), ("n", 1)]).limit(LOOK_MAX)
        stored = [EFFECTS.from_raw(raw) for raw in await oldest.to_list(None)]
        for call in stored:
            self._read.setdefault(call.key, deque()).append(call)
        for key in {call.key: None for call in stored}:
            self._take(key, now)
        return len(stored) == LOOK_MAX

    def _take(self, key: str, now: datetime) -> None:
        """Queue the next calls of `key` that are read already, or let go of it."""
        read = self._read[key]
        if not read:
            del self._read[key], self._busy[key]
            return
        head = read[0]
        if head.name not in self._calls:
            _log.error("vendor call without a row in the table", name=head.name, id=head.id)
            self._wait(key, now + _UNKNOWN_WAIT)
        elif head.due > now and not is_over(head, now):
            self._wait(key, head.due)
        else:
            calls = [read.popleft()]
            while read and self._goes_with(calls, read[0], now):
                calls.append(read.popleft())
            self._busy[key] = _UNTIL_DONE
            self._queues[head.name].append(calls)

    def _wait(self, key: str, until: datetime) -> None:
        """Leave `key` alone, then look at it anew."""
        del self._read[key]
        self._busy[key] = until

    def _goes_with(self, head: Sequence[StoredEffect], call: StoredEffect, now: datetime) -> bool:
        """Whether `call`, which is behind `head`, may be made with it: all that are over, or that come in a row."""
        first = head[0]
        if call.name != first.name or is_over(first, now) != is_over(call, now):
            return False
        row = self._rows.get(call.name)
        return is_over(first, now) or (row is not None and len(head) < row.in_a_row and max(first.due, call.due) <= now)

    def _start(self, batches: asyncio.TaskGroup) -> None:
        """Hand what is queued to the vendors, as much as they may have at once."""
        for name, queue in self._queues.items():
            while queue and self._running[name] < BATCHES_MAX and not self._stopping:
                batch: list[StoredEffect] = []
                while queue and len(batch) < self._rows[name].batch:
                    batch += queue.popleft()
                self._running[name] += 1
                batches.create_task(self._make(name, batch, batches))

    async def _make(self, name: str, batch: Sequence[StoredEffect], batches: asyncio.TaskGroup) -> None:
        keys = {call.key for call in batch}
        try:
            due = await self._calls[name].make(batch)
        except PyMongoError as error:
            _log.warning("vendor calls not recorded", name=name, error=reason(error))
            due = dict.fromkeys(keys, self._now() + _AWAY_WAIT)
        for key in keys:
            if key in due:
                self._wait(key, due[key])
            else:
                self._take(key, self._now())
        self._running[name] -= 1
        self._start(batches)
        if self._passed_over and not keys <= self._read.keys():
            self._bells.ring([EFFECTS.name])

    def _wait_seconds(self) -> float:
        """Until a key that waits is due again, or for the next look at the latest."""
        first = min(self._busy.values(), default=_UNTIL_DONE)
        return max(0.0, min(POLL_SECONDS, (first - self._now()).total_seconds()))

    async def _measure(self) -> None:
        if self._clock.monotonic() >= self._gauge_until:
            self._gauge_until = self._clock.monotonic() + GAUGE_SECONDS
            metrics.EFFECT_ROWS.set(await self._effects.estimated_document_count())

    def _now(self) -> datetime:
        return instant(self._clock.micros())
