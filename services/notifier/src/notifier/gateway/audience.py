"""Who listens: Pusher is asked how many, and told to cut connections."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pydantic_core import from_json

from chassis.context import Outside
from chassis.decision import Effect
from chassis.effects.vendor_client import VENDOR_AWAY
from chassis.service import EffectRequest, EffectResult
from notifier.domain.channels import channel_of
from notifier.domain.cuts import Cut, CutWatchers
from notifier.domain.heads import CountHeads, Heads
from notifier.gateway import client
from notifier.gateway.client import CALLS_AT_ONCE

AT_ONCE = 40  # sessions or users of one look; each takes some milliseconds, and what is not done in time comes again
DEADLINE_SECONDS = 20.0
WATCHERS_SECONDS = 10.0  # who is not cut by then is, the next time: those who were, are no longer listed

F = TypeVar("F", bound=Effect)


class _Refused(Exception):
    """Pusher did not do it."""


async def count_heads(pending: Sequence[EffectRequest[CountHeads]], outside: Outside) -> list[EffectResult[CountHeads]]:
    """How many watch each of these sessions."""

    async def count(one: CountHeads) -> Heads:
        audience, seats, paid = await asyncio.gather(
            _ask(f"channels/private-stream@{one.streamer_id}", {"info": "subscription_count"}, outside),
            _ask(f"channels/presence-stream@{one.streamer_id}", {"info": "user_count"}, outside),
            _watchers(one.streamer_id, outside),
        )
        return Heads(max(audience.get("subscription_count", 0), seats.get("user_count", 0)), len(paid))

    return await _each(pending, count)


async def cut(pending: Sequence[EffectRequest[Cut]], outside: Outside) -> list[EffectResult[Cut]]:
    """Cut the connections of each of these users."""

    async def make(one: Cut) -> None:
        await _terminate(one.user_id, outside)

    return await _each(pending, make)


async def cut_watchers(
    pending: Sequence[EffectRequest[CutWatchers]], outside: Outside
) -> list[EffectResult[CutWatchers]]:
    """Cut the connections of all who listen to these streamers' paid channels, but of some."""

    async def make(one: CutWatchers) -> None:
        slots = asyncio.Semaphore(CALLS_AT_ONCE)

        async def terminate(user_id: str) -> None:
            async with slots:
                await _terminate(user_id, outside)

        watchers = await _watchers(one.streamer_id, outside) - set(one.keep)
        try:
            async with asyncio.timeout(WATCHERS_SECONDS):
                await asyncio.gather(*map(terminate, sorted(watchers)))
        except TimeoutError:
            raise _Refused("not all of them yet") from None

    return await _each(pending, make)


async def _each(pending: Sequence[EffectRequest[F]], make: Callable[[F], Awaitable[Any]]) -> list[EffectResult[F]]:
    """Make these calls, a few at a time; what goes wrong with one is tried again."""
    slots = asyncio.Semaphore(CALLS_AT_ONCE)

    async def answer(one: EffectRequest[F]) -> EffectResult[F]:
        async with slots:
            try:
                return EffectResult(one.effect, one.id, one.key, result=await make(one.effect))
            except (*VENDOR_AWAY, _Refused) as error:
                return EffectResult(one.effect, one.id, one.key, retry=str(error) or type(error).__name__)

    return await asyncio.gather(*map(answer, pending))


async def _watchers(streamer_id: str, outside: Outside) -> set[str]:
    """Who listens to a streamer's paid channels."""
    families = ("presence-stream-viewer", "presence-enc-stream-viewer")
    queries = ({"filter_by_prefix": f"{family}@{streamer_id}.sd."} for family in families)
    answers = await asyncio.gather(*(_ask("channels", query, outside) for query in queries))
    channels = (channel_of(name) for answer in answers for name in answer["channels"])
    return {channel.viewer_id for channel in channels if channel is not None and channel.viewer_id is not None}


async def _ask(resource: str, query: dict[str, str], outside: Outside) -> dict[str, Any]:
    response = await client.get(resource, query, outside)
    if not response.is_success:
        raise _Refused(f"status {response.status}")
    answer: dict[str, Any] = from_json(response.body)
    return answer


async def _terminate(user_id: str, outside: Outside) -> None:
    response = await client.post(f"users/{user_id}/terminate_connections", {}, outside)
    if not response.is_success:
        raise _Refused(f"status {response.status}")
