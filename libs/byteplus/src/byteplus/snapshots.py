"""Snapshot tasks: the vendor's pictures of the streams in a room, taken until the task is stopped or ends by itself.

A task is named by its room and an id of the caller's choice. The vendor has no list of tasks: it tells of one at a
time, and only of those that were started in the last 72 hours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum
from typing import Any, Final

KEPT_HOURS: Final = 72  # the vendor tells of a task that long after it was started

ALREADY_EXISTS: Final = "InvalidParameter.TaskAlreadyExists"
NOT_FOUND: Final = "InvalidParameter.ErrorActiveTaskNotFound"
OK: Final = "ok"
HAS_BEEN_STARTED: Final = "has been started"  # a part of the `Result` of version 2023-11-01, with HTTP 200 and no error


class Start(Enum):
    """What a start has come to; either way the task runs now."""

    STARTED = "started"
    ALREADY = "already"


class Stop(Enum):
    """What a stop has come to; either way the task runs no longer. A picture that was being taken may still arrive."""

    STOPPED = "stopped"
    ALREADY = "already"


class Status(IntEnum):
    """How it stands with a task. The vendor's numbers."""

    UNKNOWN = 0
    NOT_STARTED = 1
    RUNNING = 2
    ENDED = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class Snapshots:
    """How to take pictures, and of whom.

    `storage` is the vendor's own `StorageConfig`, in its words. No `users` means every stream of the room.
    """

    storage: Mapping[str, Any]
    interval_seconds: int = 60  # 1…600
    idle_seconds_max: int = 180  # 10…86400: then the task ends by itself, if the streams are gone for so long
    users: tuple[str, ...] = ()

    def as_body(self) -> dict[str, Any]:
        """The fields of `StartSnapshot`, in the vendor's words."""
        streams = [{"Index": index, "UserId": user_id} for index, user_id in enumerate(self.users)]
        return {
            **({"TargetStreams": {"StreamList": streams}} if streams else {}),
            "MaxIdleTime": self.idle_seconds_max,
            "ImageConfig": {"Interval": self.interval_seconds},
            "StorageConfig": dict(self.storage),
        }


@dataclass(frozen=True, slots=True)
class Task:
    """What the vendor knows of a task. `stop_reason` is its own word, empty while the task runs."""

    status: Status
    started_at: datetime | None
    ended_at: datetime | None
    stop_reason: str = ""

    @property
    def may_run(self) -> bool:
        """Whether pictures may be taken now: not so only if the vendor says that it is over."""
        return self.status not in (Status.ENDED, Status.FAILED)


def task_of(result: Mapping[str, Any]) -> Task:
    """Read `GetSnapshotTask`'s result; its pages spell the field both ways. Raises KeyError, TypeError, ValueError."""
    told = result["SnapshotTask"] if "SnapshotTask" in result else result["snapshotTask"]
    status = int(told["Status"])
    return Task(
        Status(status) if status in set(Status) else Status.UNKNOWN,
        _moment(told.get("StartTime")),
        _moment(told.get("EndTime")),
        str(told.get("StopReason") or ""),
    )


def _moment(milliseconds: int | None) -> datetime | None:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds) if milliseconds else None
