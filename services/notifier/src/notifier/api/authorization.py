"""May I listen: Pusher's clients ask, for a channel, for many, and for their connection."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from chassis.errors import Forbidden
from chassis.http import FORM, Body, CallerDep, TxDep, TxRouter
from chassis.storage.tx import Tx
from notifier import store
from notifier.domain import entitlement
from notifier.domain.channels import Channel, channel_of
from notifier.gateway import signatures
from notifier.gateway.channel_data import ChannelData
from notifier.gateway.signatures import Authorization, MemberAuthorization, UserAuthorization
from notifier.settings import Settings
from stream_tokens import StreamTokenSettings

BATCH_MAX = 50  # an app listens to a handful of channels of each stream that it shows; a page of streams is one call

SocketId = Annotated[str, Field(pattern=r"^[0-9]{1,20}\.[0-9]{1,20}$", examples=["1234.5678"])]

router = TxRouter(tags=["realtime"])


class ChannelForbidden(Forbidden, slug="channel-forbidden"):
    """The caller does not belong on this channel, or there is no such channel."""


class Subscription(Body, extra="ignore"):
    """A client that wants to listen to a channel, as Pusher's libraries send it, with whatever an app adds."""

    socket_id: SocketId
    channel_name: Annotated[str, Field(examples=["presence-stream@67ff21fdb2535a8b5301708f"])]


class Subscriptions(Body, extra="ignore"):
    """A client that wants to listen to several channels, as Pusher's libraries send it, with whatever an app adds."""

    socket_id: SocketId
    channel_names: Annotated[
        list[str],
        Field(
            alias="channel_name[]",
            min_length=1,
            max_length=BATCH_MAX,
            examples=[["presence-stream@67ff21fdb2535a8b5301708f"]],
        ),
    ]


class Connection(Body, extra="ignore"):
    """A client that wants Pusher to know whose it is, as Pusher's libraries send it, with whatever an app adds."""

    socket_id: SocketId


@dataclass(frozen=True, slots=True)
class RefusedChannel:
    """The problem that asking for this channel alone would be answered with."""

    type: str = f"/problems/{ChannelForbidden.SLUG}"
    title: str = ChannelForbidden.title()
    status: int = ChannelForbidden.STATUS


@dataclass(frozen=True, slots=True)
class ChannelAnswer:
    """What asking for this channel alone would be answered: the status, and the body."""

    status: int
    data: Authorization | MemberAuthorization | RefusedChannel


@router.post("/pusher/auth", refuses=(ChannelForbidden,))
async def authorize_channel(
    body: Annotated[Subscription, FORM], caller: CallerDep, tx: TxDep
) -> Authorization | MemberAuthorization:
    """Let the caller listen to one channel, for as long as the connection lasts."""
    channel = channel_of(body.channel_name)
    signed = None if channel is None else await _authorize(body.socket_id, caller.user_id, channel, tx)
    if signed is None:
        raise ChannelForbidden
    return signed


@router.post("/pusher/batch-authenticate")
async def authorize_channels(
    body: Annotated[Subscriptions, FORM], caller: CallerDep, tx: TxDep
) -> dict[str, ChannelAnswer]:
    """Let the caller listen to those of up to 50 channels where they belong: of each, what asking for it alone says."""
    asked = {name: channel_of(name) for name in body.channel_names}
    channels = [channel for channel in asked.values() if channel is not None]
    await store.prefetch_listening(tx, channels, caller.user_id)
    answers = {}
    for name, channel in asked.items():
        signed = None if channel is None else await _authorize(body.socket_id, caller.user_id, channel, tx)
        refused = ChannelAnswer(ChannelForbidden.STATUS, RefusedChannel())
        answers[name] = refused if signed is None else ChannelAnswer(200, signed)
    return answers


@router.post("/pusher/user-auth")
async def sign_in(body: Annotated[Connection, FORM], caller: CallerDep, tx: TxDep) -> UserAuthorization:
    """Let Pusher know whose this connection is. It is cut when the caller may not listen any more to what it opened;
    whoever connects again asks for each channel anew.
    """
    return signatures.sign_in(tx.settings(Settings), body.socket_id, caller.user_id)


async def _authorize(
    socket_id: str, user_id: str, channel: Channel, tx: Tx
) -> Authorization | MemberAuthorization | None:
    """The signature that lets a user listen to a channel; None: they do not belong there now."""
    settings = tx.settings(Settings)
    if channel.kind == "private-user":
        return signatures.authorize(settings, socket_id, channel, user_id) if user_id == channel.owner_id else None
    if channel.viewer_id not in (None, user_id) or await store.is_blocked(tx, channel.owner_id, user_id):
        return None
    if channel.preset != "sd":
        return signatures.authorize(settings, socket_id, channel, user_id)
    watcher = await store.watcher(tx, channel.owner_id, user_id)
    grant = None if watcher is None else entitlement.may_watch_paid(watcher, tx.now)
    if watcher is None or grant is None:
        return None
    if channel.kind != "presence-enc-stream-viewer":
        return signatures.authorize(settings, socket_id, channel, user_id)
    tokens = tx.of_process(ChannelData).of(watcher, grant, tx.settings(StreamTokenSettings), tx.now)
    return signatures.authorize(settings, socket_id, channel, user_id, tokens)
