"""What Pusher's clients ask: may I listen, and what did I miss."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from pydantic_core import from_json

from chassis.errors import Forbidden
from chassis.http import FORM, Body, CallerDep, Page, TxDep, TxRouter
from chassis.tx import Tx
from notifier import gateway, store
from notifier.domain.channels import Channel, channel_of
from notifier.domain.pushes import Notification
from notifier.gateway import Authorization, MemberAuthorization
from notifier.settings import Settings

LIMIT_MAX = 100  # SPEC §2
LIMIT_DEFAULT = 50
SEQ_MAX = 2**53  # the largest integer that JavaScript counts to

router = TxRouter(tags=["realtime"])


class ChannelForbidden(Forbidden, slug="channel-forbidden"):
    """The caller does not belong on this channel, or there is no such channel."""


class Subscription(Body, extra="ignore"):
    """A client that wants to listen to a channel, as Pusher's libraries send it, with whatever an app adds."""

    socket_id: Annotated[str, Field(pattern=r"^[0-9]{1,20}\.[0-9]{1,20}$", examples=["1234.5678"])]
    channel_name: Annotated[str, Field(examples=["presence-stream@67ff21fdb2535a8b5301708f"])]


@dataclass(frozen=True, slots=True)
class NotificationView:
    """A push on the caller's own channel, with its data whole."""

    name: str
    seq: int
    data: dict[str, Any]


@router.post("/pusher/auth", refuses=(ChannelForbidden,))
async def authorize_channel(
    body: Annotated[Subscription, FORM], caller: CallerDep, tx: TxDep
) -> Authorization | MemberAuthorization:
    """Let the caller listen to one channel, for as long as the connection lasts."""
    channel = channel_of(body.channel_name)
    if channel is None or not await _belongs(caller.user_id, channel, tx):
        raise ChannelForbidden
    return gateway.authorize(tx.settings(Settings), body.socket_id, channel, caller.user_id)


@router.get("/notifications")
async def notifications(
    caller: CallerDep,
    tx: TxDep,
    after: Annotated[int, Query(ge=0, le=SEQ_MAX, description="`seq` of the last one seen, or `next`")] = 0,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many items at most")] = LIMIT_DEFAULT,
) -> Page[NotificationView]:
    """What was pushed on the caller's own channel after `seq`, newest last; kept for seven days."""
    where = {"user_id": caller.user_id, "seq": {"$gt": after}}
    found = await tx.find(store.NOTIFICATIONS, where, sort={"seq": 1}, limit=limit + 1)
    shown = found[:limit]
    following = str(shown[-1].seq) if len(found) > limit else None
    return Page(items=[_view(notification) for notification in shown], next=following)


async def _belongs(user_id: str, channel: Channel, tx: Tx) -> bool:
    if channel.kind == "private-user":
        return user_id == channel.owner_id
    if channel.viewer_id not in (None, user_id) or await store.is_blocked(tx, channel.owner_id, user_id):
        return False
    return channel.preset != "sd" or await store.may_watch_paid(tx, channel.owner_id, user_id)


def _view(notification: Notification) -> NotificationView:
    return NotificationView(notification.name, notification.seq, from_json(notification.data))
