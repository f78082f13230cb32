"""What may be seen by whoever is signed in."""

from typing import Annotated

from fastapi import Query

from chassis.http import CallerDep, Page, PageDep, TxDep, TxRouter, invalid, paged
from contracts.values import ObjectIdStr
from sessions import store
from sessions.api.views import (
    BlockView,
    PaymentView,
    SessionLineView,
    SessionView,
    block_view,
    line_of,
    payment_view,
    view_of,
)
from sessions.domain import payments
from sessions.domain import session as domain
from sessions.store import load

router = TxRouter(tags=["sessions"])


@router.get("/sessions")
async def list_sessions(
    caller: CallerDep,  # noqa: ARG001 - any signed-in user
    wanted: PageDep,
    tx: TxDep,
    active: Annotated[bool | None, Query(description="Those on air (the default), or those that are over")] = None,
    streamer_id: Annotated[ObjectIdStr | None, Query(description="All of this streamer's, by their start")] = None,
) -> Page[SessionLineView]:
    """The most watched first, those alike by their start; or what a streamer has made so far."""
    if streamer_id is not None:
        either = [{"streamer_id": streamer_id, "active": one} for one in (True, False) if active in (None, one)]
        page = await paged(tx, store.HEAD_COUNTS, either, wanted, lambda head_count: head_count.id)
    elif wanted.newest_first:
        raise invalid("order", "the most watched are first; `desc` goes with `streamer_id`")
    else:
        where = {"active": active is not False}
        page = await paged(tx, store.HEAD_COUNTS, where, wanted, lambda head_count: head_count.id, by="rank")
    sessions = await load.listed(tx, page.items)
    lines = [line_of(sessions[session_id], tx.now) for session_id in page.items]
    return Page(lines, page.next, page.last)


@router.get("/sessions/{session_id}", refuses=(domain.SessionNotFound,))
async def get_session(session_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> SessionView:
    """One session, also after its end."""
    return view_of(await load.session(tx, session_id), caller, tx.now)


@router.get("/payments")
async def list_payments(caller: CallerDep, wanted: PageDep, tx: TxDep) -> Page[PaymentView]:
    """The minutes that the caller has paid for, or tried to, what they cost and what became of them."""
    return await paged(tx, store.PAYMENTS, {"payer_id": caller.user_id}, wanted, payment_view)


@router.get("/blocks", scope="CREATOR")
async def list_blocks(caller: CallerDep, wanted: PageDep, tx: TxDep) -> Page[BlockView]:
    """Whom the caller blocks."""
    return await paged(tx, store.BLOCKS, {"streamer_id": caller.user_id}, wanted, block_view, by="at")


@router.get("/payments/{payment_id}", refuses=(payments.PaymentNotFound,))
async def get_payment(payment_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> PaymentView:
    """What became of one of the caller's payments."""
    payment = await load.payment(tx, payment_id)
    if payment.payer_id != caller.user_id:
        raise payments.PaymentNotFound
    return payment_view(payment)
