"""Rooms: people are put out (BanRoomUser)."""

from collections.abc import Sequence

from chassis.context import Outside
from chassis.service import EffectRequest, EffectResult
from rtc_control.domain.rooms import CutOff
from rtc_control.gateway import client

AT_ONCE = 100
PER_SECOND = 30.0  # the vendor allows 40
FORBIDDEN_SECONDS = 60  # the least of BytePlus but for none: half an old token's life, over before an exclusive


async def cut_off(pending: Sequence[EffectRequest[CutOff]], outside: Outside) -> list[EffectResult[CutOff]]:
    """Put each of these users out of a room. Who was put out already, or is not there, is out."""

    async def one(request: EffectRequest[CutOff]) -> None:
        call = request.effect
        body = {"RoomId": call.room_id, "UserId": call.user_id, "ForbiddenInterval": FORBIDDEN_SECONDS}
        await client.tell("BanRoomUser", body, outside)

    return await client.each(pending, outside, one, pace="rooms", per_second=PER_SECOND)
