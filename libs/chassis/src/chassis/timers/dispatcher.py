"""Timers: looked for by the leader, run in slices, each removed in the transaction that runs its handler.

A timer whose name this release does not know waits for one that does: who set it may be newer than who leads.

Never early: `due <= tx.now` is asked again inside the transaction. Twice is impossible: whoever comes second finds the
timer gone, or loses by a write conflict.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

import structlog
from pydantic import ValidationError

from chassis.cause import Cause
from chassis.clock import instant
from chassis.context import Runtime
from chassis.decision import Timer, derived_id
from chassis.errors import NotYet
from chassis.kafka.parking import parked_among
from chassis.runtime import metrics
from chassis.runtime.faults import fault_point
from chassis.runtime.logs import Steps, reason
from chassis.runtime.loop import Loop
from chassis.service import On, Service
from chassis.storage.batch import REFUSED_ALONE, BatchRunner, WorkItem, prefetch, run_in_savepoints
from chassis.storage.collection import UnreadableError
from chassis.storage.retry_policy import RetryPolicy
from chassis.storage.tx import Tx
from chassis.timers.model import TIMERS, StoredTimer

SLICE_MAX = 200
RETRIES = RetryPolicy(first_seconds=0.5, seconds_max=32.0, attempts_max=8)  # in about a minute
KEY_WAIT_SECONDS = 1.0  # behind a parked message, or an event that has not come; doubles each time
KEY_WAIT_SECONDS_MAX = 30.0  # thousands may wait behind an incident
GAUGE_SECONDS = 5.0
CLOCK_APART_SECONDS_MAX = 1.0  # this machine's clock and MongoDB's; NTP keeps milliseconds

_log = structlog.get_logger(__name__)


class TimerDispatcher:
    """Runs the due timers of one service for as long as it is the leader."""

    def __init__(
        self, runtime: Runtime, service: Service, clock_ahead_seconds: Callable[[], float] = lambda: 0.0
    ) -> None:
        """Run them with the rows of the service's table, as long as this machine's clock is right."""
        self._clock_ahead_seconds = clock_ahead_seconds
        self._clock_was_right = True
        self._rows = {cast("type[Timer]", row.subject).NAME: row for row in service.timers}
        self._clock = runtime.clock
        self._wakeups = runtime.wakeups
        self._loop = Loop("timers", runtime, TIMERS.name)
        self._timers = runtime.database[TIMERS.name]
        self._runner: BatchRunner[str] = BatchRunner(
            "timers", lambda: runtime.begin(runtime.now_cause("timers")), SLICE_MAX, tried=self._loop.came_round
        )
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._steps = Steps("timer")
        self._unreadable: Mapping[str, UnreadableError] = {}
        self._gauge_until = 0.0

    async def run(self) -> None:
        """Run what is due until `stop`; waits out a database that is away."""
        try:
            await self._loop.run(self._round)
        finally:  # whoever leads next measures them
            metrics.TIMERS_PARKED.set(0)
            metrics.TIMERS_UNKNOWN.set(0)

    def stop(self) -> None:
        """Finish the slice in hand."""
        self._loop.stop()

    @property
    def round_at(self) -> float:
        """When it last came round."""
        return self._loop.round_at

    @property
    def trouble(self) -> str | None:
        """Why no timer runs, if none may."""
        return None if self._clock_was_right else "timers are held: this machine's clock and MongoDB's are apart"

    async def _round(self) -> float:
        wait_seconds = await self._run_due()
        await self._measure()
        return wait_seconds

    async def _run_due(self) -> float:
        """Run one slice; returns how long there is nothing to do, at most until it looks by itself."""
        poll_seconds = self._wakeups.poll_seconds
        if not self._clock_is_right():
            return poll_seconds
        now = self._now()
        horizon = now + timedelta(seconds=poll_seconds)
        where = {"parked": False, "due": {"$lte": horizon}, "name": {"$in": list(self._rows)}}
        found = await self._timers.find(where, {"due": 1, "name": 1}).sort("due", 1).limit(SLICE_MAX).to_list(None)
        due = [(timer["_id"], timer["name"]) for timer in found if timer["due"] <= now]
        if not due:
            return (found[0]["due"] - now).total_seconds() if found else poll_seconds
        ran = 0
        while ran < len(due) and not self._loop.stopping:
            begun = due[ran:]
            count = await self._run_slice([id_ for id_, _ in begun])
            ran += count
            self._loop.came_round()
            fault_point("timers.in_run", (name for _, name in begun[:count]))
        return 0.0

    def _clock_is_right(self) -> bool:
        """Whether this machine's clock may say what is due: what a timer ends too early stays ended."""
        ahead = self._clock_ahead_seconds()
        right = abs(ahead) <= CLOCK_APART_SECONDS_MAX
        if self._clock_was_right and not right:
            _log.error("timers held: this machine's clock is wrong", ahead_seconds=round(ahead, 3))
        elif right and not self._clock_was_right:
            _log.info("timers run again: the clock is right")
        self._clock_was_right = right
        return right

    async def _run_slice(self, ids: Sequence[str]) -> int:
        """Run the first of `ids`, as many as go through in one transaction; returns how many."""
        try:
            count = await self._runner.run(ids, self._attempt)
        except REFUSED_ALONE as error:  # the server will not have what this timer's handler writes
            count = await self._runner.run(ids[:1], partial(self._refused, failure=error))
        await self._park_unreadable()
        for (name, outcome), times in self._outcomes.items():
            metrics.TIMERS.labels(name, outcome).inc(times)
        self._steps.write()
        return count

    async def _attempt(self, tx: Tx, ids: Sequence[str]) -> None:
        self._begin()
        timers, self._unreadable = await tx.split(TIMERS, ids)
        due = [timer for timer in timers.values() if self._is_due(timer, tx.now)]
        waiting = await parked_among(tx, {timer.key for timer in due})
        works = {timer.id: self._work(timer) for timer in due if timer.key not in waiting}
        await prefetch(tx, works.values())
        for timer in due:
            if await tx.get(TIMERS, timer.id) is not timer:
                continue  # one before it in this slice has cancelled it, or set it anew
            if timer.key in waiting:
                self._wait(tx, timer)
                continue
            tx.delete(TIMERS, timer.id)
            [failure] = await run_in_savepoints(tx, [works[timer.id]])
            if failure is None:
                self._note(timer, "handled")
                metrics.TIMER_LATE_SECONDS.observe((tx.now - timer.at).total_seconds())
            else:
                self._fail(tx, timer, failure)

    async def _refused(self, tx: Tx, ids: Sequence[str], *, failure: Exception) -> None:
        self._begin()
        timers, self._unreadable = await tx.split(TIMERS, ids[:1])
        for timer in timers.values():
            if self._is_due(timer, tx.now):
                self._fail(tx, timer, failure)

    def _begin(self) -> None:
        self._outcomes.clear()
        self._steps.drop()

    def _note(self, timer: StoredTimer, outcome: str) -> None:
        """Count and tell it, if the transaction commits."""
        self._outcomes[timer.name, outcome] += 1
        self._steps.add(
            type=timer.name, key=timer.key, id=timer.id, correlation_id=timer.cause.correlation_id, outcome=outcome
        )

    def _is_due(self, timer: StoredTimer, now: datetime) -> bool:
        return not timer.parked and timer.due <= now and timer.name in self._rows

    async def _park_unreadable(self) -> None:
        """Set aside, outside of any Tx, what no Tx can read: a look begins with it otherwise, for ever."""
        for id_, error in self._unreadable.items():
            why = reason(error)
            _log.error("timer parked", id=id_, reason=why)
            await self._timers.update_one({"_id": id_}, {"$set": {"parked": True, "reason": why}})
        self._unreadable = {}

    def _fail(self, tx: Tx, timer: StoredTimer, failure: Exception) -> None:
        if isinstance(failure, NotYet):
            self._wait(tx, timer)
            return
        attempts = timer.attempts + 1
        why = reason(failure)
        _log.warning("timer failed", name=timer.name, id=timer.id, attempts=attempts, error=why, exc_info=failure)
        failed = replace(timer, attempts=attempts, reason=why)
        wait = RETRIES.wait(failure, attempts, tx.now - timer.at)
        if wait is not None:
            self._put_off(tx, failed, wait, "failed")
            return
        _log.error("timer parked", name=timer.name, id=timer.id, key=timer.key, reason=why)
        self._note(timer, "parked")
        tx.put(TIMERS, replace(failed, parked=True))

    def _wait(self, tx: Tx, timer: StoredTimer) -> None:
        """Look again later, and ever less often, without counting a failure."""
        seconds = min(KEY_WAIT_SECONDS_MAX, KEY_WAIT_SECONDS * 2 ** min(timer.waits, 10))
        self._put_off(tx, replace(timer, waits=timer.waits + 1), timedelta(seconds=seconds), "waiting")

    def _put_off(self, tx: Tx, timer: StoredTimer, wait: timedelta, outcome: str) -> None:
        self._note(timer, outcome)
        tx.put(TIMERS, replace(timer, due=tx.now + wait, set_for=timer.at))

    def _work(self, timer: StoredTimer) -> WorkItem:
        """What is to be done; a timer that nobody can read does nothing but fail."""
        origin = derived_id(timer.cause.origin, "timer", timer.id, timer.at.isoformat()) if timer.cause.origin else None
        cause = replace(timer.cause, at=timer.at, client_id=None, origin=origin)
        row = self._rows[timer.name]
        try:
            subject = cast("type[Timer]", row.subject).model_validate(timer.data)
        except ValidationError as unreadable:
            return _failing(timer, unreadable, cause)
        return WorkItem(timer.id, subject, (row,), cause)

    async def _measure(self) -> None:
        if self._clock.monotonic() >= self._gauge_until:
            self._gauge_until = self._clock.monotonic() + GAUGE_SECONDS
            metrics.TIMERS_PARKED.set(await self._timers.count_documents({"parked": True}))
            unknown = {"parked": False, "due": {"$lte": self._now()}, "name": {"$nin": list(self._rows)}}
            metrics.TIMERS_UNKNOWN.set(await self._timers.count_documents(unknown))

    def _now(self) -> datetime:
        return instant(self._clock.micros())


def _failing(timer: StoredTimer, failure: Exception, cause: Cause) -> WorkItem:
    async def fail(_subject: Any, _tx: Tx) -> None:
        raise failure

    return WorkItem(timer.id, None, (On(Timer, fail, None),), cause)
