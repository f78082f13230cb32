"""How BytePlus is called: by one client for each process, whose calls are tried again soon when they fail."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from byteplus.client import Patience, RtcClient
from byteplus.errors import ByteplusError, NoTurn
from chassis.context import Outside
from chassis.decision import Effect
from chassis.service import EffectRequest, EffectResult
from rtc_control.settings import Settings

CALL_SECONDS = 2.0  # an answer takes 50 ms; what is wanted may have changed meanwhile, and waits for it
TURN_SECONDS = 1.0  # what the rate does not let begin by then comes again, with what is more urgent before it
DEADLINE_SECONDS = TURN_SECONDS + CALL_SECONDS + 2.0  # for the chassis; never reached
AGAIN_FIRST_SECONDS, AGAIN_SECONDS_MAX = 0.25, 2.0  # a camera that must stop is worth asking often

PATIENCE = Patience(TURN_SECONDS + CALL_SECONDS, TURN_SECONDS, CALL_SECONDS, attempts=1)
"""A call is made again by the chassis, which knows by then whether it is still wanted."""

F = TypeVar("F", bound=Effect)


def client_of(outside: Outside) -> RtcClient:
    """The client of this process."""
    return outside.client(RtcClient, _made)


def _made(outside: Outside) -> RtcClient:
    return RtcClient(outside.settings(Settings).account, outside.clock, PATIENCE)


async def each(
    pending: Sequence[EffectRequest[F]], make: Callable[[EffectRequest[F]], Awaitable[Any]]
) -> list[EffectResult[F]]:
    """Make these calls, as fast as the rate allows; what goes wrong with one is tried again soon."""

    async def answer(one: EffectRequest[F]) -> EffectResult[F]:
        try:
            return EffectResult(one.effect, one.id, one.key, result=await make(one))
        except NoTurn as late:
            return EffectResult(one.effect, one.id, one.key, retry=str(late), retry_after_seconds=0.0)
        except ByteplusError as error:
            seconds = min(AGAIN_SECONDS_MAX, AGAIN_FIRST_SECONDS * 2 ** min(one.attempt - 1, 10))
            return EffectResult(one.effect, one.id, one.key, retry=str(error), retry_after_seconds=seconds)

    return await asyncio.gather(*map(answer, pending))
