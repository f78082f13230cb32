"""One batch of vendor calls: made outside any transaction, then recorded together in one.

The answer comes before its record: a process that dies in between makes the calls again, with the same ids.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from pydantic import ValidationError

from chassis import metrics, tracing
from chassis.backoff import back_off, wait_seconds
from chassis.batch import REFUSED_ALONE, Lane, Work, run_each
from chassis.clock import instant
from chassis.decision import Effect
from chassis.faults import fault_point
from chassis.logs import reason
from chassis.mongo import DeleteMany, PyMongoError, UpdateOne
from chassis.pending import EFFECTS, StoredEffect
from chassis.runtime import Runtime
from chassis.service import Answer, On, Pending, Performs
from chassis.storage import is_transient
from chassis.tx import Tx

RETRY_FIRST_SECONDS = 0.25
RETRY_SECONDS_MAX = 30.0
RETRY_AFTER_SECONDS_MAX = 3_600.0  # whatever a vendor asks for
ALARM_ATTEMPTS = 5  # from then on each failure is an error, not a warning

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one call: an answer, a reason to try again, or neither when its time was over."""

    stored: StoredEffect
    effect: Effect | None = None
    answer: Answer[Any] | None = None
    retry: str | None = None
    retry_after_seconds: float | None = None


class Calls:
    """Makes the vendor calls of one kind."""

    def __init__(self, runtime: Runtime, row: Performs) -> None:
        """Make them as the table's `row` says."""
        self._row = row
        self._name = row.effect.NAME
        self._clock = runtime.clock
        self._outside = runtime.outside
        self._effects = runtime.database[EFFECTS.name]
        self._lane: Lane[_Outcome] = Lane(self._name, lambda: runtime.begin(runtime.now_cause(self._name)))

    async def make(self, batch: Sequence[StoredEffect]) -> dict[str, datetime]:
        """Make the calls of `batch` and record what came of them; returns when each key that must wait is due again."""
        now = self._now()
        late = [_Outcome(stored, self._effect(stored)) for stored in batch if is_over(stored, now)]
        asked = await self._ask([stored for stored in batch if not is_over(stored, now)])
        retries = [outcome for outcome in asked if outcome.retry is not None]
        answered = [outcome for outcome in asked if outcome.retry is None]
        if self._row.done is None:
            await self._forget(answered)
            answered = []
        if late or answered:
            retries += await self._record([*late, *answered])
        return await self._put_off(retries)

    async def _ask(self, batch: Sequence[StoredEffect]) -> list[_Outcome]:
        """Hand the calls to the vendor, within the deadline."""
        effects = {stored.id: effect for stored in batch if (effect := self._effect(stored)) is not None}
        readable = [stored for stored in batch if stored.id in effects]
        if not readable:
            return [_Outcome(stored, retry="cannot be read") for stored in batch]
        pending = [Pending(call.id, call.key, effects[call.id], call.attempts + 1) for call in readable]
        answers: dict[str, Answer[Any]] = {}
        why = "no answer"
        with ExitStack() as spans, metrics.EFFECT_SECONDS.labels(self._name).time():
            for call in readable:
                spans.enter_context(tracing.span(f"call {self._name}", call.cause.traceparent, id=call.id))
            try:
                async with asyncio.timeout(self._row.deadline_seconds):
                    answers = {answer.id: answer for answer in await self._row.perform(pending, self._outside)}
            except TimeoutError:
                why = f"no answer within {self._row.deadline_seconds} s"
            except Exception as error:  # noqa: BLE001 - whatever a vendor can do to a client, the call is made again
                why = reason(error)
        fault_point("effects.after_vendor")
        return [self._outcome(stored, effects.get(stored.id), answers.get(stored.id), why) for stored in batch]

    def _outcome(self, stored: StoredEffect, effect: Effect | None, answer: Answer[Any] | None, why: str) -> _Outcome:
        if effect is None:
            return _Outcome(stored, retry="cannot be read")
        if answer is None:
            return _Outcome(stored, effect, retry=why)
        if answer.retry is not None:
            return _Outcome(stored, effect, retry=answer.retry, retry_after_seconds=answer.retry_after_seconds)
        return _Outcome(stored, effect, answer)

    async def _forget(self, outcomes: Sequence[_Outcome]) -> None:
        """Remove what is answered where nobody wants to know, without a transaction, for as long as it takes."""
        failures = 0
        removed = not outcomes
        while not removed:
            try:
                await self._effects.bulk_write(_as_asked([outcome.stored for outcome in outcomes]), ordered=False)
                removed = True
            except PyMongoError as error:
                if not is_transient(error):
                    raise
                failures += 1
                await back_off(failures)
        metrics.EFFECTS.labels(self._name, "done").inc(len(outcomes))
        for outcome in outcomes:
            self._observe_age(outcome.stored, self._now())

    async def _record(self, outcomes: Sequence[_Outcome]) -> list[_Outcome]:
        """Remove what is answered or over, with its handler's changes; returns what has to be tried again."""
        answered_at = self._now()
        again: list[_Outcome] = []
        failed: list[_Outcome] = []
        done: Counter[str] = Counter()

        async def attempt(tx: Tx, part: Sequence[_Outcome]) -> None:
            failed.clear()
            done.clear()
            there = await tx.get_many(EFFECTS, [outcome.stored.id for outcome in part])
            for outcome in part:
                if there.get(outcome.stored.id) != outcome.stored:
                    continue  # decided anew meanwhile, or another leader was faster
                failure = await self._settle(tx, outcome, answered_at)
                if failure is not None:
                    failed.append(replace(outcome, retry=reason(failure)))
                else:
                    done["done" if outcome.answer is not None else "expired"] += 1

        while outcomes:
            try:
                count = await self._lane.run(outcomes, attempt)
                again += failed
            except REFUSED_ALONE as error:  # the server will not have what its handler writes
                again.append(replace(outcomes[0], retry=reason(error)))
                count = 1
            outcomes = outcomes[count:]
            for what, times in done.items():
                metrics.EFFECTS.labels(self._name, what).inc(times)
        return again

    async def _settle(self, tx: Tx, outcome: _Outcome, answered_at: datetime) -> Exception | None:
        """Remove one call and run its handler, or neither."""
        stored, answer = outcome.stored, outcome.answer
        handler: Any = self._row.done if answer is not None else self._row.expired
        subject: Any = answer if answer is not None else outcome.effect
        at = answered_at if answer is not None else (stored.not_after or answered_at)
        savepoint = tx.savepoint()
        tx.delete(EFFECTS, stored.id)
        if handler is None or subject is None:
            return None
        if answer is not None:
            self._observe_age(stored, answered_at)
        work = Work(stored.id, subject, (On(self._row.effect, handler, None),), replace(stored.cause, at=at))
        [failure] = await run_each(tx, [work])
        if failure is not None:
            tx.rollback(savepoint)
        return failure

    async def _put_off(self, retries: Sequence[_Outcome]) -> dict[str, datetime]:
        """Note when and why each is tried again. Not through a Tx, whose stamp would change their order."""
        due: dict[str, datetime] = {}
        updates = []
        for outcome in retries:
            stored = outcome.stored
            due[stored.key] = self._due(outcome)
            attempts = stored.attempts + 1
            log = _log.error if attempts >= ALARM_ATTEMPTS else _log.warning
            log("vendor call failed", name=self._name, id=stored.id, attempts=attempts, reason=outcome.retry)
            metrics.EFFECTS.labels(self._name, "failed" if attempts >= ALARM_ATTEMPTS else "retried").inc()
            change = {"due": due[stored.key], "attempts": attempts, "reason": outcome.retry}
            updates.append(UpdateOne({"_id": stored.id, "n": stored.n}, {"$set": change}))
        if updates:
            await self._effects.bulk_write(updates, ordered=False)
        return due

    def _observe_age(self, stored: StoredEffect, answered_at: datetime) -> None:
        metrics.EFFECT_AGE_SECONDS.labels(self._name).observe((answered_at - stored.cause.at).total_seconds())

    def _due(self, outcome: _Outcome) -> datetime:
        """When it is tried again; when its time is over before that, then."""
        seconds = outcome.retry_after_seconds
        if seconds is None:
            failures = outcome.stored.attempts
            seconds = wait_seconds(failures, first_seconds=RETRY_FIRST_SECONDS, seconds_max=RETRY_SECONDS_MAX)
        due = instant(self._clock.micros() + int(min(seconds, RETRY_AFTER_SECONDS_MAX) * 1_000_000))
        over = outcome.stored.not_after
        return due if over is None or is_over(outcome.stored, self._now()) else min(due, over)

    def _effect(self, stored: StoredEffect) -> Effect | None:
        try:
            return self._row.effect.model_validate(stored.data)
        except ValidationError:
            return None

    def _now(self) -> datetime:
        return instant(self._clock.micros())


def _as_asked(calls: Iterable[StoredEffect]) -> list[DeleteMany]:
    """Remove these calls as they were when they were made: one that was decided anew since is due since then.

    One delete for all that were decided together costs MongoDB a quarter of one for each.
    """
    together: dict[datetime, list[StoredEffect]] = defaultdict(list)
    for call in calls:
        together[call.due].append(call)
    return [
        DeleteMany({"_id": {"$in": [call.id for call in some]}, "n": {"$in": [call.n for call in some]}, "due": due})
        for due, some in together.items()
    ]


def is_over(stored: StoredEffect, now: datetime) -> bool:
    """Whether a call must not be made any more."""
    return stored.not_after is not None and stored.not_after <= now
