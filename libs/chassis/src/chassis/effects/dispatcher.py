"""Vendor calls: found by the leader, in order per key (one at a time, or a few in a row), many keys together.

The head of a key is its oldest call, in (`_stamp`, `n`) order. Each look reads a snapshot of the oldest calls of all
keys that are not busy: in a vendor's hands, queued, or waiting to be tried again, or for an operator, or for a
release that knows their name. So neither a blocked key with many
calls behind it nor a slow vendor holds up anybody else. What a look has read of a key is made before the key is looked
at again.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog

from chassis.clock import instant
from chassis.context import Runtime
from chassis.effects.executor import PARKED_WAIT, EffectExecutor
from chassis.effects.model import EFFECTS, StoredEffect
from chassis.effects.outcome import is_over
from chassis.runtime import metrics
from chassis.runtime.logs import reason
from chassis.runtime.loop import Loop
from chassis.runtime.throttle import BatchThrottle
from chassis.service import Service
from chassis.storage.collection import UnreadableError
from chassis.storage.mongo import PyMongoError, Raw, ReadConcern

LOOK_MAX = 500  # calls read at once
BUSY_MAX = 10_000  # keys in memory; further ones wait in the database
READ_MAX = 10_000  # calls in memory, likewise
MANY_REST = 10.0  # a look past thousands of keys that wait for a vendor takes 40 ms and more, and seldom finds any
BATCHES_MAX = 4  # of one kind, in a vendor's hands at once
GAUGE_SECONDS = 5.0

_log = structlog.get_logger(__name__)

_UNTIL_DONE = datetime.max.replace(tzinfo=UTC)
_UNKNOWN_WAIT = timedelta(seconds=30)  # a release that knows it looks for itself
_AWAY_WAIT = timedelta(seconds=1)


class EffectDispatcher:
    """Makes the vendor calls of one service for as long as it is the leader."""

    def __init__(self, runtime: Runtime, service: Service, leads: Callable[[], bool] = lambda: True) -> None:
        """Make them as the service's table says, each only if this process `leads` when its time has come."""
        self._leads = leads
        self._clock = runtime.clock
        self._wakeups = runtime.wakeups
        self._loop = Loop("effects", runtime, EFFECTS.name)
        self._effects = runtime.database[EFFECTS.name]
        self._snapshot = self._effects.with_options(read_concern=ReadConcern("snapshot"))
        self._rows = {row.effect.NAME: row for row in service.effects}
        self._executors = {name: EffectExecutor(runtime, row) for name, row in self._rows.items()}
        self._busy: dict[str, datetime] = {}
        self._unknown: set[str] = set()
        self._read: dict[str, deque[StoredEffect]] = {}
        self._queues: dict[str, deque[list[StoredEffect]]] = defaultdict(deque)
        self._running: dict[str, int] = defaultdict(int)
        self._passed_over = False
        self._gauge_until = 0.0
        self._throttle = BatchThrottle(runtime.clock)
        self._due_back: dict[object, float] = {}

    async def run(self) -> None:
        """Make calls until `stop`; waits out a database that is away. Ends when what is in hand is recorded."""
        try:
            async with asyncio.TaskGroup() as batches:
                await self._loop.run(partial(self._round, batches))
        finally:  # whoever leads next measures them
            metrics.EFFECTS_PARKED.set(0)
            metrics.EFFECTS_UNKNOWN.set(0)

    def stop(self) -> None:
        """Start no more calls."""
        self._loop.stop()

    @property
    def round_at(self) -> float:
        """When it last came round; while a batch is in hand for longer than it may be, when that should have ended."""
        return min([self._loop.round_at, *self._due_back.values()])

    @property
    def trouble(self) -> str | None:
        """Which kind of call is not answered, if one is not."""
        return next((trouble for calls in self._executors.values() if (trouble := calls.trouble)), None)

    async def _round(self, batches: asyncio.TaskGroup) -> float:
        try:
            await self._throttle.wait()
            self._wakeups.seen(EFFECTS.name)  # before the look
            self._throttle.begin()
            while await self._look():
                self._start(batches)
            self._throttle.end(idle=not self._busy, rest=MANY_REST if len(self._busy) > LOOK_MAX else 1.0)
            await self._measure()
        finally:
            self._start(batches)
        return self._wait_seconds()

    async def _look(self) -> bool:
        """Queue the heads that are due; returns whether there may be more."""
        now = self._now()
        for key in [key for key, until in self._busy.items() if until <= now]:
            del self._busy[key]
            self._unknown.discard(key)
        self._passed_over = bool(self._busy)
        if len(self._busy) >= BUSY_MAX or sum(map(len, self._read.values())) >= READ_MAX:
            return False
        where = {"_stamp": {"$gt": 0}, "key": {"$nin": list(self._busy)}}  # both are read from the index
        oldest = self._snapshot.find(where, batch_size=LOOK_MAX + 1).sort([("_stamp", 1), ("n", 1)]).limit(LOOK_MAX)
        raws = await oldest.to_list(None)
        for key in await self._read_all(raws):
            self._take(key, now)
        return len(raws) == LOOK_MAX

    async def _read_all(self, raws: Sequence[Raw]) -> Iterable[str]:
        """Read what was found, each key as far as it can be read; returns the keys of which something can."""
        keys: dict[str, None] = {}
        stuck: dict[Any, UnreadableError] = {}
        for raw in raws:
            key = raw.get("key")
            if key in stuck:
                continue
            try:
                call = EFFECTS.from_raw(raw)
            except UnreadableError as unreadable:
                stuck[key] = unreadable
                continue
            self._read.setdefault(call.key, deque()).append(call)
            keys[call.key] = None
        for key, error in stuck.items():
            if key not in keys:  # it is the head
                await self._park(key, error)
        return keys

    async def _park(self, key: str, error: UnreadableError) -> None:
        """Set aside a call that nobody can read, and with it its key."""
        self._busy[key] = self._now() + PARKED_WAIT
        change = {"$set": {"parked": True, "reason": reason(error)}}
        done = await self._effects.update_one({"_id": error.id, "parked": {"$ne": True}}, change)
        if done.modified_count:
            _log.error("vendor call parked", id=error.id, key=key, reason=reason(error))

    def _take(self, key: str, now: datetime) -> None:
        """Queue the next calls of `key` that are read already, or let go of it."""
        read = self._read[key]
        if not read:
            del self._read[key], self._busy[key]
            return
        head = read[0]
        if head.parked:
            self._wait(key, now + PARKED_WAIT)
        elif head.name not in self._executors:
            _log.warning("vendor call that this release does not know", name=head.name, id=head.id)
            self._unknown.add(key)
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
        if call.name != first.name or call.parked or is_over(first, now) != is_over(call, now):
            return False
        row = self._rows.get(call.name)
        return is_over(first, now) or (
            row is not None and len(head) < row.max_per_key and max(first.due, call.due) <= now
        )

    def _start(self, batches: asyncio.TaskGroup) -> None:
        """Hand what is queued to the vendors, as much as they may have at once.

        Whoever was frozen may have lost the lease without knowing, and what it has read may be done since.
        """
        for name, queue in self._queues.items():
            while queue and self._running[name] < BATCHES_MAX and not self._loop.stopping and self._leads():
                batch: list[StoredEffect] = []
                while queue and len(batch) < self._rows[name].batch:
                    batch += queue.popleft()
                self._running[name] += 1
                batches.create_task(self._make(name, batch, batches))

    async def _make(self, name: str, batch: Sequence[StoredEffect], batches: asyncio.TaskGroup) -> None:
        keys = {call.key for call in batch}
        in_hand = object()
        self._due_back[in_hand] = self._clock.monotonic() + self._rows[name].deadline_seconds
        try:
            due = await self._executors[name].execute(batch)
        except PyMongoError as error:
            _log.warning("vendor calls not recorded", name=name, error=reason(error))
            due = dict.fromkeys(keys, self._now() + _AWAY_WAIT)
        finally:
            del self._due_back[in_hand]
        for key in keys:
            if key in due:
                self._wait(key, due[key])
            else:
                self._take(key, self._now())
        self._running[name] -= 1
        self._start(batches)
        if self._passed_over and not keys <= self._read.keys():
            self._wakeups.notify([EFFECTS.name])

    def _wait_seconds(self) -> float:
        """Until a key that waits is due again, or for the next look at the latest."""
        first = min(self._busy.values(), default=_UNTIL_DONE)
        return max(0.0, min(self._wakeups.poll_seconds, (first - self._now()).total_seconds()))

    async def _measure(self) -> None:
        if self._clock.monotonic() >= self._gauge_until:
            self._gauge_until = self._clock.monotonic() + GAUGE_SECONDS
            metrics.EFFECTS_PARKED.set(await self._effects.count_documents({"parked": True}))
            metrics.EFFECTS_UNKNOWN.set(len(self._unknown))

    def _now(self) -> datetime:
        return instant(self._clock.micros())
