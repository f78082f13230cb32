"""The publisher: puts rows of the outbox on their partitions. Each partition keeps its order, and fails alone.

One batch of a partition is under way at a time. What has failed for whatever reason but a refusal is sent again as it
was, bytes and numbers, so that the broker knows it should it have taken it already; nothing of its partition goes
before it. Until then the partition rests, longer each time, and is tried on a connection of its own: a broker answers
what comes on one connection in turn.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import (
    KafkaConnectionError,
    LeaderNotAvailableError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import TopicPartition

from chassis.clock import Clock
from chassis.kafka.client import close_client, open_client
from chassis.kafka.produce import Numbers, Producer, new_producer, produce
from chassis.outbox.model import OutboxRow, hash_of
from chassis.outbox.partition_queue import FORGOTTEN, REFUSED, TOPIC_AWAY, PartitionQueue, next_batch
from chassis.runtime import metrics
from chassis.runtime.backoff import wait_seconds
from chassis.runtime.logs import reason
from chassis.runtime.settings import ChassisSettings

TOPIC_SECONDS = 0.5  # for the broker to say that a topic is there
TOPIC_SECONDS_MAX = 8.0  # for one that takes longer to say anything: it is slow, and not away
TOPIC_ASK_SECONDS = 0.05
TOPIC_AWAY_SECONDS = 5.0  # before a topic that is not is looked for again
REST_FIRST_SECONDS = 0.1
REST_SECONDS_MAX = 3.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcome:
    """What became of rows since it was last asked."""

    acknowledged: list[OutboxRow] = field(default_factory=list)
    refused: list[tuple[OutboxRow, Exception]] = field(default_factory=list)
    """What the broker will never take. Nothing of its key was sent behind it."""


class Publisher:
    """Puts rows on the partitions of one cluster."""

    def __init__(self, settings: ChassisSettings, clock: Clock, answered: Callable[[], None]) -> None:
        """Connect when there is something to send; call `answered` when one has come that `send` has not waited for."""
        self._settings = settings
        self._clock = clock
        self._answered = answered
        self._client: AIOKafkaClient | None = None
        self._producer: Producer | None = None
        self._queues: dict[TopicPartition, PartitionQueue] = {}
        self._topics_away: dict[str, float] = {}
        self._topic_seconds = TOPIC_SECONDS
        self._sending: dict[asyncio.Task[None], Sequence[PartitionQueue]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._lost = False
        self._outcome = Outcome()

    # -- for the relay ---------------------------------------------------------------------------------------------

    @property
    def topics_away(self) -> list[str]:
        """Topics that are missing, or that we may not write to, and that are not looked for yet."""
        now = self._clock.monotonic()
        return [topic for topic, until in self._topics_away.items() if until > now]

    @property
    def partitions_away(self) -> list[str]:
        """Partitions that take nothing now: they rest, or what became of their rows was not taken yet."""
        now = self._clock.monotonic()
        return [queue.id for queue in self._queues.values() if queue.busy or queue.rests_until > now]

    def seconds_left(self, looked_at: float) -> float:
        """Until the first of the partitions may be tried that rested at `looked_at` or later; infinite without any.

        Not that rest now: a rest that has ended since would be waited out with the next poll.
        """
        rests = (queue.rests_until for queue in self._queues.values() if queue.rests_until > looked_at)
        return min(rests, default=float("inf")) - self._clock.monotonic()

    async def send(self, rows: Sequence[OutboxRow], *, seconds_max: float) -> bool:
        """Send `rows`, which are in order, as far as their partitions take anything now; returns whether any does.

        It waits until all of them have answered, but no longer than `seconds_max`: the rest is `partitions_away`.

        Raises:
            KafkaError, TimeoutError: no broker answers.
        """
        client = await self._connected()
        tasks = []
        for (node, failed), queues in self._by_leader(client, await self._by_partition(client, rows)).items():
            group = ConnectionGroup.COORDINATION if failed else ConnectionGroup.DEFAULT
            for queue in queues:
                queue.busy = True
            task = asyncio.create_task(self._serve(client, node, queues, group))
            self._sending[task] = queues
            tasks.append(task)
        await self.wait(seconds_max, tasks)
        for task in tasks:
            if not task.done():  # of what is done, whoever called takes the outcome without being told
                task.add_done_callback(lambda _: self._answered())
        return bool(tasks)

    async def wait(self, seconds_max: float, tasks: Sequence["asyncio.Task[None]"] | None = None) -> None:
        """Wait for what was sent to be answered, but no longer than `seconds_max`."""
        if waited_for := list(self._sending) if tasks is None else tasks:
            await asyncio.wait(waited_for, timeout=seconds_max)

    def take(self) -> Outcome:
        """What became of the rows that were sent, since this was last asked. Their partitions take more from now on:
        whoever reads rows again has to delete, or pass over, what was acknowledged.
        """
        for task in [task for task in self._sending if task.done()]:
            for queue in self._sending.pop(task):
                queue.busy = False
            task.result()
        outcome, self._outcome = self._outcome, Outcome()
        return outcome

    async def close(self) -> None:
        """Give up whatever was not answered. What rests is sent again as it was, once there is a broker."""
        client, self._client = self._client, None
        ending = [task for task in (*self._sending, self._looking) if task is not None]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        for queue in self._queues.values():
            queue.busy = False
        self._sending.clear()
        if client is not None:
            await close_client(client)

    # -- inside: where to ------------------------------------------------------------------------------------------

    async def _connected(self) -> AIOKafkaClient:
        if self._lost and not self._sending:
            await self.close()
        if self._client is None:
            self._client = await open_client(self._settings)
            self._lost = False
            for queue in self._queues.values():
                queue.rests_until = 0.0
        if self._producer is None:
            self._producer = await new_producer(self._client)
        return self._client

    async def _by_partition(
        self, client: AIOKafkaClient, rows: Sequence[OutboxRow]
    ) -> dict[PartitionQueue, list[OutboxRow]]:
        """What there is to do for each partition that takes anything now, in order."""
        counts = {topic: await self._partitions(client, topic) for topic in dict.fromkeys(row.topic for row in rows)}
        now = self._clock.monotonic()
        by_partition: dict[PartitionQueue, list[OutboxRow]] = defaultdict(list)
        for row in rows:
            if count := counts[row.topic]:
                at = TopicPartition(self._settings.scoped(row.topic), hash_of(row.key) % count)
                queue = self._queues.get(at)
                if queue is None:
                    queue = self._queues[at] = PartitionQueue(row.topic, at)
                if not queue.busy and queue.rests_until <= now:
                    by_partition[queue].append(row)
        return by_partition

    def _by_leader(
        self, client: AIOKafkaClient, by_partition: dict[PartitionQueue, list[OutboxRow]]
    ) -> dict[tuple[int, bool], list[PartitionQueue]]:
        """Partitions by their broker, those that have failed apart: whatever holds them up shall hold up no other."""
        by_leader: dict[tuple[int, bool], list[PartitionQueue]] = defaultdict(list)
        for queue, rows in by_partition.items():
            sent = {row.id for row in queue.batch.rows} if queue.batch else ()
            queue.todo = deque([[row for row in rows if row.id not in sent] if sent else rows])
            if queue.numbers is None and self._producer is not None:
                queue.numbers = Numbers(self._producer)
            leader = client.cluster.leader_for_partition(queue.at)
            if leader is None or leader < 0:
                self._fail(queue, LeaderNotAvailableError())
            else:
                by_leader[leader, queue.failures > 0].append(queue)
        return by_leader

    async def _partitions(self, client: AIOKafkaClient, topic: str) -> int | None:
        """How many partitions `topic` has; None while it is away.

        Raises:
            KafkaConnectionError: no broker answers.
        """
        if self._topics_away.get(topic, 0.0) > self._clock.monotonic():
            return None
        name, answered = self._settings.scoped(topic), False
        client.add_topic(name)
        now = asyncio.get_running_loop().time
        began = now()
        try:
            async with asyncio.timeout(self._topic_seconds) as deadline:
                while not (found := client.cluster.partitions_for_topic(name)):
                    if await client.force_metadata_update() and not answered:
                        answered = True
                        self._topic_seconds = min(TOPIC_SECONDS_MAX, max(TOPIC_SECONDS, 2 * (now() - began)))
                        deadline.reschedule(now() + TOPIC_SECONDS)
                    if name in client.cluster.unauthorized_topics:
                        self._topic_away(topic, TopicAuthorizationFailedError(name))
                        return None
                    await asyncio.sleep(TOPIC_ASK_SECONDS)
        except TimeoutError:
            if not answered:
                self._topic_seconds = min(TOPIC_SECONDS_MAX, 2 * self._topic_seconds)
                self._lost = True
                raise KafkaConnectionError("no broker answers") from None
            self._topic_away(topic, UnknownTopicOrPartitionError(name))
            return None
        if self._topics_away.pop(topic, None):
            _log.info("topic back", topic=topic)
            metrics.OUTBOX_TOPICS_AWAY.labels(topic).set(0)
        return len(found)

    def _topic_away(self, topic: str, error: Exception) -> None:
        """Let the rows of a topic wait, with an alarm that names it."""
        if topic not in self._topics_away:
            _log.error("topic away, its events wait", topic=topic, error=reason(error))
        metrics.OUTBOX_TOPICS_AWAY.labels(topic).set(1)
        self._topics_away[topic] = self._clock.monotonic() + TOPIC_AWAY_SECONDS

    # -- inside: one broker ----------------------------------------------------------------------------------------

    async def _serve(
        self, client: AIOKafkaClient, node: int, queues: Sequence[PartitionQueue], group: ConnectionGroup
    ) -> None:
        """Send what there is to do for `queues`, all led by broker `node`, a batch of each at a time."""
        left = queues
        while left := [queue for queue in left if queue.batch or any(queue.todo)]:
            batches = {queue.at: queue.batch or next_batch(queue) for queue in left}
            said = await produce(client, node, batches, group)
            left = [queue for queue in left if self._settle(queue, said[queue.at])]

    def _settle(self, queue: PartitionQueue, error: Exception | None) -> bool:
        """Draw the consequences of what the broker says of a partition's batch; returns whether to go on with it."""
        if error is not None and not isinstance(error, REFUSED):
            self._fail(queue, error)
            return False
        batch, queue.batch = queue.batch, None
        if batch is None or queue.numbers is None:
            return True
        if error is None:
            queue.numbers.advance(len(batch.rows))
            self._outcome.acknowledged += batch.rows
            metrics.OUTBOX_PUBLISHED.labels(queue.topic).inc(len(batch.rows))
            self._recover(queue)
        elif len(batch.rows) > 1:  # which of them is it?
            middle = len(batch.rows) // 2
            queue.todo.extendleft((batch.rows[middle:], batch.rows[:middle]))
        else:
            [row] = batch.rows
            self._outcome.refused.append((row, error))
            queue.todo = deque([one for one in rows if one.key != row.key] for rows in queue.todo)
        return True

    def _fail(self, queue: PartitionQueue, error: Exception) -> None:
        """Let a partition rest."""
        queue.todo.clear()
        queue.failures += 1
        wait = wait_seconds(queue.failures - 1, first_seconds=REST_FIRST_SECONDS, seconds_max=REST_SECONDS_MAX)
        queue.rests_until = self._clock.monotonic() + wait
        metrics.OUTBOX_FAILURES.inc()
        if queue.failures == 1:
            _log.warning("partition away, its events wait", partition=queue.id, error=reason(error))
        if isinstance(error, FORGOTTEN):
            queue.numbers = queue.batch = self._producer = None
        if isinstance(error, TOPIC_AWAY):
            self._topic_away(queue.topic, error)
        self._count_away(queue.topic)
        if self._client is not None and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look(self._client))

    def _recover(self, queue: PartitionQueue) -> None:
        if queue.failures:
            _log.info("partition back", partition=queue.id, failures=queue.failures)
            queue.failures = 0
            self._count_away(queue.topic)

    def _count_away(self, topic: str) -> None:
        away = sum(queue.failures > 0 for queue in self._queues.values() if queue.topic == topic)
        metrics.OUTBOX_PARTITIONS_AWAY.labels(topic).set(away)

    async def _look(self, client: AIOKafkaClient) -> None:
        """Learn anew who leads what. When no broker answers, begin again with those of the settings."""
        if not await client.force_metadata_update() and client is self._client:
            self._lost = True
