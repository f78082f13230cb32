"""The rebalance: what the group assigns is claimed and sought to, what it revokes is handed over.

Nothing is handled before it is claimed in the database, and claiming may take long: only the consumer's loop does it.
"""

import asyncio
from collections.abc import Iterable

import structlog
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

from chassis.kafka.group_member import CLOSE_SECONDS, REVOKE_SECONDS, GroupMember
from chassis.kafka.in_hand import InHand
from chassis.kafka.lag import Lag
from chassis.kafka.ownership import OwnedPartition, PartitionOwnership
from chassis.kafka.poller import Poller
from chassis.kafka.processor import ISOLATION_CRASHES, ISOLATION_RECORDS
from chassis.runtime import metrics
from chassis.storage.mongo import PyMongoError

_log = structlog.get_logger(__name__)


class Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """From what the group decides to what is in hand, and back."""

    def __init__(
        self, member: GroupMember, ownership: PartitionOwnership, poller: Poller, in_hand: InHand, lag: Lag
    ) -> None:
        """Nothing is assigned yet."""
        self.joined = False
        self.unreadable: set[TopicPartition] = set()
        """Partitions that cannot be claimed: nobody can read their positions."""
        self._member = member
        self._ownership = ownership
        self._poller = poller
        self._in_hand = in_hand
        self._lag = lag

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """After a rebalance: what is assigned waits to be claimed."""
        metrics.REBALANCES.inc()
        self.joined = True
        self._poller.forget()
        self._member.full = set()
        self.unreadable = set()
        self._member.unclaimed = set(assigned)
        self._member.pause(self._member.unclaimed)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Before a rebalance: begin nothing new, wait for what is in hand, and let others have everything."""
        if not revoked:
            return
        self.joined = False
        self.unreadable = set()
        self._member.unclaimed = set()
        self._poller.forget()
        owned = self._ownership.drop_all()
        in_hand = self._in_hand.task
        if in_hand is not None:
            await asyncio.wait({in_hand}, timeout=REVOKE_SECONDS)
        if in_hand is None or in_hand.done():
            owned += self._ownership.drop_all()  # claimed meanwhile
            if owned:
                await self.hand_over(owned)

    async def claim(self) -> None:
        """Claim what was assigned, or lost by mistake, and seek to where it is."""
        member = self._member
        wanted = member.unclaimed = member.unclaimed & member.assignment()
        if not wanted:
            return
        member.pause(wanted)
        owned = await self._in_hand.do(self._ownership.claim([member.partition(tp) for tp in wanted]))
        if not await self._poller.drain() or member.unclaimed is not wanted:  # begun before the seek, or
            await self._give_back()  # assigned anew meanwhile, or soon: what is claimed is claimed again
            return
        await self._isolate([one for one in owned if one.position.crash_count >= ISOLATION_CRASHES])
        for one in owned:
            self._seek(one)
        self.unreadable = (self.unreadable | wanted) - {member.topic_partition(one.partition) for one in owned}
        member.unclaimed = member.unclaimed - wanted
        _log.info("partitions claimed", positions={one.partition.id: one.next for one in owned})

    def claim_again(self, owned: Iterable[OwnedPartition]) -> None:
        """What was `owned` is claimed anew, if it is still assigned."""
        self._member.unclaimed |= {self._member.topic_partition(one.partition) for one in owned}

    async def hand_over(self, owned: list[OwnedPartition]) -> None:
        """Let others have `owned`, where it was left."""
        await self._member.commit({self._member.topic_partition(one.partition): one.next for one in owned})
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ownership.release(owned)
        except (PyMongoError, TimeoutError) as error:
            _log.warning("partitions not released", error=repr(error))

    def _seek(self, owned: OwnedPartition) -> None:
        tp = self._member.topic_partition(owned.partition)
        self._poller.forget(tp)
        if self._member.seek(tp, owned.next):
            self._member.resume({tp})
            self._ownership.take_in_hand(owned)

    async def _isolate(self, owned: list[OwnedPartition]) -> None:
        """Where processes have died, handle what was there by then apart. Where nothing was, nothing is suspect."""
        if not owned:
            return
        await self._lag.ask([self._member.topic_partition(one.partition) for one in owned])
        for one in owned:
            end = self._lag.ends.get(self._member.topic_partition(one.partition), one.next + ISOLATION_RECORDS)
            if end > one.next:
                one.isolated_until = min(end, one.next + ISOLATION_RECORDS)
                _log.warning("isolated: processes died here", position=one.partition.id, offset=one.next)

    async def _give_back(self) -> None:
        """Hand over what was claimed and is not ours any more: without a word, the next owner would count a crash."""
        assigned = {self._member.partition(tp).id for tp in self._member.assignment()}
        gone = [one for id_, one in self._ownership.claimed.items() if id_ not in assigned]
        for one in gone:
            del self._ownership.claimed[one.partition.id]
        if gone:
            await self.hand_over(gone)
