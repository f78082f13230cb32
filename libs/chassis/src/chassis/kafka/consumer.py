"""The consumer: the loop of a worker. One writer over all its partitions; `processor.py` is what it does.

What is done is decided by the positions in the database. Offsets go to Kafka for lag tools only, and whatever Kafka
thinks of them is of no consequence: after every rebalance the consumer claims its partitions in the database and seeks
to where they are. While a batch is in hand for long, because MongoDB is away or a handler slow, the partitions are
paused and polling goes on, so that the group keeps this member.
"""

import asyncio

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from chassis import ids
from chassis.context import Runtime
from chassis.errors import StuckError
from chassis.kafka.batch_writer import HaltError
from chassis.kafka.group_member import GroupMember
from chassis.kafka.halted import HaltedPartitions
from chassis.kafka.in_hand import InHand
from chassis.kafka.lag import Lag, Progress
from chassis.kafka.ownership import OwnedPartition
from chassis.kafka.poller import Polled, Poller, cancel
from chassis.kafka.processor import BatchProcessor
from chassis.kafka.rebalance import Rebalance
from chassis.runtime import metrics
from chassis.runtime.settings import ChassisSettings
from chassis.service import Service

TICK_SECONDS = 1.0  # how often offsets go to Kafka, at most
CHECKPOINT_SECONDS = 5.0  # how late somebody else's hand on the positions is noticed, when nothing comes
LOST_SECONDS = 0.5  # before claiming again what another process has claimed: one of the two does not know yet
FULL_SECONDS = 1.0  # between looks whether there is room again
HALT_SECONDS = 5.0  # between tries while too much fails

_log = structlog.get_logger(__name__)


