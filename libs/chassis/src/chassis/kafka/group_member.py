"""The group member: aiokafka's consumer, by our names of partitions, with a bound on everything that is asked of it."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError, KafkaError

from chassis.kafka.aiokafka_patches import CorruptBatchError, finish_fetch, read_every_record
from chassis.kafka.decoding import Partition
from chassis.kafka.poller import Polled, cancel
from chassis.runtime.backoff import back_off
from chassis.runtime.settings import ChassisSettings
from chassis.storage.batch import BATCH_MAX

REVOKE_SECONDS = 5.0  # for what is in hand when partitions move; others wait for us meanwhile
CLOSE_SECONDS = 1.0  # for each of the closes: offsets, release, leaving the group
CLOSE_REST_SECONDS = 0.2  # for each of what is closed here alone, without asking anybody
POSITION_SECONDS = 0.1  # for aiokafka to say where it is, which it knows, or will in a while
FETCH_BYTES_MAX = 16 * 1024 * 1024  # held in memory at most, besides what is in hand
FETCH_WAIT_MILLISECONDS = 250  # a new position is not fetched before the fetch under way returns

_log = structlog.get_logger(__name__)


class GroupMember:
    """One member of a service's consumer group."""

    def __init__(self, settings: ChassisSettings, group: str, topics: Collection[str]) -> None:
        """Connect when started; `topics` are named without namespace."""
        self.topics = {settings.scoped(topic): topic for topic in topics}
        self.unclaimed: set[TopicPartition] = set()
        """Assigned, and not in hand yet: they stay paused."""
        self.full: set[TopicPartition] = set()
        """There is plenty of them here: they stay paused, too."""
        self.halted: dict[TopicPartition, str] = {}
        """Why nothing of these is handled: they stay paused, too."""
        self.corrupt: dict[TopicPartition, str] = {}
        """What aiokafka could not read since this was last emptied, and why."""
        self._settings = settings
        self._group = group
        self._partitions: dict[TopicPartition, Partition] = {}
        self._kafka: Any = None
        self._committing: asyncio.Task[None] | None = None

    def partition(self, tp: TopicPartition) -> Partition:
        """What aiokafka calls `tp`, by our name."""
        if tp not in self._partitions:
            self._partitions[tp] = Partition(self.topics[tp.topic], tp.partition)
        return self._partitions[tp]

    def topic_partition(self, partition: Partition) -> TopicPartition:
        """What we call `partition`, by aiokafka's name."""
        return TopicPartition(self._settings.scoped(partition.topic), partition.number)

    async def start(self, listener: ConsumerRebalanceListener, stopping: asyncio.Event) -> None:
        """Join the group, whenever Kafka is there."""
        read_every_record()
        session_ms = int(self._settings.kafka_session_timeout_seconds * 1_000)
        rebalance_ms = max(session_ms, int((REVOKE_SECONDS + 3 * CLOSE_SECONDS) * 1_000))
        failures = 0
        while not stopping.is_set():
            self._kafka = AIOKafkaConsumer(
                bootstrap_servers=self._settings.kafka_bootstrap,
                **self._settings.kafka_security,
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
            self._kafka.subscribe(list(self.topics), listener=listener)
            try:
                await self._kafka.start()
            except KafkaError as error:
                await self.stop()
                failures += 1
                _log.warning("Kafka is away", error=repr(error), failures=failures)
                await back_off(failures, first_seconds=0.2, seconds_max=5.0)
            else:
                return

    async def stop(self) -> None:
        """Leave the group."""
        if self._kafka is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._kafka.stop()
        except (KafkaError, TimeoutError) as error:
            _log.warning("consumer group not left", error=repr(error))
            await self._close_rest()
        if self._committing is not None:
            await cancel(self._committing)

    async def _close_rest(self) -> None:
        """Close what aiokafka's `stop` has not come to when it was cut off: its tasks and sockets would outlive it."""
        kafka, closes = self._kafka, []
        if kafka._coordinator is not None:  # noqa: SLF001 - here and below: it has no other way to go on
            closes += [kafka._coordinator._stop_heartbeat_task, kafka._coordinator._stop_commit_offsets_refresh_task]  # noqa: SLF001 - as above
        if kafka._fetcher is not None:  # noqa: SLF001 - as above
            closes.append(kafka._fetcher.close)  # noqa: SLF001 - as above
        for close in (*closes, kafka._client.close):  # noqa: SLF001 - as above
            try:
                async with asyncio.timeout(CLOSE_REST_SECONDS):
                    await close()
            except (KafkaError, TimeoutError) as error:
                _log.debug("not closed", error=repr(error))

    def assignment(self) -> set[TopicPartition]:
        """What the group has assigned to this member."""
        assigned: set[TopicPartition] = set(self._kafka.assignment())
        return assigned

    async def poll(self, seconds: float) -> Polled:
        """What has come, or within `seconds` will; of a damaged batch it is noted where it is."""
        try:
            polled: Polled = await self._kafka.getmany(timeout_ms=int(seconds * 1_000), max_records=BATCH_MAX)
        except CorruptBatchError as damage:
            finish_fetch(self._kafka)
            self.corrupt[damage.tp] = damage.args[0]
            return {}
        return polled

    def pause(self, tps: Iterable[TopicPartition]) -> None:
        """Fetch no more of `tps`."""
        self._kafka.pause(*(set(tps) & self.assignment()))

    def resume(self, tps: Iterable[TopicPartition]) -> None:
        """Fetch `tps` again."""
        self._kafka.resume(*(set(tps) & self.assignment()))

    def pause_all(self) -> None:
        """Fetch nothing: polling goes on, and the group keeps this member."""
        self.pause(self.assignment())

    def resume_all(self) -> None:
        """Fetch again what is in hand and not plenty."""
        self.resume(self.assignment() - self.unclaimed - self.full - self.halted.keys())

    def seek(self, tp: TopicPartition, offset: int) -> bool:
        """Go on at `offset`; returns False when `tp` was revoked meanwhile."""
        try:
            self._kafka.seek(tp, offset)  # what lies before the log's begin is reset to its earliest record
        except IllegalStateError:
            return False
        return True

    async def position(self, tp: TopicPartition) -> int | None:
        """The next record that aiokafka will bring; None while it does not know."""
        try:
            async with asyncio.timeout(POSITION_SECONDS):
                position: int = await self._kafka.position(tp)
        except (KafkaError, TimeoutError):
            return None  # revoked, or on its way to another place
        return position

    async def begins(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The first records there are; empty when Kafka does not say."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                begins: dict[TopicPartition, int] = await self._kafka.beginning_offsets(list(tps))
        except (KafkaError, TimeoutError) as error:
            _log.warning("begins not known", error=repr(error))
            return {}
        return begins

    async def ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int] | None:
        """Where `tps` end; of none, whether Kafka is there. None when it does not answer."""
        ends: dict[TopicPartition, int] = {}
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if tps:
                    ends = await self._kafka.end_offsets(list(tps))
                else:
                    await self._kafka.topics()
        except (KafkaError, TimeoutError) as error:
            _log.debug("ends not known", error=repr(error))
            return None
        return ends

    async def commit(self, offsets: dict[TopicPartition, int]) -> bool:
        """Tell Kafka, once: during a rebalance it refuses, and while it is away nobody needs to know."""
        mine = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        if not mine:
            return True
        begun = self._committing is None
        if self._committing is None:  # one that is cut off leaves an error behind that nobody retrieves
            self._committing = asyncio.create_task(self._kafka.commit(mine))
        done, _ = await asyncio.wait({self._committing}, timeout=CLOSE_SECONDS)
        if not done:
            return False
        self._committing = None
        error = done.pop().exception()
        if error is not None and not isinstance(error, KafkaError):
            raise error
        if error is not None:
            _log.debug("offsets not committed", error=repr(error))
        return begun and error is None
