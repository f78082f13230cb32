"""Pusher: pushes over its HTTP API, as few calls as its limits allow, and the signatures that let clients listen."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
import structlog
from pusher.http import POST, Request
from pusher.signature import sign
from pydantic_core import to_json

from chassis.runtime import Outside
from chassis.service import Answer, Pending
from notifier.domain.channels import Channel
from notifier.domain.pushes import Push
from notifier.settings import Settings

CHANNELS_MAX = 100  # Pusher's limit for one event
BATCH_MAX = 10  # Pusher's limit of events in one batch
PUSHES_AT_ONCE = 500  # as many as the chassis finds at once: copies of one push then meet in one call
CALLS_AT_ONCE = 8  # enough to keep one server busy; more would only wait there instead of here
CALL_SECONDS = 5.0  # an answer takes milliseconds. To give one up is to push twice, perhaps: so rather late than soon
BEGIN_SECONDS = 2.0  # what could not be begun by then is left for later, behind nobody
DEADLINE_SECONDS = 2 * (BEGIN_SECONDS + CALL_SECONDS)  # for the chassis; never reached, as it would push all twice
AGAIN_SECONDS = 1.0  # while Pusher is away or ill: a push a second late is still news, one half a minute late is not
REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})  # asking again cannot help

LOG = structlog.get_logger()

Pushes = Sequence[Pending[Push]]


@dataclass(frozen=True, slots=True)
class Authorization:
    """The signature that lets one client listen to one channel."""

    auth: str


@dataclass(frozen=True, slots=True)
class MemberAuthorization:
    """The same for a presence channel; `channel_data` (JSON) says who it is, and is signed too."""

    auth: str
    channel_data: str


@dataclass(frozen=True, slots=True)
class _Signer:
    """What the library signs a request with."""

    key: str
    secret: str


@dataclass(frozen=True, slots=True)
class _Trigger:
    """One call of the API. Each of `groups` is the copies of one push."""

    groups: tuple[Pushes, ...]

    @property
    def copies(self) -> list[Pending[Push]]:
        """All that this call pushes."""
        return [copy for group in self.groups for copy in group]


async def push(pending: Pushes, outside: Outside) -> list[Answer[Push]]:
    """Make pushes, each the next one of its channel.

    What Pusher refuses for good is logged and dropped. Everything else that goes wrong (keys, quotas, errors, silence)
    is tried again, when Pusher says so if it does: nothing overtakes it on its channel.
    """
    slots = asyncio.Semaphore(CALLS_AT_ONCE)
    clock = asyncio.get_running_loop().time
    begin_by = clock() + BEGIN_SECONDS

    async def make(trigger: _Trigger) -> list[Answer[Push]]:
        async with slots:
            return await _make(trigger, outside) if clock() < begin_by else _again(trigger, "others were slow", 0.0)

    answers = await asyncio.gather(*(make(trigger) for trigger in _triggers(pending)))
    return [answer for part in answers for answer in part]


def authorize(
    settings: Settings, socket_id: str, channel: Channel, user_id: str
) -> Authorization | MemberAuthorization:
    """What the client `socket_id` of `user_id` shows to Pusher in order to listen to `channel`."""
    key, secret = settings.signing_key
    if not channel.has_members:
        return Authorization(f"{key}:{sign(secret, f'{socket_id}:{channel.name}')}")
    member = to_json({"user_id": user_id}).decode()
    return MemberAuthorization(f"{key}:{sign(secret, f'{socket_id}:{channel.name}:{member}')}", member)


def _triggers(pending: Pushes) -> Iterator[_Trigger]:
    """Copies of one push share a call: one event for up to 100 channels, or a part of a batch of up to 10.

    Several for one channel are a batch of their own, which Pusher publishes in order.
    """
    channels: dict[str, list[Pending[Push]]] = defaultdict(list)
    for one in pending:
        channels[one.key].append(one)
    copies: dict[str, list[Pending[Push]]] = defaultdict(list)
    for row in channels.values():
        if len(row) > 1:
            yield _Trigger(tuple((one,) for one in row))
        else:
            copies[row[0].effect.push_id].append(row[0])
    batch: list[Pushes] = []
    for same in copies.values():
        for i in range(0, len(same), CHANNELS_MAX):
            group = same[i : i + CHANNELS_MAX]
            if batch and sum(map(len, batch)) + len(group) > BATCH_MAX:
                yield _Trigger(tuple(batch))
                batch = []
            batch.append(group)
    if batch:
        yield _Trigger(tuple(batch))


def _request(trigger: _Trigger) -> tuple[str, dict[str, Any]]:
    """The API's resource, and what to post there."""
    if len(trigger.groups) == 1:
        first = trigger.copies[0].effect
        channels = [copy.effect.channel for copy in trigger.copies]
        return "events", {"name": first.name, "data": first.data, "channels": channels}
    effects = [copy.effect for copy in trigger.copies]
    return "batch_events", {"batch": [{"name": e.name, "data": e.data, "channel": e.channel} for e in effects]}