class Consumer:
    """Delivers the events that a service listens to, until `stop`."""

    def __init__(
        self, service: Service, runtime: Runtime, settings: ChassisSettings, processor: BatchProcessor | None = None
    ) -> None:
        """Connect when run; hand everything to `processor`, if it is given."""
        self._settings = settings
        self._clock = runtime.clock
        self._backlog = runtime.backlog
        self._stopping = asyncio.Event()
        self._processor = processor or BatchProcessor(service, runtime, ids.new_id())
        self._ownership = self._processor.ownership
        self._member = GroupMember(settings, settings.scoped(service.name), self._processor.subscriptions.topics)
        self._poller = Poller(self._member.poll, runtime.clock)
        self._in_hand = InHand(self._member, self._poller, self._stopping, runtime.clock)
        self._lag = Lag(self._member, self._ownership, runtime.clock)
        self._rebalance = Rebalance(self._member, self._ownership, self._poller, self._in_hand, self._lag)
        self._halted_partitions = HaltedPartitions(self._member, self._ownership, self._poller, self._rebalance)
        self._halted: str | None = None
        self._crashed = False
        self._checkpoint_at = 0.0

    async def run(self) -> None:
        """Deliver until `stop`.

        Raises:
            StuckError: nothing is done although there is something to do.
            KafkaError: what aiokafka cannot recover from by itself.
        """
        if not self._member.topics:
            await self._stopping.wait()
            return
        await self._member.start(self._rebalance, self._stopping)
        self._lag.joined()
        ticking = asyncio.create_task(self._tick())
        consuming = asyncio.create_task(self._consume())
        try:
            await asyncio.wait({ticking, consuming}, return_when=asyncio.FIRST_COMPLETED)
            self._crashed = self._is_crash(ticking) or self._is_crash(consuming)
        finally:
            await cancel(ticking, consuming)
            await self._close()
        for task in (ticking, consuming):
            if not task.cancelled():
                task.result()

    def _is_crash(self, task: "asyncio.Task[None]") -> bool:
        """Whether what was in hand may have ended it: then the next owner has to count a crash, as after any other."""
        error = task.exception() if task.done() and not task.cancelled() else None
        return error is not None and (self._in_hand.task is not None or not isinstance(error, KafkaError | StuckError))

    def stop(self) -> None:
        """Poll no more; `run` returns once what is in hand is done, at most some seconds later."""
        self._stopping.set()
        self._processor.stop()

    def progress(self) -> Progress:
        """How it is doing, for readiness."""
        return Progress(
            partitions=len(self._ownership.owned),
            joined=not self._member.topics or (self._rebalance.joined and not self._member.unclaimed),
            lag=self._lag.messages,
            idle_seconds=self._lag.idle_seconds,
            halted=self._halted,
            silent_seconds=self._lag.silent_seconds,
            idle_seconds_max=self._settings.stuck_seconds / 2,
            halted_partitions=self._halted_partitions.reasons,
            unreadable=sorted(self._member.partition(tp).id for tp in self._rebalance.unreadable),
        )

    # -- the loop --------------------------------------------------------------------------------------------------

    async def _consume(self) -> None:
        while not self._stopping.is_set():
            await self._claim()
            full = self._backlog.full
            if full is None:
                polled = await self._poller.poll(until=self._processor.retry_at)
            else:  # what an operator replays is tried all the same: it makes room
                polled = {}
                await self._in_hand.do(self._wait(FULL_SECONDS))
            try:
                await self._halt_corrupt()
                if polled:
                    await self._handle(polled)
                if self._clock.monotonic() >= self._processor.retry_at:
                    await self._in_hand.do(self._processor.retry())
                if self._clock.monotonic() >= self._checkpoint_at:
                    await self._checkpoint()
            except HaltError as halt:
                await self._halt(str(halt))
            else:
                burst = self._halted if self._processor.in_failure_burst else None
                self._halted = burst or (f"nothing more is taken: {full}" if full is not None else None)

    async def _claim(self) -> None:
        if self._ownership.lost:
            await self._in_hand.do(self._wait(LOST_SECONDS))
            self._rebalance.claim_again(self._ownership.lost)
            self._ownership.lost.clear()
        await self._rebalance.claim()

    async def _handle(self, polled: Polled) -> None:
        await self._pass_over({tp: records[0].offset for tp, records in polled.items()})
        self._poller.begin()
        await self._in_hand.do(
            self._processor.process({self._member.partition(tp): records for tp, records in polled.items()})
        )
        self._poller.end(polled)
        self._put_back(polled)

    def _put_back(self, polled: Polled) -> None:
        """Leave for the next turn what this one had no time for, and bring no more of a partition that has plenty."""
        for tp, records in polled.items():
            owned = self._owned(tp)
            if owned is not None and records[-1].offset >= owned.next:
                self._poller.put_back(tp, [record for record in records if record.offset >= owned.next])
        member, full = self._member, self._poller.full()
        member.pause(full - member.full)
        member.resume(member.full - full - member.unclaimed)
        member.full = full

    async def _checkpoint(self) -> None:
        self._checkpoint_at = self._clock.monotonic() + CHECKPOINT_SECONDS
        self._member.unclaimed |= self._rebalance.unreadable
        await self._pass_over(await self._ahead())
        self._halted_partitions.try_again()
        await self._in_hand.do(self._ownership.checkpoint())

    async def _halt(self, reason: str) -> None:
        """Too much fails: handle nothing for a while, then begin again where the positions are."""
        if self._halted is None:
            _log.error("consumer halted", reason=reason)
        self._halted = reason
        await self._in_hand.do(self._wait(HALT_SECONDS))
        self._rebalance.claim_again(self._ownership.drop_all())

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            self._ownership.alive()

    # -- gaps ------------------------------------------------------------------------------------------------------

    async def _ahead(self) -> dict[TopicPartition, int]:
        """Where Kafka goes on behind what we have handled, though it has brought us all there is before that."""
        ahead = {}
        for owned in list(self._ownership.owned.values()):
            tp = self._member.topic_partition(owned.partition)
            position = await self._member.position(tp)
            if position is not None and position > owned.next:
                ahead[tp] = position
        return ahead if self._poller.idle else {}  # else it may be behind what we have not seen yet

    async def _pass_over(self, firsts: dict[TopicPartition, int]) -> None:
        """Go on where Kafka does, if what lies between is of transactions that never were. If it is lost, halt."""
        gaps = {
            tp: (owned.next, first)
            for tp, first in firsts.items()
            if (owned := self._owned(tp)) is not None and first > owned.next
        }
        begins = await self._member.begins(gaps) if gaps else {}
        for tp, (at, first) in gaps.items():
            if (owned := self._owned(tp)) is None:
                continue
            lost = min(begins.get(tp, first), first) - at
            if not at or lost <= 0:  # at 0 nothing was ever handled: a service begins with what there is
                owned.next = max(owned.next, first)
                continue
            why = f"{lost} messages from {at} on are gone" if tp in begins else f"what lies behind {at} is not known"
            if await self._halted_partitions.halt(tp, why) and tp in begins:
                metrics.MESSAGES_LOST.labels(owned.partition.topic).inc(lost)

    async def _halt_corrupt(self) -> None:
        corrupt, self._member.corrupt = self._member.corrupt, {}
        for tp, reason in corrupt.items():
            await self._halted_partitions.halt(tp, reason)

    def _owned(self, tp: TopicPartition) -> OwnedPartition | None:
        return self._ownership.owned.get(self._member.partition(tp).id)

    # -- beside the loop -------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Tell Kafka how far we are, ask how far there is to go, and watch over the loop."""
        committed: dict[TopicPartition, int] = {}
        while True:
            await asyncio.sleep(TICK_SECONDS)
            owned = self._ownership.owned.values()
            offsets = {self._member.topic_partition(one.partition): one.next for one in owned}
            news = {tp: offset for tp, offset in offsets.items() if committed.get(tp) != offset}
            if news and await self._member.commit(news):
                committed = offsets
            if await self._lag.look(offsets):
                await self._processor.measure()
            self._lag.watch(self._settings.stuck_seconds)

    async def _close(self) -> None:
        owned = self._ownership.drop_all()
        if owned and not self._crashed:
            await self._rebalance.hand_over(owned)
        await self._member.stop()
        await self._poller.close()
