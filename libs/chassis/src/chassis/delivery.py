"""Delivery: what a poll has brought becomes transactions. There is no Kafka in here.

One transaction holds the next offset of each partition, the ids for the inbox, what the handlers do, what is parked.
A partition belongs to the process that its position names: whoever has lost it changes nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import zip_longest

import structlog

from chassis import ids, metrics
from chassis.batch import BATCH_MAX, REFUSED_ALONE, SLOW_SECONDS, AbortedError, Behind, Work, run_each
from chassis.clock import instant, unix
from chassis.custody import Custody, Held, LostError
from chassis.errors import NotYet
from chassis.faults import fault_point
from chassis.mongo import PyMongoError, Raw
from chassis.parking import (
    CRASHES_MAX,
    PARKED,
    PARKED_KEYS,
    WAIT_FIRST_SECONDS,
    CrashedError,
    NotStoredError,
    Parked,
    ParkedKey,
    fail,
    measure_parked,
    park,
)
from chassis.positions import INBOX, POSITIONS, Taken, Trying
from chassis.received import UNKNOWN, Listens, Partition, Received, Record, unread
from chassis.runtime import Runtime
from chassis.service import Service
from chassis.storage import OutdatedError, is_duplicate
from chassis.tx import Tx

SLICE_SECONDS = 2.0  # of one poll, before the next one is looked at: others may have little to do
STORM = 100  # failures in a row of one type: that is not the messages' fault
CAREFUL_DEATHS = 2  # one process may die of anything; a second one at the very same place makes us careful
CAREFUL_RECORDS = BATCH_MAX  # what may have been in hand when it died
RETRY_KEYS_MAX = 100
RETRY_SECONDS = 1.0  # how often to look for parked keys that an operator wants to be tried
COUNTED_WAIT = timedelta(seconds=1)  # before a try is repeated that was counted and never made

_log = structlog.get_logger(__name__)


class HaltError(Exception):
    """Nothing more should be handled, and nothing of the batch was kept."""


class DoubtError(Exception):
    """Something of a batch was not as assumed: an event that came before, or another hand on a position. Look."""


@dataclass(slots=True)
class _Outcome:
    """What the last attempt came to; counts only once it is committed."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failing: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[Received, ParkedKey]] = field(default_factory=list)


