"""Blocks: what a streamer's blocked viewer has held with them goes back, whatever the verdict (SPEC §5).

The order in which a block, a hold, its answer and a verdict are read makes no difference, but for one: what was
released before the block was read is the streamer's.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis.decision import At, Decision, Timer, derived_id
from escrow.domain.escrows import Earning

MILLISECOND = timedelta(milliseconds=1)  # the least that two moments differ by


class BlockRefundDue(Timer, name="block-refund-due"):
    """A viewer was blocked; the next slice of what they have held with this streamer is to go back."""

    streamer_id: str
    viewer_id: str


@dataclass(frozen=True, slots=True)
class Block:
    """Whether a viewer is blocked by a streamer, and what an earlier block has left to do. Kept after an unblocking."""

    id: str
    streamer_id: str
    viewer_id: str
    blocked: bool
    changed_at: datetime
    """When the streamer said so; what was said before it and is read again changes nothing."""
    read_at: datetime
    """When the last block was read. What was held until then goes back, also if there has been an unblocking since."""

    def concerns(self, earning: Earning) -> bool:
        """Whether this earning goes back, if it is not settled yet."""
        return self.blocked or earning.at <= self.read_at


def block_id(streamer_id: str, viewer_id: str) -> str:
    """The one block of this viewer by this streamer."""
    return derived_id("block", streamer_id, viewer_id)


def block(known: Block | None, streamer_id: str, viewer_id: str, *, at: datetime, now: datetime) -> Decision[Block]:
    """Blocked at `at`: hold nothing more, and give back what is held, slice by slice."""
    if known is not None and (known.blocked or at < known.changed_at):
        return Decision(None)
    blocked = Block(block_id(streamer_id, viewer_id), streamer_id, viewer_id, blocked=True, changed_at=at, read_at=now)
    return Decision(blocked, timers=(refund_due(blocked, now),))


def unblock(known: Block | None, *, at: datetime) -> Decision[Block]:
    """Unblocked at `at`: what is held from now on is held. Brings nothing back."""
    if known is None or not known.blocked or at < known.changed_at:
        return Decision(None)
    return Decision(replace(known, blocked=False, changed_at=at))


def held_at(known: Block | None, now: datetime) -> datetime:
    """When what is held now is held: later than any block that was read before it, in the same batch too."""
    return now if known is None else max(now, known.read_at + MILLISECOND)


def refund_due(blocked: Block, now: datetime) -> At:
    """Give back the next slice, now."""
    timer = BlockRefundDue(streamer_id=blocked.streamer_id, viewer_id=blocked.viewer_id)
    return At(timer, f"block-refund:{blocked.id}", now, blocked.streamer_id)
