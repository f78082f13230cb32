"""Snapshot tasks: started, stopped and looked at (StartSnapshot, StopSnapshot, GetSnapshotTask)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from chassis.context import Outside
from chassis.service import EffectRequest, EffectResult
from rtc_control.domain.snapshot import LookAtSnapshot, MakeSnapshot
from rtc_control.gateway import client
from rtc_control.gateway.client import Refused
from rtc_control.settings import Settings

AT_ONCE = 500  # as many as the chassis finds at once: the most urgent of them come first
IDLE_SECONDS_MAX = 43_200  # a session's length: a task that ended by itself meanwhile would have to be found out
LOOKS_PER_SECOND = 50.0  # the vendor allows 60
ALREADY_STARTED: Final = "InvalidParameter.TaskAlreadyExists"
ALREADY_STOPPED: Final = "InvalidParameter.ErrorActiveTaskNotFound"
STARTED: Final = (
    "ok",
    "The task has been started",
)  # how `Result` begins; the second in newer versions, of one that runs
MAY_RUN: Final = frozenset({1, 2})  # the states "not started" and "running"
NEVER: Final = datetime.max.replace(tzinfo=UTC)


async def make(pending: Sequence[EffectRequest[MakeSnapshot]], outside: Outside) -> list[EffectResult[MakeSnapshot]]:
    """Start and stop tasks: stops first, and of these for whom two people have been alone the longest.

    The result of each is the attempt that was answered.
    """

    async def one(request: EffectRequest[MakeSnapshot]) -> int:
        await (_start if request.effect.running else _stop)(request.effect, outside)
        return request.attempt

    per_second = outside.settings(Settings).byteplus_calls_per_second
    return await client.each(sorted(pending, key=_urgency), outside, one, pace="snapshots", per_second=per_second)


async def look_at(
    pending: Sequence[EffectRequest[LookAtSnapshot]], outside: Outside
) -> list[EffectResult[LookAtSnapshot]]:
    """Whether each of these tasks runs, or may."""

    async def one(request: EffectRequest[LookAtSnapshot]) -> bool:
        return await _runs(request.effect, outside)

    return await client.each(pending, outside, one, pace="looks", per_second=LOOKS_PER_SECOND)


def _urgency(request: EffectRequest[MakeSnapshot]) -> tuple[bool, datetime]:
    return request.effect.running, request.effect.exclusive_since or NEVER


async def _start(call: MakeSnapshot, outside: Outside) -> None:
    settings = outside.settings(Settings)
    body = {
        "RoomId": call.room_id,
        "TaskId": call.task_id,
        "MaxIdleTime": IDLE_SECONDS_MAX,
        "ImageConfig": {"Interval": settings.snapshot_interval_seconds},
        "StorageConfig": settings.storage,
    }
    try:
        result = await client.tell("StartSnapshot", body, outside)
    except Refused as refused:
        if refused.code != ALREADY_STARTED:
            raise
        return
    if not str(result).startswith(STARTED):
        raise Refused(f"result {result!s:.100}")


async def _stop(call: MakeSnapshot, outside: Outside) -> None:
    try:
        result = await client.tell("StopSnapshot", {"RoomId": call.room_id, "TaskId": call.task_id}, outside)
    except Refused as refused:
        if refused.code != ALREADY_STOPPED:
            raise
        return
    if result != "ok":
        raise Refused(f"result {result!s:.100}")


async def _runs(call: LookAtSnapshot, outside: Outside) -> bool:
    try:
        result = await client.ask("GetSnapshotTask", {"RoomId": call.room_id, "TaskId": call.task_id}, outside)
    except Refused as refused:
        if refused.code != ALREADY_STOPPED:
            raise
        return False
    task: Any = None
    if isinstance(result, Mapping):
        task = result.get("SnapshotTask") or result.get("snapshotTask")  # its pages write it both ways
    if not isinstance(task, Mapping):
        raise Refused("no task in the result")
    return task.get("Status") in MAY_RUN
