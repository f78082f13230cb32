"""Gifts over HTTP (SPEC §8)."""

from typing import Annotated

from fastapi import Path
from pydantic import Field

from chassis import ids
from chassis.errors import NotYet
from chassis.http import Body, CallerDep, Page, PageDep, TxDep, TxRouter, paged
from contracts.values import GIFTS_MAX, Diamonds, ObjectIdStr, ProductId
from shop import store
from shop.domain import gifts
from shop.domain.gifts import Gift, GiftNotFound, Status, Wish
from shop.domain.products import GIFT_BY_ID, ProductNotFound
from shop.domain.projection import block_id
from shop.settings import ShopSettings

router = TxRouter(tags=["gifts"])


class NewGift(Body):
    """What to give, where, for which goal, how many, and what it may cost at most."""

    product_id: ProductId
    session_id: ObjectIdStr
    goal_id: ObjectIdStr | None = None
    count: Annotated[int, Field(ge=1, le=GIFTS_MAX)]
    max_amount_diamonds: Diamonds | None = None


class RequestedGift(Body):
    """The gift to follow, and what it costs."""

    gift_id: str
    amount_diamonds: int


class GiftView(Body):
    """A gift, what it cost and what became of it."""

    gift_id: str
    session_id: str
    goal_id: str | None
    product_id: str
    count: int
    status: Status
    amount_diamonds: int
    reason: str | None


@router.post(
    "/gifts",
    operation_id="giveGift",
    status_code=202,
    group_commit=True,
    refuses=(
        ProductNotFound,
        gifts.SessionNotFound,
        gifts.GoalNotFound,
        gifts.TicketWithoutGoal,
        gifts.OwnSession,
        gifts.BlockedByStreamer,
        gifts.SessionOver,
        gifts.ExclusiveToAnother,
        gifts.OtherSession,
        gifts.GoalOver,
        gifts.NotAShow,
        gifts.OtherTicket,
        gifts.NotATicket,
        gifts.NeedsAPerformance,
        gifts.SessionExclusive,
        gifts.TakesNoGifts,
        gifts.PriceChanged,
    ),
)
async def give(body: NewGift, caller: CallerDep, tx: TxDep) -> RequestedGift:
    """Give something. Whether it is paid and counts is for escrow and goals to say; follow it by its id."""
    product = GIFT_BY_ID.get(body.product_id)
    if product is None:
        raise ProductNotFound
    gifts.require_goal_of_ticket(product, body.goal_id)
    session = await tx.get(store.SESSIONS, body.session_id)
    if session is None:
        raise NotYet("session")
    block = await tx.get(store.BLOCKS, block_id(session.streamer_id, caller.user_id))
    gifts.require_welcome(caller.user_id, session, blocked=block is not None)
    goal = await tx.get(store.GOALS, body.goal_id) if body.goal_id else None
    if body.goal_id and goal is None:
        raise NotYet("goal")
    wish = Wish(ids.new_id(), caller.user_id, product, body.count, body.max_amount_diamonds)
    gift, requested = gifts.request(wish, session, goal, tx.settings(ShopSettings).timing, tx.now)
    tx.insert(store.GIFTS, gift)  # only inserts: sales must not wait for each other
    tx.emit(requested)
    return RequestedGift(gift_id=gift.id, amount_diamonds=gift.amount_diamonds)


@router.get("/gifts")
async def list_gifts(caller: CallerDep, wanted: PageDep, tx: TxDep) -> Page[GiftView]:
    """What the caller has given, or tried to, what it cost and what became of it."""
    return await paged(tx, store.GIFTS, {"sender_id": caller.user_id}, wanted, _view)


@router.get("/gifts/{gift_id}", refuses=(GiftNotFound,))
async def read_gift(
    gift_id: Annotated[ObjectIdStr, Path(description="The gift")], caller: CallerDep, tx: TxDep
) -> GiftView:
    """What became of the caller's gift. To others it does not exist."""
    gift: Gift | None = await tx.get(store.GIFTS, gift_id)
    if gift is None or gift.sender_id != caller.user_id:
        raise GiftNotFound
    return _view(gift)


def _view(gift: Gift) -> GiftView:
    status, reason = gift.outcome
    return GiftView(
        gift_id=gift.id,
        session_id=gift.session_id,
        goal_id=gift.goal_id,
        product_id=gift.product_id,
        count=gift.count,
        status=status,
        amount_diamonds=gift.amount_diamonds,
        reason=reason,
    )
