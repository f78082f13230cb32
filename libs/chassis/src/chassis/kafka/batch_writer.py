"""The writer: makes attempts at a batch of messages until it is done, in one transaction after the other.

An attempt says how many messages it had the time for. What the handlers did is kept with the ids for the inbox; what
went wrong is counted, and too much of it halts everything.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from chassis import ids
from chassis.clock import instant, unix
from chassis.context import Runtime
from chassis.errors import NotYet
from chassis.kafka.assumptions import StaleAssumptionError
from chassis.kafka.decoding import UNKNOWN, InboundMessage, text_of
from chassis.kafka.inbox import INBOX, InboxEntry
from chassis.kafka.ownership import OwnershipLostError, PartitionOwnership
from chassis.kafka.parking import WAIT_FIRST_SECONDS, NotStoredError, ParkedKey
from chassis.kafka.positions import POSITIONS
from chassis.runtime import metrics
from chassis.runtime.faults import fault_point
from chassis.runtime.logs import Steps
from chassis.service import Service
from chassis.storage.batch import (
    LONG_SECONDS,
    REFUSED_ALONE,
    SLOW_SECONDS,
    AbortedError,
    BlockedByEarlier,
    WorkItem,
    run_in_savepoints,
)
from chassis.storage.mongo import Raw
from chassis.storage.tx import Tx

FAILURE_BURST = 100  # failures in a row of one type: that is not the messages' fault

_log = structlog.get_logger(__name__)


class HaltError(Exception):
    """Nothing more should be handled, and nothing of the batch was kept."""


@dataclass(slots=True)
class Outcome:
    """What the last attempt came to; counts only once it is committed."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failing: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[InboundMessage, ParkedKey]] = field(default_factory=list)
    steps: Steps = field(default_factory=partial(Steps, "event"))


