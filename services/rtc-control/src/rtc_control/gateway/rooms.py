"""Rooms: people are put out."""

from collections.abc import Sequence

from chassis.context import Outside
from chassis.service import EffectRequest, EffectResult
from rtc_control.domain.rooms import CutOff
from rtc_control.gateway.calls import client_of, each

AT_ONCE = 100
FORBIDDEN_SECONDS = 60  # the least of BytePlus but for none: half an old token's life, over before an exclusive


async def cut_off(pending: Sequence[EffectRequest[CutOff]], outside: Outside) -> list[EffectResult[CutOff]]:
    """Put each of these users out of a room. Who was put out already, or is not there, is out."""
    client = client_of(outside)

    async def one(request: EffectRequest[CutOff]) -> None:
        seconds = FORBIDDEN_SECONDS if request.effect.kept_out else 0
        await client.ban_user(request.effect.room_id, request.effect.user_id, seconds=seconds)

    return await each(pending, one)
