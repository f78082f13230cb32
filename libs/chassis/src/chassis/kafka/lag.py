"""Lag: how far the owned partitions are behind their ends, and for how long nothing was done about it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from chassis.clock import Clock
from chassis.errors import StuckError
from chassis.kafka.group_member import GroupMember
from chassis.kafka.ownership import PartitionOwnership
from chassis.runtime import metrics

ENDS_SECONDS = 3.0  # how often the ends of the partitions are asked for: a dead fetcher would not tell
SILENT_SECONDS = 7.0  # without an answer of Kafka, which is asked all the time: heartbeats would notice later


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
    silent_seconds: float = 0.0
    """How long Kafka has not answered."""
    idle_seconds_max: float = 30.0
    """How long it may be behind and do nothing."""
    unreadable: Sequence[str] = ()
    """The partitions that it cannot claim, because nobody can read their positions."""

    halted_partitions: Mapping[str, str] = field(default_factory=dict)
    """The partitions of which it handles nothing until somebody has decided, and why."""

    @property
    def trouble(self) -> str | None:
        """Why it is not ready, if it is not: readiness means progress."""
        if self.halted:
            return self.halted
        if stuck := dict.fromkeys(self.unreadable, "its position cannot be read") | dict(self.halted_partitions):
            return "; ".join(f"{id_} is halted: {why}" for id_, why in stuck.items())
        if not self.joined:
            return "not a member of the consumer group"
        if self.silent_seconds > SILENT_SECONDS:
            return f"Kafka has not answered for {self.silent_seconds:.0f} s"
        if self.lag and self.idle_seconds > self.idle_seconds_max:
            return f"{self.lag} messages behind and nothing done for {self.idle_seconds:.0f} s"
        return None


class Lag:
    """What is known of the ends of a member's partitions."""

    def __init__(self, member: GroupMember, ownership: PartitionOwnership, clock: Clock) -> None:
        """Nothing is known yet."""
        self.ends: dict[TopicPartition, int] = {}
        self._member = member
        self._ownership = ownership
        self._clock = clock
        self._ends_at = float("-inf")
        self._answered_at = float("inf")
        self._behind_since: float | None = None

    @property
    def messages(self) -> int:
        """How many there are to handle."""
        return sum(self._of_each().values())

    @property
    def idle_seconds(self) -> float:
        """How long there was something to handle and nothing was done."""
        return 0.0 if self._behind_since is None else max(0.0, self._ends_at - self._behind_since)

    @property
    def silent_seconds(self) -> float:
        """How long Kafka has not answered."""
        return max(0.0, self._clock.monotonic() - self._answered_at)

    def joined(self) -> None:
        """Kafka has answered."""
        self._answered_at = self._clock.monotonic()

    async def look(self, tps: Collection[TopicPartition]) -> bool:
        """Ask, if it is time to, how far there is to go; returns whether it was."""
        if self._clock.monotonic() - (self._ends_at if tps else self._answered_at) <= ENDS_SECONDS:
            return False
        await self.ask(tps)
        return True

    async def ask(self, tps: Collection[TopicPartition]) -> None:
        """Ask how far there is to go; with no partitions in hand, whether Kafka is there."""
        ends = await self._member.ends(tps)
        if ends is None:
            return
        self._answered_at = self._clock.monotonic()
        if tps:
            self.ends |= ends
            self._ends_at = self._answered_at
        by_topic: dict[str, int] = dict.fromkeys(self._member.topics.values(), 0)
        for tp, lag in self._of_each().items():
            by_topic[self._member.topics[tp.topic]] += lag
        for topic, lag in by_topic.items():
            metrics.CONSUMER_LAG.labels(topic).set(lag)

    def watch(self, seconds_max: float) -> None:
        """A fetcher may die without a word, and a handler may hang. While Kafka is away, nobody knows of a lag.

        Raises:
            StuckError: for so long nothing was done although there is something to do.
        """
        lag = self.messages
        if not lag:
            self._behind_since = None
            return
        self._behind_since = max(self._behind_since or self._ends_at, self._ownership.alive_at)
        seconds = self._ends_at - self._behind_since
        if seconds > seconds_max:
            raise StuckError(f"{lag} messages to handle and nothing done for {seconds:.0f} s")

    def _of_each(self) -> dict[TopicPartition, int]:
        lags = {}
        for owned in self._ownership.owned.values():
            tp = self._member.topic_partition(owned.partition)
            lags[tp] = max(0, self.ends.get(tp, owned.next) - owned.next)
        return lags
