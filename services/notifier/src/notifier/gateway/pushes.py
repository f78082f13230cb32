"""Pushes over Pusher's HTTP API, as few calls as its limits allow."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog

from chassis.context import Outside
from chassis.effects.vendor_client import VENDOR_AWAY, VendorResponse
from chassis.service import EffectRequest, EffectResult
from notifier.domain.pushes import Push
from notifier.gateway import client
from notifier.gateway.client import CALL_SECONDS, CALLS_AT_ONCE

CHANNELS_MAX = 100  # Pusher's limit for one event
BATCH_MAX = 10  # Pusher's limit of events in one batch
PUSHES_AT_ONCE = 500  # as many as the chassis finds at once: copies of one push then meet in one call
BEGIN_SECONDS = 2.0  # what could not be begun by then is left for later, behind nobody
DEADLINE_SECONDS = 2 * (BEGIN_SECONDS + CALL_SECONDS)  # for the chassis; never reached, as it would push all twice
AGAIN_SECONDS = 1.0  # while Pusher is away or ill: a push a second late is still news, one half a minute late is not
REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})  # asking again cannot help

LOG = structlog.get_logger()

Pushes = Sequence[EffectRequest[Push]]


@dataclass(frozen=True, slots=True)
class _Trigger:
    """One call of the API. Each of `groups` is the copies of one push."""

    groups: tuple[Pushes, ...]

    @property
    def copies(self) -> list[EffectRequest[Push]]:
        """All that this call pushes."""
        return [copy for group in self.groups for copy in group]


async def push(pending: Pushes, outside: Outside) -> list[EffectResult[Push]]:
    """Make pushes, each the next one of its channel.

    What Pusher refuses for good is logged and dropped. Everything else that goes wrong (keys, quotas, errors, silence)
    is tried again, when Pusher says so if it does: nothing overtakes it on its channel.
    """
    slots = asyncio.Semaphore(CALLS_AT_ONCE)
    clock = asyncio.get_running_loop().time
    begin_by = clock() + BEGIN_SECONDS

    async def make(trigger: _Trigger) -> list[EffectResult[Push]]:
        async with slots:
            return await _make(trigger, outside) if clock() < begin_by else _again(trigger, "others were slow", 0.0)

    answers = await asyncio.gather(*(make(trigger) for trigger in _triggers(pending)))
    return [answer for part in answers for answer in part]


def _triggers(pending: Pushes) -> Iterator[_Trigger]:
    """Copies of one push share a call: one event for up to 100 channels, or a part of a batch of up to 10.

    Several for one channel are a batch of their own, which Pusher publishes in order.
    """
    channels: dict[str, list[EffectRequest[Push]]] = defaultdict(list)
    for one in pending:
        channels[one.key].append(one)
    copies: dict[str, list[EffectRequest[Push]]] = defaultdict(list)
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


async def _make(trigger: _Trigger, outside: Outside) -> list[EffectResult[Push]]:
    try:
        response = await client.post(*_request(trigger), outside)
    except VENDOR_AWAY as error:
        return _again(trigger, type(error).__name__, AGAIN_SECONDS)
    if response.is_success:
        return [EffectResult(one.effect, one.id, one.key) for one in trigger.copies]
    if response.status not in REFUSED:
        LOG.warning("pusher failed", status=response.status, pushes=len(trigger.copies))
        return _again(trigger, f"status {response.status}", _retry_after_seconds(response))
    if len(trigger.groups) > 1:  # one wrong push fails the whole batch: find it
        return await _make_one_by_one(trigger, outside)
    return _dropped(trigger, response)


async def _make_one_by_one(trigger: _Trigger, outside: Outside) -> list[EffectResult[Push]]:
    """In order, up to one that must be made again: what is behind it may be for the same channel."""
    answers: list[EffectResult[Push]] = []
    for number, group in enumerate(trigger.groups):
        answers += await _make(_Trigger((group,)), outside)
        if answers[-1].retry is not None:
            return answers + _again(_Trigger(trigger.groups[number + 1 :]), "behind another", 0.0)
    return answers


def _again(trigger: _Trigger, reason: str, after_seconds: float | None) -> list[EffectResult[Push]]:
    return [
        EffectResult(one.effect, one.id, one.key, retry=reason, retry_after_seconds=after_seconds)
        for one in trigger.copies
    ]


def _dropped(trigger: _Trigger, response: VendorResponse) -> list[EffectResult[Push]]:
    refused = f"status {response.status}"
    for one in trigger.copies:
        LOG.error("push dropped", reason=refused, push=one.effect.name, channel=one.effect.channel, effect_id=one.id)
    return [EffectResult(one.effect, one.id, one.key, result=refused) for one in trigger.copies]


def _retry_after_seconds(response: VendorResponse) -> float | None:
    """As Pusher says, in seconds. Else soon if the fault is Pusher's; if it is ours, the chassis backs off."""
    given = response.headers.get("retry-after", "")
    if given.isdecimal():
        return float(given)
    return AGAIN_SECONDS if response.is_server_error else None
