"""Timers: looked for by the leader, run in slices, each removed in the transaction that runs its handler.

Never early: `due <= tx.now` is asked again inside the transaction. Twice is impossible: whoever comes second finds the
timer gone, or loses by a write conflict.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

import structlog
from pydantic import ValidationError

from chassis import metrics
from chassis.backoff import back_off
from chassis.batch import REFUSED_ALONE, Lane, Work, run_each
from chassis.cause import Cause
from chassis.clock import instant
from chassis.decision import Timer
from chassis.errors import NotYet
from chassis.faults import fault_point
from chassis.logs import reason
from chassis.mongo import Database, PyMongoError
from chassis.parking import parked_among
from chassis.pending import TIMERS, StoredTimer
from chassis.runtime import Runtime
from chassis.service import On, Service
from chassis.tx import Tx

SLICE_MAX = 200
POLL_SECONDS = 1.0  # when nothing rang; the bell is quick, this is to be safe
ATTEMPTS_MAX = 8  # in about a minute; then it waits for an operator
FIRST_WAIT_SECONDS = 0.5  # after a failure; doubles
KEY_WAIT = timedelta(seconds=1)  # behind a parked message, or an event that has not come
GAUGE_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Timers:
    """Runs the due timers of one service for as long as it is the leader."""

    def __init__(self, runtime: Runtime, service: Service) -> None:
        """Run them with the rows of the service's table."""
        self._rows = {cast("type[Timer]", row.subject).NAME: row for row in service.timers}
        self._clock = runtime.clock
        self._bells = runtime.bells
        self._timers = runtime.database[TIMERS.name]
        self._lane: Lane[str] = Lane("timers", lambda: runtime.begin(runtime.now_cause("timers")), SLICE_MAX)
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._gauge_until = 0.0
        self._stopping = False

    async def run(self) -> None:
        """Run what is due until `stop`; waits out a database that is away."""
        failures = 0
        while not self._stopping:
            try:
                wait_seconds = await self._run_due()
                await self._measure()
                failures = 0
            except PyMongoError as error:
                failures += 1
                _log.warning("timers not run", error=reason(error))
                await back_off(failures, first_seconds=0.1)
            else:
                await self._bells.wait(TIMERS.name, wait_seconds)

    def stop(self) -> None:
        """Finish the slice in hand."""
        self._stopping = True
        self._bells.ring([TIMERS.name])

    async def _run_due(self) -> float:
        """Run one slice; returns how long there is nothing to do, at most `POLL_SECONDS`."""
        now = self._now()
        horizon = now + timedelta(seconds=POLL_SECONDS)
        soon = (
            self._timers.find({"parked": False, "due": {"$lte": horizon}}, {"due": 1}).sort("due", 1).limit(SLICE_MAX)
        )
        found = await soon.to_list(None)
        due = [timer["_id"] for timer in found if timer["due"] <= now]
        if not due:
            return (found[0]["due"] - now).total_seconds() if found else POLL_SECONDS
        ran = 0
        while ran < len(due) and not self._stopping:
            ran += await self._run_slice(due[ran:])
            fault_point("timers.in_run")
        return 0.0

    async def _run_slice(self, ids: Sequence[str]) -> int:
        """Run the first of `ids`, as many as go through in one transaction; returns how many."""
        try:
            count = await self._lane.run(ids, self._attempt)
        except REFUSED_ALONE as error:  # the server will not have what this timer's handler writes
            count = await self._lane.run(ids[:1], partial(self._refused, failure=error))
        for (name, outcome), times in self._outcomes.items():
            metrics.TIMERS.labels(name, outcome).inc(times)
        return count

    async def _attempt(self, tx: Tx, ids: Sequence[str]) -> None:
        self._outcomes.clear()
        timers = await tx.get_many(TIMERS, ids)
        due = [timer for timer in timers.values() if not timer.parked and timer.due <= tx.now]
        waiting = await parked_among(tx, {timer.key for timer in due})
        works = {timer.id: self._work(timer) for timer in due if timer.key not in waiting}
        await tx.prefetch(ref for work in works.values() for ref in work.needs())
        for timer in due:
            if await tx.get(TIMERS, timer.id) is not timer:
                continue  # one before it in this slice has cancelled it, or set it anew
            if timer.key in waiting:
                self._put_off(tx, timer, KEY_WAIT, "waiting")
                continue
            tx.delete(TIMERS, timer.id)
            [failure] = await run_each(tx, [works[timer.id]])
            if failure is None:
                self._outcomes[timer.name, "handled"] += 1
                metrics.TIMER_LATE_SECONDS.observe((tx.now - timer.at).total_seconds())
            else:
                self._fail(tx, timer, failure)

    async def _refused(self, tx: Tx, ids: Sequence[str], *, failure: Exception) -> None:
        self._outcomes.clear()
        timer = await tx.get(TIMERS, ids[0])
        if timer is not None and not timer.parked and timer.due <= tx.now:
            self._fail(tx, timer, failure)

    def _fail(self, tx: Tx, timer: StoredTimer, failure: Exception) -> None:
        if isinstance(failure, NotYet):
            self._put_off(tx, timer, KEY_WAIT, "waiting")
            return
        attempts = timer.attempts + 1
        why = reason(failure)
        _log.warning("timer failed", name=timer.name, id=timer.id, attempts=attempts, error=why, exc_info=failure)
        failed = replace(timer, attempts=attempts, reason=why)
        if attempts < ATTEMPTS_MAX:
            self._put_off(tx, failed, timedelta(seconds=FIRST_WAIT_SECONDS * 2**timer.attempts), "failed")
            return
        _log.error("timer parked", name=timer.name, id=timer.id, key=timer.key, reason=why)
        self._outcomes[timer.name, "parked"] += 1
        tx.put(TIMERS, replace(failed, parked=True))

    def _put_off(self, tx: Tx, timer: StoredTimer, wait: timedelta, outcome: str) -> None:
        self._outcomes[timer.name, outcome] += 1
        tx.put(TIMERS, replace(timer, due=tx.now + wait, set_for=timer.at))

    def _work(self, timer: StoredTimer) -> Work:
        """What is to be done; a timer that nobody can read does nothing but fail."""
        cause = replace(timer.cause, at=timer.at, client_id=None)
        try:
            row = self._rows[timer.name]
            subject = cast("type[Timer]", row.subject).model_validate(timer.data)
        except (KeyError, ValidationError) as unreadable:
            return _failing(timer, unreadable, cause)
        return Work(timer.id, subject, (row,), cause)

    async def _measure(self) -> None:
        if self._clock.monotonic() >= self._gauge_until:
            self._gauge_until = self._clock.monotonic() + GAUGE_SECONDS
            metrics.TIMERS_PARKED.set(await self._timers.count_documents({"parked": True}))

    def _now(self) -> datetime:
        return instant(self._clock.micros())


def _failing(timer: StoredTimer, failure: Exception, cause: Cause) -> Work:
    async def fail(_subject: Any, _tx: Tx) -> None:
        raise failure

    return Work(timer.id, None, (On(Timer, fail, None),), cause)


async def list_parked(database: Database) -> list[Mapping[str, Any]]:
    """The timers that wait for an operator, with their reasons."""
    fields = {"name": 1, "key": 1, "due": 1, "attempts": 1, "reason": 1}
    return list(await database[TIMERS.name].find({"parked": True}, fields).sort("due", 1).limit(1_000).to_list(None))


async def replay(database: Database, key: str | None = None) -> int:
    """Let parked timers run again, all or those of `key`; returns how many will."""
    where: Mapping[str, Any] = {"parked": True} if key is None else {"parked": True, "key": key}
    done = await database[TIMERS.name].update_many(where, {"$set": {"parked": False, "attempts": 0}})
    return done.modified_count
