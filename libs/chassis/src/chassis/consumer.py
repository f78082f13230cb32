"""The consumer: Kafka's side of a worker. One writer lane over all its partitions; `delivery.py` is what the lane does.

What is done is decided by the positions in the database. Offsets go to Kafka for lag tools only, and whatever Kafka
thinks of them is of no consequence: after every assignment the consumer claims its partitions in the database and seeks
to where they are. While a batch is in hand for long, because MongoDB is away or a handler slow, the partitions are
paused and polling goes on, so that the group keeps this member.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError

from chassis import ids, metrics
from chassis.backoff import back_off
from chassis.batch import BATCH_MAX
from chassis.custody import Held
from chassis.delivery import CAREFUL_DEATHS, CAREFUL_RECORDS, Delivery, HaltError
from chassis.mongo import PyMongoError
from chassis.polls import Brought, Polls, cancel
from chassis.received import Partition
from chassis.records import read_every_record
from chassis.runtime import Runtime
from chassis.service import Service
from chassis.settings import ChassisSettings

T = TypeVar("T")

KEEP_POLLING_SECONDS = 0.5  # while a batch is in hand
HAND_SECONDS = 6.0  # for what is in hand when stopping
REVOKE_SECONDS = 5.0  # for what is in hand when partitions move; others wait for us meanwhile
CLOSE_SECONDS = 1.0  # for each of the closes: offsets, release, leaving the group
POSITION_SECONDS = 0.1  # for aiokafka to say where it is, which it knows, or will in a while
TICK_SECONDS = 1.0  # how often offsets go to Kafka, at most
TIDY_SECONDS = 5.0  # how late somebody else's hand on the positions is noticed, when nothing comes
ENDS_SECONDS = 5.0  # how often the ends of the partitions are asked for: a dead fetcher would not tell
LOST_SECONDS = 0.5  # before claiming again what another process has claimed: one of the two does not know yet
HALT_SECONDS = 5.0  # between tries while too much fails
STUCK_SECONDS = 60.0  # with messages to handle, and nothing done
FETCH_BYTES_MAX = 16 * 1024 * 1024  # held in memory at most, besides what is in hand
FETCH_WAIT_MILLISECONDS = 250  # a new position is not fetched before the fetch under way returns

_log = structlog.get_logger(__name__)


class StuckError(Exception):
    """There is something to handle and nothing is done. The process should end and be started again."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How a consumer is doing."""

    partitions: int
    """Partitions in hand; 0 also for a worker that is one too many."""
    joined: bool
    """Whether it is a member of the group, with its partitions claimed."""
    lag: int
    """Messages behind the ends of its partitions, as far as they are known."""
    idle_seconds: float
    """How long it has been behind and done nothing."""
    halted: str | None
    """Why it handles nothing any more."""

    @property
    def trouble(self) -> str | None:
        """Why it is not ready, if it is not: readiness means progress."""
        if self.halted:
            return self.halted
        if not self.joined:
            return "not a member of the consumer group"
        if self.lag and self.idle_seconds > STUCK_SECONDS / 2:
            return f"{self.lag} messages behind and nothing done for {self.idle_seconds:.0f} s"
        return None


