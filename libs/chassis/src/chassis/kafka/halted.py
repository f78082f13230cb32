"""Halted partitions: nothing more of them is handled until somebody has decided, or the reason is gone.

Messages that Kafka has removed before they were handled, or a batch that is damaged: passing over that would be a loss
that nobody has agreed to. The other partitions go on; this one is tried again now and then.
"""

from collections import Counter

import structlog
from aiokafka import TopicPartition

from chassis.kafka.group_member import GroupMember
from chassis.kafka.ownership import PartitionOwnership
from chassis.kafka.poller import Poller
from chassis.kafka.rebalance import Rebalance
from chassis.runtime import metrics

_log = structlog.get_logger(__name__)


class HaltedPartitions:
    """Those of one member."""

    def __init__(
        self, member: GroupMember, ownership: PartitionOwnership, poller: Poller, rebalance: Rebalance
    ) -> None:
        """None yet."""
        self._member = member
        self._ownership = ownership
        self._poller = poller
        self._rebalance = rebalance
        self._tried: dict[TopicPartition, str] = {}
        self._at: dict[TopicPartition, int] = {}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each is halted, by the names that positions have."""
        both = self._tried | self._member.halted
        return {self._member.partition(tp).id: reason for tp, reason in sorted(both.items())}

    async def halt(self, tp: TopicPartition, reason: str) -> bool:
        """Handle nothing more of `tp`; returns whether that is news."""
        is_news = self._tried.pop(tp, None) != reason and self._member.halted.get(tp) != reason
        if is_news:
            _log.error("partition halted", position=self._member.partition(tp).id, reason=reason)
        self._member.halted[tp] = reason
        self._member.pause({tp})
        self._poller.forget(tp)
        owned = self._ownership.owned.pop(self._member.partition(tp).id, None)
        if owned is not None:
            self._at[tp] = owned.next
            await self._rebalance.hand_over([owned])
        self._measure()
        return is_news

    def try_again(self) -> None:
        """Claim them anew. What has got any further since it was tried the last time is halted no more."""
        assigned = self._member.assignment()
        for tp in list(self._tried):
            owned = self._ownership.owned.get(self._member.partition(tp).id)
            if tp not in assigned or (owned is not None and owned.next != self._at.get(tp)):
                _log.info("partition goes on", position=self._member.partition(tp).id, elsewhere=tp not in assigned)
                del self._tried[tp]
        again = {tp: reason for tp, reason in self._member.halted.items() if tp in assigned}
        self._member.halted.clear()
        self._tried |= again
        self._member.unclaimed |= again.keys()
        self._measure()

    def _measure(self) -> None:
        count = Counter(self._member.topics[tp.topic] for tp in self._tried | self._member.halted)
        for topic in self._member.topics.values():
            metrics.PARTITIONS_HALTED.labels(topic).set(count[topic])
