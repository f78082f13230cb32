"""What may be seen by whoever is signed in."""

from typing import Annotated

from fastapi import Query

from chassis.http import CallerDep, Page, PageDep, TxDep, TxRouter, paged
from contracts.values import ObjectIdStr
from sessions import store
from sessions.api.views import PaymentView, SessionLineView, SessionView, line_of, payment_view, view_of
from sessions.domain import payments
from sessions.domain import session as domain
from sessions.domain.session import HeadCount
from sessions.store import load

router = TxRouter(tags=["sessions"])


@router.get("/sessions")
async def list_sessions(
    caller: CallerDep,  # noqa: ARG001 - any signed-in user
    wanted: PageDep,
    tx: TxDep,
    active: Annotated[bool, Query(description="Those on air, or those that are over")] = True,  # noqa: FBT002 - a query parameter has a name
) -> Page[SessionLineView]:
    """The most watched first, those alike by their start."""
    page = await paged(tx, store.HEAD_COUNTS, {"active": active}, wanted, _session_id, by="rank")
    sessions = await load.listed(tx, page.items)
    return Page([line_of(sessions[session_id], tx.now) for session_id in page.items], page.next)


@router.get("/sessions/{session_id}", refuses=(domain.SessionNotFound,))
async def get_session(session_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> SessionView:
    """One session, also after its end."""
    return view_of(await load.session(tx, session_id), caller, tx.now)


@router.get("/payments/{payment_id}", refuses=(payments.PaymentNotFound,))
async def get_payment(payment_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> PaymentView:
    """What became of one of the caller's payments."""
    payment = await load.payment(tx, payment_id)
    if payment.payer_id != caller.user_id:
        raise payments.PaymentNotFound
    return payment_view(payment)


def _session_id(head_count: HeadCount) -> str:
    return head_count.id
