"""Snapshot tasks: started, stopped and looked at."""

import math
from collections.abc import Sequence

from byteplus.snapshots import Snapshots
from chassis.context import Outside
from chassis.service import EffectRequest, EffectResult
from rtc_control.domain.snapshot import LookAtSnapshot, MakeSnapshot
from rtc_control.gateway.calls import client_of, each
from rtc_control.settings import Settings

AT_ONCE = 500  # as many as the chassis finds at once: the most urgent of them come first
IDLE_SECONDS_MAX = 43_200  # a session's length: a task that ended by itself meanwhile would have to be found out


async def make(pending: Sequence[EffectRequest[MakeSnapshot]], outside: Outside) -> list[EffectResult[MakeSnapshot]]:
    """Start and stop tasks: stops first, and of these for whom two people have been alone the longest.

    The result of each is the attempt that was answered.
    """
    client, settings = client_of(outside), outside.settings(Settings)
    how = Snapshots(settings.storage, settings.snapshot_interval_seconds, IDLE_SECONDS_MAX)

    async def one(request: EffectRequest[MakeSnapshot]) -> int:
        call, priority = request.effect, _priority(request.effect)
        if call.running:
            await client.start_snapshot(call.room_id, call.task_id, how, priority=priority)
        else:
            await client.stop_snapshot(call.room_id, call.task_id, priority=priority)
        return request.attempt

    return await each(pending, one)


async def look_at(
    pending: Sequence[EffectRequest[LookAtSnapshot]], outside: Outside
) -> list[EffectResult[LookAtSnapshot]]:
    """Whether each of these tasks runs, or may."""
    client = client_of(outside)

    async def one(request: EffectRequest[LookAtSnapshot]) -> bool:
        task = await client.find_snapshot(request.effect.room_id, request.effect.task_id)
        return task is not None and task.may_run

    return await each(pending, one)


def _priority(call: MakeSnapshot) -> float:
    """The smallest comes first."""
    if call.running:
        return math.inf
    return call.exclusive_since.timestamp() if call.exclusive_since else math.nextafter(math.inf, 0)