async def _make(trigger: _Trigger, outside: Outside) -> list[Answer[Push]]:
    try:
        response = await _post(trigger, outside)
    except httpx.TransportError as error:
        return _again(trigger, type(error).__name__, AGAIN_SECONDS)
    if response.is_success:
        return [Answer(one.effect, one.id, one.key) for one in trigger.copies]
    if response.status_code not in REFUSED:
        LOG.warning("pusher failed", status=response.status_code, pushes=len(trigger.copies))
        return _again(trigger, f"status {response.status_code}", _retry_after_seconds(response))
    if len(trigger.groups) > 1:  # one wrong push fails the whole batch: find it
        return await _make_one_by_one(trigger, outside)
    return _dropped(trigger, response)


async def _make_one_by_one(trigger: _Trigger, outside: Outside) -> list[Answer[Push]]:
    """In order, up to one that must be made again: what is behind it may be for the same channel."""
    answers: list[Answer[Push]] = []
    for number, group in enumerate(trigger.groups):
        answers += await _make(_Trigger((group,)), outside)
        if answers[-1].retry is not None:
            return answers + _again(_Trigger(trigger.groups[number + 1 :]), "behind another", 0.0)
    return answers


async def _post(trigger: _Trigger, outside: Outside) -> httpx.Response:
    """Signed by the library, sent by our pooled client: the library's own would block, or connect anew each time."""
    settings = outside.settings(Settings)
    resource, body = _request(trigger)
    request = Request(_Signer(*settings.signing_key), POST, f"/apps/{settings.pusher_app_id}/{resource}", body)
    url = f"{settings.pusher_scheme}://{settings.pusher_host}:{settings.pusher_port}{request.signed_path}"
    return await outside.http.post(url, content=request.body, headers=request.headers, timeout=CALL_SECONDS)


def _again(trigger: _Trigger, reason: str, after_seconds: float | None) -> list[Answer[Push]]:
    return [
        Answer(one.effect, one.id, one.key, retry=reason, retry_after_seconds=after_seconds) for one in trigger.copies
    ]


def _dropped(trigger: _Trigger, response: httpx.Response) -> list[Answer[Push]]:
    refused = f"status {response.status_code}"
    for one in trigger.copies:
        LOG.error("push dropped", reason=refused, push=one.effect.name, channel=one.effect.channel, effect_id=one.id)
    return [Answer(one.effect, one.id, one.key, result=refused) for one in trigger.copies]


def _retry_after_seconds(response: httpx.Response) -> float | None:
    """As Pusher says, in seconds. Else soon if the fault is Pusher's; if it is ours, the chassis backs off."""
    given = response.headers.get("retry-after", "")
    if given.isdecimal():
        return float(given)
    return AGAIN_SECONDS if response.is_server_error else None