class BatchWriter:
    """Writes what the handlers of one worker do."""

    def __init__(self, service: Service, runtime: Runtime, ownership: PartitionOwnership) -> None:
        """Write for the handlers of `service` what `ownership` allows."""
        self.stopping = False
        self.retry_at = 0.0
        """When to look again for parked keys that are due."""
        self.failing: Counter[str] = Counter()
        self.outcome = Outcome()
        self._runtime = runtime
        self._ownership = ownership
        self._markers = tuple({row.processed_marker for row in service.handlers if row.processed_marker is not None})

    @property
    def in_failure_burst(self) -> bool:
        """Whether messages of some type keep failing."""
        return any(times >= FAILURE_BURST for times in self.failing.values())

    async def run(
        self,
        todo: list[InboundMessage],
        attempt: Callable[[Tx, Sequence[InboundMessage]], Awaitable[int]],
        until: float = float("inf"),
        *,
        arrived: bool,
    ) -> None:
        """Make `attempt`s until all of `todo` is done or lost, it is late, or this process ends.

        Only what has `arrived` is a sign of life: trying again what is parked is none that anything arrives.
        """
        while todo and not self.stopping and self._runtime.clock.monotonic() < until:
            began = self._runtime.clock.monotonic()
            try:
                done = await self._ownership.run(todo, attempt)
            except StaleAssumptionError:
                continue
            except REFUSED_ALONE as refusal:
                if self._ownership.assumptions.hold:
                    continue
                if todo[0].fails:
                    raise
                aborted = isinstance(refusal, AbortedError)
                todo[0] = todo[0].failing(refusal if aborted else NotStoredError(refusal))
            except OwnershipLostError as lost:
                self._ownership.fence(lost.ids)
                todo = [message for message in todo if message.partition.id not in lost.ids]
            else:
                fault_point("consumer.after_commit", (message.type for message in todo[:done]))
                self._ownership.committed()
                if arrived:
                    self._ownership.alive()
                self._committed(todo[:done], self._runtime.clock.monotonic() - began)
                del todo[:done]
            if self._ownership.dropped:  # let go meanwhile
                return

    async def prove(self, tx: Tx) -> None:
        """See, by writing, that the positions are as assumed and that nothing was taken that came before.

        Raises:
            StaleAssumptionError: it is not so.
        """
        await self._ownership.assumptions.prove(tx, POSITIONS, INBOX, *self._markers)

    async def take(
        self, tx: Tx, messages: Sequence[InboundMessage], blocked: Collection[str]
    ) -> list[Exception | None]:
        """Let the handlers have what has not taken effect yet; returns, for each message, what went wrong.

        Of those that there was no time for, it returns nothing: the list is shorter.
        """
        works: dict[str, WorkItem] = {}
        for message in messages:
            if message.work is not None:
                works.setdefault(message.work.id, message.work)
        seen = set() if self._ownership.assumptions.hold else await self._seen(tx, works)
        fresh = [work for id_, work in works.items() if id_ not in seen] if seen else list(works.values())
        if self._ownership.assumptions.hold and self._markers:
            for marker in (marker for work in fresh for marker in work.processed_markers()):
                tx.assume_absent(marker)
        ran = await run_in_savepoints(tx, fresh, blocked, seconds_max=LONG_SECONDS)
        failures = dict(zip((work.id for work in fresh), ran, strict=False))
        late = {work.id for work in fresh[len(ran) :]}
        if late:
            messages = messages[
                : _first(messages, lambda message: message.work is not None and message.work.id in late)
            ]
        failed = [id_ for id_, failure in failures.items() if failure is not None]
        if self._ownership.assumptions.hold and await self._seen(tx, failed):
            raise StaleAssumptionError  # it failed because it came before
        taken = tuple(id_ for id_, failure in failures.items() if failure is None)
        if taken:
            tx.insert(INBOX, InboxEntry(ids.new_id(), taken, tx.now))
        return self._results(messages, failures)

    async def _seen(self, tx: Tx, works: Collection[str]) -> set[str]:
        """Those of the events `works` that have taken effect before."""
        found: list[Raw] = [{"$match": {"ids": {"$in": list(works)}}}, {"$project": {"ids": 1}}]
        rows = await tx.aggregate(INBOX, found) if works else []
        return {id_ for row in rows for id_ in row["ids"]}.intersection(works)

    def _results(
        self, messages: Sequence[InboundMessage], failures: Mapping[str, Exception | None]
    ) -> list[Exception | None]:
        """What went wrong with each message. The same event again, within the batch, shares the first one's fate."""
        counts = self.outcome.counts
        seen: set[str] = set()
        results: list[Exception | None] = []
        for message in messages:
            failure, what = None, "skipped"
            if message.work is not None:
                id_ = message.work.id
                failure = failures.get(id_)
                what = "repeated" if id_ in seen or id_ not in failures else "handled"
                if failure is not None:
                    failure = BlockedByEarlier() if id_ in seen else failure
                    what = "waiting" if isinstance(failure, BlockedByEarlier) else "parked"
                seen.add(id_)
                self._step(message, message.work, what)
            counts[message.type, what] += 1
            results.append(failure)
        return results

    def _step(self, message: InboundMessage, work: WorkItem, what: str) -> None:
        correlation_id = work.cause.correlation_id or text_of(message.headers, "ce_correlationid")
        self.outcome.steps.add(
            type=message.type, key=message.key, id=work.id, correlation_id=correlation_id, outcome=what
        )

    def judge(self, outcome: Outcome, messages: Sequence[InboundMessage], failures: Sequence[Exception | None]) -> None:
        """Count failures in a row, by type: a success of the type ends them. What is not ours says nothing of us.

        Raises:
            HaltError: there are too many.
        """
        if not (outcome.failed or outcome.failing):
            return
        failing = outcome.failing
        for message, failure in zip(messages, failures, strict=True):
            if failure is None and message.work is not None:
                failing.pop(message.type, None)
                failing.pop(UNKNOWN, None)
            elif message.subscribed and not isinstance(failure, NotYet | BlockedByEarlier | None):
                failing[message.type] += 1
        for message, key in outcome.failed:
            if message.subscribed and failing[message.type] >= FAILURE_BURST:
                self.failing = failing
                raise HaltError(f"{failing[message.type]} messages of type {message.type} in a row: {key.reason}")

    # -- afterwards ------------------------------------------------------------------------------------------------

    def _committed(self, messages: Sequence[InboundMessage], seconds: float) -> None:
        """Remember and tell what the last attempt came to."""
        outcome, self.outcome = self.outcome, Outcome()
        self.failing = outcome.failing
        for owned in self._ownership.known.values():
            owned.next = max(owned.next, owned.position.offset)
        if outcome.failed:
            self.retry_at = min(self.retry_at, self._runtime.clock.monotonic() + WAIT_FIRST_SECONDS)
        for message, key in outcome.failed:
            metrics.MESSAGES_PARKED.labels(key.reason.partition(":")[0]).inc()
            tell = _log.error if key.state == "parked" else _log.info
            tell("message parked", message=message.id, type=message.type, key=key.key, state=key.state,
                 reason=key.reason, attempts=key.attempts)  # fmt: skip
        outcome.steps.write()
        self._measure(messages, outcome, seconds)

    def _measure(self, messages: Sequence[InboundMessage], outcome: Outcome, seconds: float) -> None:
        for (type_, what), times in outcome.counts.items():
            metrics.EVENTS.labels(type_, what).inc(times)
        metrics.EVENT_BATCH_SIZE.observe(len(messages))
        metrics.EVENT_BATCH_SECONDS.observe(seconds)
        first: dict[str, WorkItem] = {}
        for message in messages:
            if message.work is not None and not message.fails:
                first.setdefault(message.type, message.work)
        now = unix(instant(self._runtime.clock.micros()))
        for type_, work in first.items():  # the one that has waited longest
            metrics.EVENT_AGE_SECONDS.labels(type_).observe(max(0.0, now - unix(work.cause.at)))
        self._measure_works(messages, seconds)
        outcomes: dict[str, int] = defaultdict(int)
        for (_, what), times in outcome.counts.items():
            outcomes[what] += times
        _log.debug("batch", messages=len(messages), milliseconds=round(seconds * 1_000, 1), **outcomes)

    def _measure_works(self, messages: Sequence[InboundMessage], seconds: float) -> None:
        """Tell which types take the time; of a slow batch, also whose they were."""
        works = [(message, message.work) for message in messages if message.work is not None]
        for message, work in works:
            metrics.EVENT_HANDLING_SECONDS.labels(message.type).inc(work.seconds)
        if seconds > SLOW_SECONDS and works:
            slowest, work = max(works, key=lambda one: one[1].seconds)
            _log.warning("slow batch", messages=len(messages), seconds=round(seconds, 1), slowest=slowest.type,
                         key=slowest.key, milliseconds=round(work.seconds * 1_000, 1))  # fmt: skip


def until(late: Sequence[InboundMessage], part: Sequence[InboundMessage]) -> Sequence[InboundMessage]:
    """What of `part` is before the first of `late`."""
    return part[: _first(part, lambda message: message is late[0])] if late else part


def _first(messages: Sequence[InboundMessage], holds: Callable[[InboundMessage], bool]) -> int:
    """The place of the first message of which it holds, or behind the last."""
    return next((place for place, message in enumerate(messages) if holds(message)), len(messages))
