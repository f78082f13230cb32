"""Money that waits for a promise, goals' answer to it, and whoever is blocked."""

from chassis.errors import NotYet
from chassis.storage.tx import Tx
from contracts import (
    GiftRequestedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalProgressedV1,
    GoalProposedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from contracts.event import SessionEvent
from escrow import store
from escrow.domain import blocks, holds, payments, settlement, verdicts
from escrow.domain.blocks import block_id
from escrow.domain.holds import HoldRequest
from escrow.handlers.payments import charge
from escrow.handlers.settlement import settle
from escrow.store import accounts, load


async def remember_promise(event: GoalCreatedV1, tx: Tx) -> None:
    """A promise is made: from now on its escrow can be looked at, also before anybody paid."""
    escrow_id = verdicts.escrow_of_goal(event)
    if escrow_id is not None:
        tx.put(store.ESCROWS, await load.escrow(tx, escrow_id, event))


async def hold_invitation_price(event: GoalProposedV1, tx: Tx) -> None:
    """Take an invitation's price out of the viewer's wallet, or say why not."""
    await _hold(tx, holds.request_of_proposal(event), event)


async def hold_or_charge_gift(event: GiftRequestedV1, tx: Tx) -> None:
    """A gift's money: held for the promise it is given for, or paid to the streamer at once."""
    request = holds.request_of_gift(event)
    if request is not None:
        await _hold(tx, request, event)
    else:
        await charge(tx, payments.payment_of_gift(event))


async def _hold(tx: Tx, request: HoldRequest, event: SessionEvent) -> None:
    if await tx.get(store.EARNINGS, request.earning_id) is not None:
        return
    escrow = await load.escrow(tx, request.escrow_id, event)
    wallet = await accounts.wallet(tx, request.buyer_id)
    block = await tx.get(store.BLOCKS, block_id(request.streamer_id, request.buyer_id))
    blocked, now = block is not None and block.blocked, blocks.held_at(block, tx.now)
    held = holds.hold(request, escrow, wallet.balance_diamonds if wallet else 0, blocked=blocked, now=now)
    await accounts.post(tx, held.transfers)
    tx.put(store.EARNINGS, held.earning)
    if held.escrow is not None:  # a refused hold leaves nothing that stays
        tx.put(store.ESCROWS, held.escrow)
    tx.emit(held.event)


async def accept_earning(event: GoalProgressedV1, tx: Tx) -> None:
    """Goals counts this hold."""
    await _answer(tx, event, accepted=True)


async def refund_rejected_earning(event: GoalContributionRejectedV1, tx: Tx) -> None:
    """Goals does not count this hold: its buyer has the money back at once, whatever the verdict."""
    await _answer(tx, event, accepted=False)


async def _answer(tx: Tx, event: GoalProgressedV1 | GoalContributionRejectedV1, *, accepted: bool) -> None:
    """Each hold is answered after it was committed: here one is found that has overtaken a block."""
    earning = await tx.get(store.EARNINGS, event.earning_id)
    if earning is None:
        raise NotYet("earning")
    answered = settlement.answered(earning, accepted=accepted)
    tx.put(store.EARNINGS, answered)
    await settle(tx, await load.escrow(tx, earning.escrow_id, event), (answered,))


async def refund_blocked_viewer(event: ViewerBlockedV1, tx: Tx) -> None:
    """A streamer blocks a viewer: what they have held with this streamer goes back, and nothing more is held."""
    known = await tx.get(store.BLOCKS, block_id(event.streamer_id, event.viewer_id))
    tx.apply(store.BLOCKS, blocks.block(known, event.streamer_id, event.viewer_id, at=tx.cause.at, now=tx.now))


async def unblock_viewer(event: ViewerUnblockedV1, tx: Tx) -> None:
    """A streamer takes a block back: what is held from now on is held. Nothing comes back."""
    known = await tx.get(store.BLOCKS, block_id(event.streamer_id, event.viewer_id))
    tx.apply(store.BLOCKS, blocks.unblock(known, at=tx.cause.at))