class Delivery(Custody):
    """The single writer of one worker."""

    def __init__(self, service: Service, runtime: Runtime, owner: str) -> None:
        """Deliver to the handlers of `service` in the name of `owner`, a name that no other process has."""
        super().__init__(runtime, owner)
        self.retry_at = 0.0
        self.stopping = False
        self.listens = Listens(service.handlers)
        self._memories = tuple({row.memory for row in service.handlers if row.memory is not None})
        self._dlq = f"{service.name}.dlq"
        self._failing: Counter[str] = Counter()
        self._outcome = _Outcome()

    # -- messages --------------------------------------------------------------------------------------------------

    async def deliver(self, brought: Mapping[Partition, Sequence[Record]]) -> None:
        """Handle what a poll has brought, as far as it is of partitions that are held, or as much as two seconds allow.

        What is left is what lies from each partition's `next` on. The partitions take turns: whoever has slow messages
        holds up the others for one slice at most.

        Raises:
            HaltError: too many in a row have failed.
        """
        self._known = self.held
        until = self._runtime.clock.monotonic() + SLICE_SECONDS
        todo: list[list[Received]] = []
        for partition, records in brought.items():
            held = self.held.get(partition.id)
            if held is not None:
                if records[0].offset < held.next:
                    raise HaltError(
                        f"{partition.id} ends before {held.next}, where it was left: was the topic made anew?"
                    )
                rest = await self._carefully(held, records)
                todo.append(self._skip([self.listens.read(partition, record) for record in rest], held))
        in_turn = [message for turn in zip_longest(*todo) for message in turn if message is not None]
        await self._run(in_turn, self._attempt, until)

    async def retry(self) -> None:
        """Try the parked keys that are due, and decide when to look again."""
        self._known = self.held
        now = instant(self._runtime.clock.micros())
        keys = await self._waiting()
        due = [key for key in keys if key.next_try_at <= now]
        together = [key for key in due if not (key.alone or key.trying)]
        until = self._runtime.clock.monotonic() + SLICE_SECONDS
        late = False
        for group in ([together] if together else []) + [[key] for key in due if key.alone or key.trying]:
            late = self._runtime.clock.monotonic() > until
            if self.stopping or late:
                break
            await self._retry(group)
        seconds = RETRY_SECONDS
        if late:
            seconds = 0.0
        elif len(due) < len(keys):
            seconds = min(seconds, (keys[len(due)].next_try_at - now).total_seconds())
        elif len(keys) == RETRY_KEYS_MAX:
            seconds = 0.0
        self.retry_at = self._runtime.clock.monotonic() + seconds

    @property
    def storming(self) -> bool:
        """Whether messages of some type keep failing."""
        return any(times >= STORM for times in self._failing.values())

    async def _waiting(self) -> list[ParkedKey]:
        """The parked keys of our partitions that try again by themselves, the first due first."""
        ids = [id_ for id_, held in self.held.items() if held.position.parked]
        if not ids:
            return []
        where = {"position": {"$in": ids}, "state": "retrying"}
        order = {"next_try_at": 1}
        return await self._look(lambda tx: tx.find(PARKED_KEYS, where, sort=order, limit=RETRY_KEYS_MAX))

    async def measure(self) -> None:
        """Set the gauge of messages that wait for an operator; while MongoDB is away it stays as it is."""
        try:
            await measure_parked(self._runtime.database)
        except PyMongoError as error:
            _log.debug("parked messages not counted", error=repr(error))

    # -- inside: one by one ----------------------------------------------------------------------------------------

    async def _carefully(self, held: Held, records: Sequence[Record]) -> Sequence[Record]:
        """Handle alone what processes may have died of, counting before each try; returns the rest."""
        if held.careful_until is None:
            return records
        alone = [record for record in records if record.offset < held.careful_until]
        for record in alone:
            if self.stopping or held.partition.id not in self.held:
                return []
            times = await self._count_try(held, record.offset)
            if times > CRASHES_MAX:
                received = unread(held.partition, record).failing(CrashedError(times - 1))
            else:
                received = self.listens.read(held.partition, record)
            await self._run([received], self._attempt)
        if len(alone) < len(records) or records[-1].offset + 1 >= held.careful_until:
            held.careful_until = None
        return records[len(alone) :]

    async def _count_try(self, held: Held, offset: int) -> int:
        """Count that the record at `offset` is about to be tried; returns how often that is with this time."""
        count = 0

        async def attempt(tx: Tx, part: Sequence[Held]) -> None:
            nonlocal count
            positions = await self._owned(tx, {one.partition.id for one in part})
            position = positions[held.partition.id]
            count = 1 + (position.trying.count if position.trying and position.trying.offset == offset else 0)
            self._store(tx, replace(position, trying=Trying(offset, count)))

        try:
            await self._all([held], attempt)
        except LostError as lost:
            self._lose(lost.ids)
        return count

    # -- inside: batches -------------------------------------------------------------------------------------------

    def _skip(self, messages: list[Received], held: Held) -> list[Received]:
        """Pass over a whole partition's part when nobody listens to any of it; its position is stored later."""
        if not messages or any(message.work is not None for message in messages):
            return messages
        held.next = messages[-1].offset + 1
        self._alive()
        for type_, times in Counter(message.type for message in messages).items():
            metrics.EVENTS.labels(type_, "skipped").inc(times)
        return []

    async def _run(
        self,
        todo: list[Received],
        attempt: Callable[[Tx, Sequence[Received]], Awaitable[int]],
        until: float = float("inf"),
    ) -> None:
        """Make `attempt`s until all of `todo` is done or lost, it is late, or this process ends."""
        while todo and not self.stopping and self._runtime.clock.monotonic() < until:
            began = self._runtime.clock.monotonic()
            try:
                done = await self._lane.run(todo, attempt)
            except DoubtError:
                continue
            except REFUSED_ALONE as refusal:
                if self._assuming:
                    continue
                if todo[0].fails:
                    raise
                aborted = isinstance(refusal, AbortedError)
                todo[0] = todo[0].failing(refusal if aborted else NotStoredError(refusal))
            except LostError as lost:
                self._lose(lost.ids)
                todo = [message for message in todo if message.partition.id not in lost.ids]
            else:
                fault_point("consumer.after_commit")
                self._stored()
                if attempt == self._attempt:
                    self._alive()  # trying again what is parked is no sign that anything arrives
                self._committed(todo[:done], self._runtime.clock.monotonic() - began)
                del todo[:done]
            if self.held is not self._known:  # let go meanwhile
                return

    async def _attempt(self, tx: Tx, part: Sequence[Received]) -> int:
        """One transaction of what a poll has brought; returns how many messages it had the time for."""
        outcome = self._outcome = _Outcome(failing=self._failing.copy())
        positions = await self._owned(tx, {message.partition.id for message in part})
        fresh = [message for message in part if message.offset >= positions[message.partition.id].offset]
        blocked: Collection[str] = ()
        if any(position.parked for position in positions.values()):
            blocked = await tx.get_many(PARKED_KEYS, {message.lane for message in fresh})
        failures = await self._take(tx, fresh, blocked)
        part, fresh = _until(fresh[len(failures) :], part), fresh[: len(failures)]
        parked: Counter[str] = Counter()
        for message, failure in zip(fresh, failures, strict=True):
            if isinstance(failure, Behind):
                park(tx, message)
            elif failure is not None:
                outcome.failed.append((message, fail(tx, message, failure, None, self._dlq)))
                parked[message.partition.id] += 1
        ends = {message.partition.id: message.offset + 1 for message in part}
        for id_, end in ends.items():
            position = positions[id_]
            offset = max(position.offset, end)
            self._store(tx, replace(position, offset=offset, parked=position.parked + parked[id_], trying=None))
        if self._assuming:
            await self._prove(tx)
        self._judge(outcome, fresh, failures)
        fault_point("consumer.in_transaction")
        return len(part)

    async def _prove(self, tx: Tx) -> None:
        """See, by writing, that the positions are as assumed and that nothing was taken that came before.

        Raises:
            DoubtError: it is not so.
        """
        try:
            await tx.flush(POSITIONS, INBOX, *self._memories)
        except PyMongoError as error:
            if is_duplicate(error) or isinstance(error, OutdatedError):
                raise DoubtError from error
            raise

    async def _take(self, tx: Tx, messages: Sequence[Received], blocked: Collection[str]) -> list[Exception | None]:
        """Let the handlers have what has not taken effect yet; returns, for each message, what went wrong.

        Of those that there was no time for, it returns nothing: the list is shorter.
        """
        works: dict[str, Work] = {}
        for message in messages:
            if message.work is not None:
                works.setdefault(message.work.id, message.work)
        seen = set() if self._assuming else await self._seen(tx, works)
        fresh = [work for id_, work in works.items() if id_ not in seen] if seen else list(works.values())
        if self._assuming and self._memories:
            for memory in (memory for work in fresh for memory in work.memories()):
                tx.assume_absent(memory)
        ran = await run_each(tx, fresh, blocked, seconds_max=SLOW_SECONDS)
        failures = dict(zip((work.id for work in fresh), ran, strict=False))
        late = {work.id for work in fresh[len(ran) :]}
        if late:
            messages = messages[
                : _first(messages, lambda message: message.work is not None and message.work.id in late)
            ]
        failed = [id_ for id_, failure in failures.items() if failure is not None]
        if self._assuming and await self._seen(tx, failed):
            raise DoubtError  # it failed because it came before
        taken = tuple(id_ for id_, failure in failures.items() if failure is None)
        if taken:
            tx.insert(INBOX, Taken(ids.new_id(), taken, tx.now))
        return self._results(messages, failures)

    async def _seen(self, tx: Tx, works: Collection[str]) -> set[str]:
        """Those of the events `works` that have taken effect before."""
        rows = await tx.find(INBOX, {"ids": {"$in": list(works)}}) if works else []
        return {id_ for row in rows for id_ in row.ids}.intersection(works)

    def _results(
        self, messages: Sequence[Received], failures: Mapping[str, Exception | None]
    ) -> list[Exception | None]:
        """What went wrong with each message. The same event again, within the batch, shares the first one's fate."""
        counts = self._outcome.counts
        told: set[str] = set()
        results: list[Exception | None] = []
        for message in messages:
            failure, what = None, "skipped"
            if message.work is not None:
                id_ = message.work.id
                failure = failures.get(id_)
                what = "repeated" if id_ in told or id_ not in failures else "handled"
                if failure is not None:
                    failure = Behind() if id_ in told else failure
                    what = "waiting" if isinstance(failure, Behind) else "parked"
                told.add(id_)
            counts[message.type, what] += 1
            results.append(failure)
        return results

    def _judge(self, outcome: _Outcome, messages: Sequence[Received], failures: Sequence[Exception | None]) -> None:
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
            elif message.listed and not isinstance(failure, NotYet | Behind | None):
                failing[message.type] += 1
        for message, key in outcome.failed:
            if message.listed and failing[message.type] >= STORM:
                self._failing = failing
                raise HaltError(f"{failing[message.type]} messages of type {message.type} in a row: {key.reason}")

    # -- inside: parked messages -----------------------------------------------------------------------------------

    async def _retry(self, keys: Sequence[ParkedKey]) -> None:
        """Try the parked messages of `keys`, in order; those after one that fails wait on."""
        limit = 1 if keys[0].alone or keys[0].trying else BATCH_MAX
        lanes = [key.id for key in keys]
        order = {"partition": 1, "offset": 1}
        rows = await self._look(lambda tx: tx.find(PARKED, {"lane": {"$in": lanes}}, sort=order, limit=limit))
        present = {row.lane for row in rows}
        empty = set() if len(rows) == limit else set(lanes) - present
        try:
            await self._count_tries([key for key in keys if key.id in present | empty], empty)
        except LostError as lost:
            self._lose(lost.ids)
            return
        fault_point("parking.after_count")
        await self._run([self._again(row, keys) for row in rows], self._attempt_again)

    def _again(self, row: Parked, keys: Sequence[ParkedKey]) -> Received:
        """What a parked message means now; the service may have learned to read it since."""
        received = row.received()
        crashes = next(key.trying for key in keys if key.id == row.lane)
        if crashes >= CRASHES_MAX:
            return received.failing(CrashedError(crashes))
        return self.listens.understand(received, row.key.encode())

    async def _count_tries(self, keys: Sequence[ParkedKey], empty: Collection[str]) -> None:
        """Count tries before they are made; forget keys of which every message was taken away by hand."""

        async def attempt(tx: Tx, part: Sequence[ParkedKey]) -> None:
            await self._owned(tx, {key.position for key in part}, look=True)
            for key in (await tx.get_many(PARKED_KEYS, [key.id for key in part])).values():
                if key.id in empty:
                    tx.delete(PARKED_KEYS, key.id)
                else:
                    alone = key.alone or key.trying > 0
                    next_try_at = tx.now + COUNTED_WAIT
                    counted = replace(key, trying=key.trying + 1, alone=alone, next_try_at=next_try_at)
                    tx.put(PARKED_KEYS, counted)

        await self._all(keys, attempt)

    async def _attempt_again(self, tx: Tx, part: Sequence[Received]) -> int:
        """One transaction of parked messages; returns how many it had the time for."""
        outcome = self._outcome = _Outcome(failing=self._failing)
        positions = await self._owned(tx, {message.partition.id for message in part}, look=True)
        keys = await tx.get_many(PARKED_KEYS, {message.lane for message in part})
        rows = await tx.get_many(PARKED, [message.id for message in part])
        there = [message for message in part if message.id in rows and message.lane in keys]
        stuck: set[str] = set()
        failures = await self._take(tx, there, ())
        part, there = _until(there[len(failures) :], part), there[: len(failures)]
        for message, failure in zip(there, failures, strict=True):
            if failure is None:
                tx.delete(PARKED, message.id)
                continue
            stuck.add(message.lane)
            if not isinstance(failure, Behind):
                key = fail(tx, message, failure, keys[message.lane], self._dlq)
                outcome.failed += [(message, key)] if key.state == "parked" else []
        freed = await self._free(tx, [keys[lane] for lane in {message.lane for message in there} - stuck])
        for id_, position in positions.items():
            self._store(tx, replace(position, parked=position.parked - freed[id_]))
        return len(part)

    async def _free(self, tx: Tx, keys: Sequence[ParkedKey]) -> Counter[str]:
        """Free those of `keys` that have nothing left; returns how many of each position."""
        freed: Counter[str] = Counter()
        if not keys:
            return freed
        of_these: list[Raw] = [{"$match": {"lane": {"$in": [key.id for key in keys]}}}, {"$group": {"_id": "$lane"}}]
        left = {row["_id"] for row in await tx.aggregate(PARKED, of_these)}
        for key in keys:
            if key.id in left:
                tx.put(PARKED_KEYS, replace(key, trying=0, attempts=0, next_try_at=tx.now))
            else:
                tx.delete(PARKED_KEYS, key.id)
                freed[key.position] += 1
        return freed

    # -- inside ----------------------------------------------------------------------------------------------------

    def _committed(self, messages: Sequence[Received], seconds: float) -> None:
        """Remember and tell what the last attempt came to."""
        outcome, self._outcome = self._outcome, _Outcome()
        self._failing = outcome.failing
        for held in self._known.values():
            held.next = max(held.next, held.position.offset)
        if outcome.failed:
            self.retry_at = min(self.retry_at, self._runtime.clock.monotonic() + WAIT_FIRST_SECONDS)
        for message, key in outcome.failed:
            metrics.MESSAGES_PARKED.labels(key.reason.partition(":")[0]).inc()
            tell = _log.error if key.state == "parked" else _log.info
            tell("message parked", message=message.id, type=message.type, key=key.key, state=key.state,
                 reason=key.reason, attempts=key.attempts)  # fmt: skip
        self._measure(messages, outcome, seconds)

    def _measure(self, messages: Sequence[Received], outcome: _Outcome, seconds: float) -> None:
        for (type_, what), times in outcome.counts.items():
            metrics.EVENTS.labels(type_, what).inc(times)
        metrics.EVENT_BATCH_SIZE.observe(len(messages))
        metrics.EVENT_BATCH_SECONDS.observe(seconds)
        first: dict[str, Work] = {}
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
        _log.info("batch", messages=len(messages), milliseconds=round(seconds * 1_000, 1), **outcomes)

    def _measure_works(self, messages: Sequence[Received], seconds: float) -> None:
        """Tell which types take the time; of a slow batch, also whose they were."""
        works = [(message, message.work) for message in messages if message.work is not None]
        for message, work in works:
            metrics.EVENT_HANDLING_SECONDS.labels(message.type).inc(work.seconds)
        if seconds > SLOW_SECONDS and works:
            slowest, work = max(works, key=lambda one: one[1].seconds)
            _log.warning("slow batch", messages=len(messages), seconds=round(seconds, 1), slowest=slowest.type,
                         key=slowest.key, milliseconds=round(work.seconds * 1_000, 1))  # fmt: skip


def _until(late: Sequence[Received], part: Sequence[Received]) -> Sequence[Received]:
    """What of `part` is before the first of `late`."""
    return part[: _first(part, lambda message: message is late[0])] if late else part


def _first(messages: Sequence[Received], holds: Callable[[Received], bool]) -> int:
    """The place of the first message of which it holds, or behind the last."""
    return next((place for place, message in enumerate(messages) if holds(message)), len(messages))