class Consumer:
    """Delivers the events that a service listens to, until `stop`."""

    def __init__(self, service: Service, runtime: Runtime, settings: ChassisSettings) -> None:
        """Connect when run."""
        self._settings = settings
        self._clock = runtime.clock
        self._group = settings.scoped(service.name)
        self._delivery = Delivery(service, runtime, ids.new_id())
        self._partitions: dict[TopicPartition, Partition] = {}
        self._topics = {settings.scoped(topic): topic for topic in self._delivery.listens.topics}
        self._kafka: Any = None
        self._polls = Polls(self._get, runtime.clock)
        self._unclaimed: set[TopicPartition] = set()
        self._full: set[TopicPartition] = set()
        self._joined = False
        self._in_hand: asyncio.Task[Any] | None = None
        self._stopping = asyncio.Event()
        self._halted: str | None = None
        self._crashed = False
        self._tidy_at = 0.0
        self._behind_since: float | None = None
        self._ends: dict[TopicPartition, int] = {}
        self._ends_at = float("-inf")

    async def run(self) -> None:
        """Deliver until `stop`.

        Raises:
            StuckError: nothing is done although there is something to do.
            KafkaError: what aiokafka cannot recover from by itself.
        """
        if not self._topics:
            await self._stopping.wait()
            return
        await self._start()
        ticking = asyncio.create_task(self._tick())
        delivering = asyncio.create_task(self._deliver())
        try:
            await asyncio.wait({ticking, delivering}, return_when=asyncio.FIRST_COMPLETED)
            self._crashed = self._is_crash(ticking) or self._is_crash(delivering)
        finally:
            await cancel(ticking, delivering)
            await self._close()
        for task in (ticking, delivering):
            if not task.cancelled():
                task.result()

    def _is_crash(self, task: "asyncio.Task[None]") -> bool:
        """Whether what was in hand may have ended it: then the next owner has to count a death, as after any other."""
        error = task.exception() if task.done() and not task.cancelled() else None
        return error is not None and (self._in_hand is not None or not isinstance(error, KafkaError | StuckError))

    def stop(self) -> None:
        """Poll no more; `run` returns once what is in hand is done, at most some seconds later."""
        self._stopping.set()
        self._delivery.stopping = True

    def progress(self) -> Progress:
        """How it is doing, for readiness."""
        held = self._delivery.held
        return Progress(
            partitions=len(held),
            joined=not self._topics or (self._joined and not self._unclaimed),
            lag=sum(self._lags().values()),
            idle_seconds=max(0.0, self._ends_at - since) if (since := self._behind_since) is not None else 0.0,
            halted=self._halted,
        )

    # -- the loop --------------------------------------------------------------------------------------------------

    async def _deliver(self) -> None:
        while not self._stopping.is_set():
            await self._claim()
            brought = await self._polls.poll(until=self._delivery.retry_at)
            try:
                if brought:
                    await self._pass_over({tp: records[0].offset for tp, records in brought.items()})
                    self._polls.begin()
                    of_ours = {self._partition(tp): records for tp, records in brought.items()}
                    await self._keeping_on(self._delivery.deliver(of_ours))
                    self._polls.end(brought)
                    self._put_back(brought)
                if self._clock.monotonic() >= self._delivery.retry_at:
                    await self._keeping_on(self._delivery.retry())
                if self._clock.monotonic() >= self._tidy_at:
                    self._tidy_at = self._clock.monotonic() + TIDY_SECONDS
                    await self._pass_over(await self._ahead())
                    await self._keeping_on(self._delivery.tidy())
            except HaltError as halt:
                await self._halt(str(halt))
            else:
                self._halted = self._halted if self._delivery.storming else None

    def _put_back(self, brought: Brought) -> None:
        """Leave for the next turn what this one had no time for, and bring no more of a partition that has plenty."""
        for tp, records in brought.items():
            held = self._held(tp)
            if held is not None and records[-1].offset >= held.next:
                self._polls.put_back(tp, [record for record in records if record.offset >= held.next])
        full = self._polls.full()
        self._pause(full - self._full)
        self._resume(self._full - full - self._unclaimed)
        self._full = full

    async def _get(self, seconds: float) -> Brought:
        brought: Brought = await self._kafka.getmany(timeout_ms=int(seconds * 1_000), max_records=BATCH_MAX)
        return brought

    async def _keeping_on(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end; when it takes long, pause and go on polling."""
        self._in_hand = task = asyncio.create_task(work)
        paused = False
        asked_at: float | None = None
        try:
            while not (await asyncio.wait({task}, timeout=KEEP_POLLING_SECONDS))[0]:
                paused = True
                self._pause(self._kafka.assignment())
                self._polls.keep_on()
                if self._stopping.is_set():
                    asked_at = asked_at or self._clock.monotonic()
                    if self._clock.monotonic() - asked_at > HAND_SECONDS:
                        task.cancel()
        finally:
            await cancel(task)
            self._in_hand = None
        if paused:
            self._resume(self._kafka.assignment() - self._unclaimed - self._full)
        return task.result()

    async def _halt(self, reason: str) -> None:
        """Too much fails: handle nothing for a while, then begin again where the positions are."""
        if self._halted is None:
            _log.error("consumer halted", reason=reason)
        self._halted = reason
        await self._keeping_on(self._wait(HALT_SECONDS))
        for held in self._delivery.let_go():
            self._unclaimed.add(self._topic_partition(held.partition))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            self._delivery.alive_at = self._clock.monotonic()

    # -- partitions ------------------------------------------------------------------------------------------------

    async def _claim(self) -> None:
        """Claim what was assigned, or lost by mistake, and seek to where it is."""
        if self._delivery.lost:
            await self._keeping_on(self._wait(LOST_SECONDS))
            self._unclaimed |= {self._topic_partition(one.partition) for one in self._delivery.lost}
            self._delivery.lost.clear()
        wanted = self._unclaimed = self._unclaimed & self._kafka.assignment()
        if not wanted:
            return
        self._pause(wanted)
        held = await self._keeping_on(self._delivery.claim([self._partition(tp) for tp in wanted]))
        if not await self._polls.settle() or self._unclaimed is not wanted:  # begun before the seek, or
            return  # assigned anew meanwhile, or soon: what is claimed is claimed again
        await self._mark_careful([one for one in held if one.position.deaths >= CAREFUL_DEATHS])
        for one in held:
            self._seek(one)
        self._unclaimed -= wanted
        _log.info("partitions claimed", positions={one.partition.id: one.next for one in held})

    def _seek(self, held: Held) -> None:
        tp = self._topic_partition(held.partition)
        self._polls.forget(tp)
        try:
            self._kafka.seek(tp, held.next)  # what lies before the log's begin is reset to its earliest record
        except IllegalStateError:
            return  # revoked meanwhile
        self._resume({tp})
        self._delivery.held[held.partition.id] = held

    async def _ahead(self) -> dict[TopicPartition, int]:
        """Where Kafka goes on behind what we have handled, though it has brought us all there is before that."""
        ahead = {}
        for held in list(self._delivery.held.values()):
            tp = self._topic_partition(held.partition)
            try:
                async with asyncio.timeout(POSITION_SECONDS):
                    position = await self._kafka.position(tp)
            except (KafkaError, TimeoutError):
                continue  # revoked, or on its way to another place
            if position > held.next:
                ahead[tp] = position
        return ahead if self._polls.idle else {}  # else it may be behind what we have not seen yet

    async def _pass_over(self, firsts: dict[TopicPartition, int]) -> None:
        """Go on where Kafka does. What lies between is of transactions that never were, or else it is lost: say so."""
        gaps = {
            tp: (held.next, first)
            for tp, first in firsts.items()
            if (held := self._held(tp)) is not None and first > held.next
        }
        if not gaps:
            return
        begins = await self._begins(gaps)
        for tp, (begin, end) in gaps.items():
            if (held := self._held(tp)) is None:
                continue
            held.next = max(held.next, end)
            lost = min(begins.get(tp, end), end) - begin
            if begin and lost > 0:  # at 0 nothing was ever handled: a service begins with what there is
                metrics.MESSAGES_LOST.labels(held.partition.topic).inc(lost)
                _log.error("messages lost", position=held.partition.id, offset=begin, messages=lost,
                           known=tp in begins)  # fmt: skip

    async def _begins(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The first records there are; empty when Kafka does not say."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                begins: dict[TopicPartition, int] = await self._kafka.beginning_offsets(list(tps))
        except (KafkaError, TimeoutError) as error:
            _log.warning("begins not known", error=repr(error))
            return {}
        return begins

    async def _mark_careful(self, held: list[Held]) -> None:
        """Where processes have died, handle one by one what was there by then."""
        if not held:
            return
        await self._ask_ends([self._topic_partition(one.partition) for one in held])
        for one in held:
            end = self._ends.get(self._topic_partition(one.partition), one.next + CAREFUL_RECORDS)
            one.careful_until = min(end, one.next + CAREFUL_RECORDS)
            _log.warning("careful: processes died here", position=one.partition.id, offset=one.next)

    def _assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Nothing is handled before it is claimed, and claiming may take long: only the loop does it."""
        metrics.REBALANCES.inc()
        self._joined = True
        self._polls.forget()
        self._full = set()
        self._unclaimed = set(assigned)
        self._pause(self._unclaimed)

    async def _revoked(self) -> None:
        """Begin nothing new, wait for what is in hand, and let others have it."""
        self._joined = False
        self._unclaimed = set()
        self._polls.forget()
        held = self._delivery.let_go()
        in_hand = self._in_hand
        if in_hand is not None:
            await asyncio.wait({in_hand}, timeout=REVOKE_SECONDS)
        if held and (in_hand is None or in_hand.done()):
            await self._hand_over(held)

    async def _hand_over(self, held: list[Held]) -> None:
        await self._commit({self._topic_partition(one.partition): one.next for one in held})
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._delivery.release(held)
        except (PyMongoError, TimeoutError) as error:
            _log.warning("partitions not released", error=repr(error))

    def _held(self, tp: TopicPartition) -> Held | None:
        return self._delivery.held.get(self._partition(tp).id)

    def _pause(self, tps: Iterable[TopicPartition]) -> None:
        self._kafka.pause(*(set(tps) & self._kafka.assignment()))

    def _resume(self, tps: Iterable[TopicPartition]) -> None:
        self._kafka.resume(*(set(tps) & self._kafka.assignment()))

    def _partition(self, tp: TopicPartition) -> Partition:
        if tp not in self._partitions:
            self._partitions[tp] = Partition(self._topics[tp.topic], tp.partition)
        return self._partitions[tp]

    def _topic_partition(self, partition: Partition) -> TopicPartition:
        return TopicPartition(self._settings.scoped(partition.topic), partition.number)

    # -- beside the loop -------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Tell Kafka how far we are, ask how far there is to go, and watch over the loop."""
        told: dict[TopicPartition, int] = {}
        while True:
            await asyncio.sleep(TICK_SECONDS)
            offsets = {self._topic_partition(one.partition): one.next for one in self._delivery.held.values()}
            news = {tp: offset for tp, offset in offsets.items() if told.get(tp) != offset}
            if news and await self._commit(news):
                told = offsets
            if offsets and self._clock.monotonic() - self._ends_at > ENDS_SECONDS:
                await self._ask_ends(offsets)
                await self._delivery.measure()
            self._watch()

    async def _commit(self, offsets: dict[TopicPartition, int]) -> bool:
        """Tell Kafka, once: during a rebalance it refuses, and while it is away nobody needs to know."""
        mine = {tp: offset for tp, offset in offsets.items() if tp in self._kafka.assignment()}
        if not mine:
            return True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._kafka.commit(mine)
        except (KafkaError, TimeoutError) as error:
            _log.debug("offsets not committed", error=repr(error))
            return False
        return True

    async def _ask_ends(self, tps: Iterable[TopicPartition]) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                self._ends |= await self._kafka.end_offsets(list(tps))
            self._ends_at = self._clock.monotonic()
        except (KafkaError, TimeoutError) as error:
            _log.debug("ends not known", error=repr(error))
            return
        by_topic: dict[str, int] = dict.fromkeys(self._topics.values(), 0)
        for tp, lag in self._lags().items():
            by_topic[self._topics[tp.topic]] += lag
        for topic, lag in by_topic.items():
            metrics.CONSUMER_LAG.labels(topic).set(lag)

    def _lags(self) -> dict[TopicPartition, int]:
        lags = {}
        for held in self._delivery.held.values():
            tp = self._topic_partition(held.partition)
            lags[tp] = max(0, self._ends.get(tp, held.next) - held.next)
        return lags

    def _watch(self) -> None:
        """A fetcher may die without a word, and a handler may hang. While Kafka is away, nobody knows of a lag."""
        lag = sum(self._lags().values())
        if not lag:
            self._behind_since = None
            return
        self._behind_since = max(self._behind_since or self._ends_at, self._delivery.alive_at)
        seconds = self._ends_at - self._behind_since
        if seconds > STUCK_SECONDS:
            raise StuckError(f"{lag} messages to handle and nothing done for {seconds:.0f} s")

    # -- connection ------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Join the group, whenever Kafka is there."""
        read_every_record()
        session_ms = int(self._settings.kafka_session_timeout_seconds * 1_000)
        rebalance_ms = max(session_ms, int((REVOKE_SECONDS + 3 * CLOSE_SECONDS) * 1_000))
        failures = 0
        while not self._stopping.is_set():
            self._kafka = AIOKafkaConsumer(
                bootstrap_servers=self._settings.kafka_bootstrap,
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                # The same numbers of all topics go to the same worker, and with them what belongs to one session.
                partition_assignment_strategy=(RangePartitionAssignor,),
                session_timeout_ms=session_ms,
                heartbeat_interval_ms=min(3_000, session_ms // 3),
                rebalance_timeout_ms=rebalance_ms,
                request_timeout_ms=rebalance_ms + 5_000,  # joining waits for the others
                fetch_max_bytes=FETCH_BYTES_MAX,
                fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
            )
            self._kafka.subscribe(list(self._topics), listener=_Listener(self))
            try:
                await self._kafka.start()
            except KafkaError as error:
                await self._stop_kafka()
                failures += 1
                _log.warning("Kafka is away", error=repr(error), failures=failures)
                await back_off(failures, first_seconds=0.2, seconds_max=5.0)
            else:
                return

    async def _close(self) -> None:
        held = self._delivery.let_go()
        if held and not self._crashed:
            await self._hand_over(held)
        await self._stop_kafka()
        await self._polls.close()

    async def _stop_kafka(self) -> None:
        if self._kafka is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._kafka.stop()
        except (KafkaError, TimeoutError) as error:
            _log.warning("consumer group not left", error=repr(error))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Tells the consumer what the group decides."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Before a rebalance: everything is revoked."""
        if revoked:
            await self._consumer._revoked()  # noqa: SLF001 - its other half

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """After it."""
        self._consumer._assigned(assigned)  # noqa: SLF001 - its other half
