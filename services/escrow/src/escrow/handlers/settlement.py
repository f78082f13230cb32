"""Released or refunded, slice by slice."""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from chassis.storage.tx import Tx
from escrow import store
from escrow.domain import blocks, settlement
from escrow.domain.blocks import BlockRefundDue, block_id
from escrow.domain.escrows import Earning, Escrow
from escrow.domain.settlement import SettlementDue
from escrow.handlers.wallets import post_returned
from escrow.settings import Settings
from escrow.store import load


async def settle_slice(timer: SettlementDue, tx: Tx) -> None:
    """Settle the next slice of an escrow's earnings, and set the timer anew while there are more. Stops anywhere."""
    escrow = await tx.get(store.ESCROWS, timer.escrow_id)
    if escrow is None:
        return
    slice_max = tx.settings(Settings).settlement_slice
    earnings = await load.settle_run(tx, escrow.id, slice_max)
    if len(earnings) == slice_max:
        tx.set_timer(settlement.settlement_due(escrow, tx.now))
    await settle(tx, escrow, earnings)


async def refund_blocked_slice(timer: BlockRefundDue, tx: Tx) -> None:
    """Give back the next slice of what a blocked viewer has held with this streamer. Stops anywhere."""
    block = await tx.get(store.BLOCKS, block_id(timer.streamer_id, timer.viewer_id))
    if block is None:
        return
    slice_max = tx.settings(Settings).settlement_slice
    earnings = await load.held_before_block(tx, block, slice_max)
    if len(earnings) == slice_max:
        tx.set_timer(blocks.refund_due(block, tx.now))
    escrows = await tx.get_many(store.ESCROWS, (earning.escrow_id for earning in earnings))
    for escrow_id, part in groupby(sorted(earnings, key=attrgetter("escrow_id", "id")), attrgetter("escrow_id")):
        await settle(tx, escrows[escrow_id], tuple(part))


async def settle(tx: Tx, escrow: Escrow, earnings: Iterable[Earning]) -> None:
    """Settle those of `earnings`, all of this escrow, of which enough is known."""
    of = tuple(earnings)
    buyers = await tx.get_many(store.BLOCKS, (block_id(one.streamer_id, one.buyer_id) for one in of))
    settled = settlement.settle(escrow, of, buyers, share=tx.settings(Settings).platform_share, now=tx.now)
    await post_returned(tx, settled.transfers)  # an earning and its transfers change together: it was held
    for earning in settled.earnings:
        tx.put(store.EARNINGS, earning)
    tx.put(store.ESCROWS, settled.escrow)
    for event in settled.events:
        tx.emit(event)
