"""One batch of vendor calls: made outside any transaction, then recorded together in one.

The answer comes before its record: a process that dies in between makes the calls again, with the same ids. A vendor
that does not do it is asked again for ever; a call that fails here, before the vendor is asked or after it has
answered, waits for an operator after a few times.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import structlog

from chassis.clock import instant
from chassis.context import Runtime
from chassis.decision import derived_id
from chassis.effects.model import EFFECTS, StoredEffect
from chassis.effects.outcome import Outcome, is_over, read_in_turn
from chassis.effects.silence import Silence
from chassis.runtime import metrics, tracing
from chassis.runtime.backoff import back_off, wait_seconds
from chassis.runtime.faults import fault_point
from chassis.runtime.logs import Steps, reason
from chassis.service import EffectHandler, EffectRequest, EffectResult, On
from chassis.storage.batch import REFUSED_ALONE, BatchRunner, WorkItem, run_in_savepoints
from chassis.storage.errors import is_transient
from chassis.storage.mongo import DeleteMany, PyMongoError, UpdateOne
from chassis.storage.retry_policy import RetryPolicy
from chassis.storage.tx import Tx

RETRY_FIRST_SECONDS = 0.25
RETRY_SECONDS_MAX = 30.0
RETRY_AFTER_SECONDS_MAX = 3_600.0  # whatever a vendor asks for
ALARM_ATTEMPTS = 5  # from then on each failure is an error, not a warning
RETRIES = RetryPolicy(RETRY_FIRST_SECONDS, RETRY_SECONDS_MAX, attempts_max=8)
"""Of our own failures."""

PARKED_WAIT = timedelta(seconds=5)  # how late it is noticed that an operator wants a parked call to be made

_log = structlog.get_logger(__name__)


class EffectExecutor:
    """Makes the vendor calls of one kind."""

    def __init__(self, runtime: Runtime, row: EffectHandler) -> None:
        """Make them as the table's `row` says."""
        self._row = row
        self._name = row.effect.NAME
        self._clock = runtime.clock
        self._outside = runtime.outside
        self._effects = runtime.database[EFFECTS.name]
        self._silence = Silence(self._name, runtime.clock)
        self._runner: BatchRunner[Outcome] = BatchRunner(
            self._name, lambda: runtime.begin(runtime.now_cause(self._name))
        )

    async def execute(self, batch: Sequence[StoredEffect]) -> dict[str, datetime]:
        """Make the calls of `batch` and record what came of them; returns when each key that must wait is due again."""
        now = self._now()
        read = read_in_turn(self._row.effect, batch, now)
        late = [replace(one, retry=None) for one in read if is_over(one.stored, now)]
        retries = [one for one in read if one.retry is not None and not is_over(one.stored, now)]
        asked_at = self._clock.monotonic()
        asked = await self._ask([one for one in read if one.retry is None and not is_over(one.stored, now)])
        self._listen(asked, asked_at)
        retries += [outcome for outcome in asked if outcome.retry is not None]
        answered = [outcome for outcome in asked if outcome.retry is None]
        if self._row.done is None:
            await self._forget(answered)
            answered = []
        if late or answered:
            retries += await self._record([*late, *answered])
        return await self._put_off(retries)

    @property
    def trouble(self) -> str | None:
        """Why none of these calls gets anywhere, if so."""
        return self._silence.trouble

    def _listen(self, asked: Sequence[Outcome], asked_at: float) -> None:
        """Whether the vendor has answered at all."""
        if any(outcome.retry is None for outcome in asked):
            self._silence.ends()
        elif asked:
            self._silence.goes_on(asked_at, {one.stored.key for one in asked}, asked[0].retry or "")

    async def _ask(self, batch: Sequence[Outcome]) -> list[Outcome]:
        """Hand the calls to the vendor, within the deadline."""
        if not batch:
            return []
        calls = [(one.stored, one.effect) for one in batch if one.effect is not None]
        pending = [EffectRequest(call.id, call.key, effect, call.attempts + 1) for call, effect in calls]
        answers: dict[str, EffectResult[Any]] = {}
        why = "no answer"
        with ExitStack() as spans, metrics.EFFECT_SECONDS.labels(self._name).time():
            for call, _ in calls:
                spans.enter_context(tracing.span(f"call {self._name}", call.cause.traceparent, id=call.id))
            try:
                async with asyncio.timeout(self._row.deadline_seconds):
                    answers = {answer.id: answer for answer in await self._row.execute(pending, self._outside)}
            except TimeoutError:
                why = f"no answer within {self._row.deadline_seconds} s"
            except Exception as error:  # noqa: BLE001 - whatever a vendor can do to a client, the call is made again
                why = reason(error)
        fault_point("effects.after_vendor", chain((self._name,), (call.id for call, _ in calls)))
        return [one.answered(answers.get(one.stored.id), why) for one in batch]

    async def _forget(self, outcomes: Sequence[Outcome]) -> None:
        """Remove what is answered where nobody wants to know, without a transaction, for as long as it takes."""
        steps = Steps("effect")
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
            steps.add(**_step(outcome.stored, "done"))
        steps.write()

    async def _record(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Remove what is answered or over, with its handler's changes; returns what has to be tried again."""
        answered_at = self._now()
        again: list[Outcome] = []
        failed: list[Outcome] = []
        done: Counter[str] = Counter()
        steps = Steps("effect")

        async def attempt(tx: Tx, part: Sequence[Outcome]) -> None:
            failed.clear()
            done.clear()
            steps.drop()
            there, _ = await tx.split(EFFECTS, [outcome.stored.id for outcome in part])
            stuck = {outcome.stored.key for outcome in again}
            for outcome in part:
                key = outcome.stored.key
                known = there.get(outcome.stored.id)
                is_as_asked = known == outcome.stored
                if not is_as_asked and (known is None or outcome.answer is None or not self._row.every_answer):
                    continue  # decided anew meanwhile, or another leader was faster
                if key in stuck:
                    failed.append(replace(outcome, retry="is behind one that is made again"))
                elif failure := await self._settle(tx, outcome, answered_at, forget=is_as_asked):
                    failed.append(outcome.failed_here(failure))
                    stuck.add(key)
                else:
                    what = "done" if outcome.answer is not None else "expired"
                    done[what] += 1
                    steps.add(**_step(outcome.stored, what))

        while outcomes:
            try:
                count = await self._runner.run(outcomes, attempt)
                again += failed
            except REFUSED_ALONE as error:  # the server will not have what its handler writes
                again.append(outcomes[0].failed_here(error))
                count = 1
                done.clear()
                steps.drop()
            outcomes = outcomes[count:]
            for what, times in done.items():
                metrics.EFFECTS.labels(self._name, what).inc(times)
            steps.write()
        return again

    async def _settle(self, tx: Tx, outcome: Outcome, answered_at: datetime, *, forget: bool) -> Exception | None:
        """Remove one call (`forget`: unless it was decided anew) and run its handler, or neither."""
        stored, answer = outcome.stored, outcome.answer
        handler: Any = self._row.done if answer is not None else self._row.expired
        subject: Any = answer if answer is not None else outcome.effect
        at = answered_at if answer is not None else (stored.not_after or answered_at)
        savepoint = tx.savepoint()
        if forget:
            tx.delete(EFFECTS, stored.id)
        if handler is None or subject is None:
            return None
        if answer is not None:
            self._observe_age(stored, answered_at)
        origin = derived_id(stored.cause.origin, "effect", stored.id) if stored.cause.origin else None
        cause = replace(stored.cause, at=at, origin=origin)
        work = WorkItem(stored.id, subject, (On(self._row.effect, handler, None),), cause)
        [failure] = await run_in_savepoints(tx, [work])
        if failure is not None:
            tx.rollback(savepoint)
        return failure

    async def _put_off(self, retries: Sequence[Outcome]) -> dict[str, datetime]:
        """Note when and why each is tried again, if it is. Not through a Tx, whose stamp would change their order."""
        due: dict[str, datetime] = {}
        updates = []
        for outcome in retries:
            stored = outcome.stored
            attempts, failures = stored.attempts + 1, stored.failures + (outcome.failure is not None)
            parked = outcome.failure is not None and self._wait(outcome, failures) is None
            due[stored.key] = self._now() + PARKED_WAIT if parked else self._due(outcome)
            self._tell(outcome, attempts, parked=parked)
            change = {"due": due[stored.key], "attempts": attempts, "reason": outcome.retry,
                      "failures": failures, "parked": parked}  # fmt: skip
            updates.append(UpdateOne({"_id": stored.id, "n": stored.n}, {"$set": change}))
        if updates:
            await self._effects.bulk_write(updates, ordered=False)
        return due

    def _wait(self, outcome: Outcome, failures: int) -> timedelta | None:
        """How long a failure of our own waits, if it does. Once the vendor was called, nothing is worth patience."""
        waited = self._now() - outcome.stored.cause.at if outcome.effect is None else timedelta.max
        return RETRIES.wait(outcome.failure, failures, waited) if outcome.failure is not None else None

    def _tell(self, outcome: Outcome, attempts: int, *, parked: bool) -> None:
        """One failure, in the log and in numbers."""
        serious = attempts >= ALARM_ATTEMPTS
        log = _log.error if serious or parked else _log.warning
        if outcome.failure is None and (self._silence.lasts or attempts not in (1, ALARM_ATTEMPTS)):
            log = _log.debug  # the vendor's silence has a line of its own, and so had this call
        log("vendor call parked" if parked else "vendor call failed", name=self._name, id=outcome.stored.id,
            attempts=attempts, reason=outcome.retry)  # fmt: skip
        metrics.EFFECTS.labels(self._name, "parked" if parked else "failed" if serious else "retried").inc()

    def _observe_age(self, stored: StoredEffect, answered_at: datetime) -> None:
        metrics.EFFECT_AGE_SECONDS.labels(self._name).observe((answered_at - stored.cause.at).total_seconds())

    def _due(self, outcome: Outcome) -> datetime:
        """When it is tried again; when its time is over before that, then."""
        seconds = outcome.retry_after_seconds
        if seconds is None:
            failures = outcome.stored.attempts
            seconds = wait_seconds(failures, first_seconds=RETRY_FIRST_SECONDS, seconds_max=RETRY_SECONDS_MAX)
        due = instant(self._clock.micros() + int(min(seconds, RETRY_AFTER_SECONDS_MAX) * 1_000_000))
        over = outcome.stored.not_after
        return due if over is None or is_over(outcome.stored, self._now()) else min(due, over)

    def _now(self) -> datetime:
        return instant(self._clock.micros())


def _step(stored: StoredEffect, outcome: str) -> dict[str, str]:
    """What the log says of it."""
    of = {"type": stored.name, "key": stored.key, "id": stored.id}
    return of | {"correlation_id": stored.cause.correlation_id, "outcome": outcome}


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
