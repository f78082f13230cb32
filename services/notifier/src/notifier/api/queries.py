"""What did I miss, and how many watch."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query
from pydantic_core import from_json

from chassis.errors import NotFound
from chassis.http import CallerDep, Page, TxDep, TxRouter
from chassis.http.paging import LIMIT_DEFAULT, Limit, Order
from contracts.values import ObjectIdStr
from notifier import store
from notifier.domain.pushes import Notification

SEQ_MAX = 2**53  # the largest integer that JavaScript counts to

router = TxRouter(tags=["realtime"])


@dataclass(frozen=True, slots=True)
class NotificationView:
    """A push on the caller's own channel, with its data whole."""

    name: str
    seq: int
    data: dict[str, Any]


class SessionNotFound(NotFound, slug="session-not-found"):
    """There is no such session."""


@dataclass(frozen=True, slots=True)
class ViewersView:
    """How many watch a session: all of them, and by what they watch."""

    viewers: int
    preview: int
    sd: int


@router.get("/sessions/{session_id}/viewers/count", refuses=(SessionNotFound,))
async def count_viewers(
    session_id: ObjectIdStr,
    caller: CallerDep,  # noqa: ARG001 - any signed-in user
    tx: TxDep,
) -> ViewersView:
    """How many watch now, as of some seconds ago; of a session that is over, nobody."""
    head_count = await tx.get(store.HEAD_COUNTS, session_id)
    if head_count is None:
        raise SessionNotFound
    return ViewersView(head_count.preview + head_count.sd, head_count.preview, head_count.sd)


@router.get("/notifications", operation_id="listNotifications")
async def notifications(
    caller: CallerDep,
    tx: TxDep,
    after: Annotated[int | None, Query(ge=0, le=SEQ_MAX, description="`seq` of the last one seen, or `next`")] = None,
    limit: Limit = LIMIT_DEFAULT,
    order: Order = "asc",
) -> Page[NotificationView]:
    """What was pushed on the caller's own channel after `seq`; kept for seven days."""
    direction, later = (1, "$gt") if order == "asc" else (-1, "$lt")
    where = {"user_id": caller.user_id} | ({} if after is None else {"seq": {later: after}})
    found = await tx.find(store.NOTIFICATIONS, where, sort={"seq": direction}, limit=limit + 1)
    shown = found[:limit]
    last = shown[-1].seq if shown else after
    cursor = None if last is None else str(last)
    return Page(
        [_view(notification) for notification in shown], next=cursor if len(found) > limit else None, last=cursor
    )


def _view(notification: Notification) -> NotificationView:
    return NotificationView(notification.name, notification.seq, from_json(notification.data))
