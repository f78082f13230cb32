"""What the vendor's sandbox knows, and the vendor's rules as its pages tell them. Does no I/O; `now` is Unix seconds.

Where the pages are silent, it does what is harder for a caller: an error stands inside HTTP 200, and a task of which
one has been told that its streams are gone ends by itself.
"""

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

TOLD_SECONDS: Final = 72 * 3_600  # the vendor tells of a task that long after its start
IDLE_SECONDS: Final = 180
IDLE_SECONDS_MAX: Final = 86_400
BAN_SECONDS: Final = (60, 259_200)
QPS: Final = {
    "StartSnapshot": ("snapshots", 150),
    "StopSnapshot": ("snapshots", 150),
    "GetSnapshotTask": ("queries", 60),
    "BanRoomUser": ("bans", 40),
    "UpdateBanRoomUserRule": ("ban updates", 20),
    "GetRoomOnlineUsers": ("users", 40),
}
RESULT_VERSION: Final = "2023-11-01"  # from here on a start that was made already is told in `Result`, not as an error


class VendorError(Exception):
    """The vendor refuses."""

    def __init__(self, code: str, message: str = "") -> None:
        """Say why, in the vendor's words."""
        super().__init__(code, message)
        self.code, self.message = code, message


@dataclass
class Run:
    """One stretch in which a source was photographed: `ended_at` is None while it is."""

    room_id: str
    task_id: str
    users: tuple[str, ...]
    idle_seconds_max: int
    started_at: float
    ended_at: float | None = None
    stop_reason: str = ""


@dataclass
class Vendor:
    """Tasks, rooms, bans and calls of one account."""

    runs: list[Run] = field(default_factory=list)
    latest: dict[tuple[str, str], Run] = field(default_factory=dict)
    silent_since: dict[str, float] = field(default_factory=dict)  # rooms that were told to have no streams
    present: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    banned_until: dict[tuple[str, str], float] = field(default_factory=dict)  # user "": everybody
    lately: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    peaks: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    refused_for_rate: int = 0

    def call(self, action: str, version: str, asked: Mapping[str, Any], now: float) -> Any:
        """Do what is asked for; what is returned is `Result`. Raises VendorError."""
        self.count(action, now)
        self.settle(now)
        if not asked.get("AppId"):
            raise VendorError("InvalidParameter.IllegalAppId")
        if not asked.get("RoomId"):
            raise VendorError("InvalidParameter.IllegalRoomID")
        room_id = str(asked["RoomId"])
        match action:
            case "StartSnapshot":
                return self.start(room_id, version, asked, now)
            case "StopSnapshot":
                return self.stop(room_id, str(asked.get("TaskId", "")), now)
            case "GetSnapshotTask":
                return self.get(room_id, str(asked.get("TaskId", "")), now)
            case "BanRoomUser":
                return self.ban(room_id, str(asked.get("UserId") or ""), asked.get("ForbiddenInterval") or 0, now)
            case "UpdateBanRoomUserRule":
                self.forbid(room_id, str(asked.get("UserId") or ""), asked.get("ForbiddenInterval") or 0, now)
                return {"message": "success"}
            case _:
                return self.users(room_id)

    def count(self, action: str, now: float) -> None:
        """Count a call against the account's limit; what is refused counts as well, so that storms show."""
        if action not in QPS:
            raise VendorError("InvalidActionOrVersion", action)
        family, limit = QPS[action]
        lately = self.lately[family]
        while lately and lately[0] <= now - 1.0:
            lately.popleft()
        lately.append(now)
        self.peaks[family] = max(self.peaks[family], len(lately))
        if len(lately) > limit:
            self.refused_for_rate += 1
            raise VendorError("FlowLimitExceeded.QPSOverLimit", f"over {limit} calls a second")

    def settle(self, now: float) -> None:
        """End what has ended by itself by `now`: tasks whose streams have been gone for too long."""
        for run in self.latest.values():
            since = self.silent_since.get(run.room_id)
            if run.ended_at is None and since is not None:
                ends_at = max(since, run.started_at) + run.idle_seconds_max
                if ends_at <= now:
                    run.ended_at, run.stop_reason = ends_at, "IdleTimeOut"

    def start(self, room_id: str, version: str, asked: Mapping[str, Any], now: float) -> str:
        """Photograph a room's streams from now on."""
        task_id = str(asked.get("TaskId") or "")
        if not task_id or not asked.get("StorageConfig"):
            raise VendorError("InvalidParameter", "TaskId and StorageConfig are required")
        before = self.latest.get((room_id, task_id))
        if before is not None and before.ended_at is None:
            if version >= RESULT_VERSION:
                return "The task has been started. Please do not call the startup task interface repeatedly"
            raise VendorError("InvalidParameter.TaskAlreadyExists")
        idle = asked.get("MaxIdleTime", IDLE_SECONDS)
        valid = isinstance(idle, int) and 1 <= idle <= IDLE_SECONDS_MAX  # else the default counts, without a word
        streams = (asked.get("TargetStreams") or {}).get("StreamList") or []
        users = tuple(str(stream["UserId"]) for stream in streams)
        run = Run(room_id, task_id, users, idle if valid else IDLE_SECONDS, now)
        self.runs.append(run)
        self.latest[room_id, task_id] = run
        return "ok"

    def stop(self, room_id: str, task_id: str, now: float) -> str:
        """Photograph no more."""
        run = self.latest.get((room_id, task_id))
        if run is None or run.ended_at is not None:
            raise VendorError("InvalidParameter.ErrorActiveTaskNotFound", "The task doesn't exist or has stopped")
        run.ended_at, run.stop_reason = now, "StopByAPI"
        return "ok"

    def get(self, room_id: str, task_id: str, now: float) -> dict[str, Any]:
        """How it stands with a task of the last 72 hours."""
        run = self.latest.get((room_id, task_id))
        if run is None or run.started_at <= now - TOLD_SECONDS:
            raise VendorError("InvalidParameter.ErrorActiveTaskNotFound", "The task doesn't exist or has stopped")
        return {
            "snapshotTask": {
                "StartTime": round(run.started_at * 1_000),
                "EndTime": round((run.ended_at or 0) * 1_000),
                "Status": 2 if run.ended_at is None else 3,
                "StopReason": run.stop_reason,
                "MaxIdleTime": run.idle_seconds_max,
            }
        }

    def ban(self, room_id: str, user_id: str, seconds: int, now: float) -> Any:
        """Put a user out of a room, or everybody if none is named."""
        before = self.banned_until.get((room_id, user_id), 0.0) > now
        self.forbid(room_id, user_id, seconds, now)
        for one in [user_id] if user_id else list(self.present[room_id]):
            self.present[room_id].pop(one, None)
        if before and seconds:
            return f"{'User' if user_id else 'Room'} has been banned"
        return {"message": "success"}

    def forbid(self, room_id: str, user_id: str, seconds: int, now: float) -> None:
        """Keep a user out for so long; 0 lets them in again."""
        least, most = BAN_SECONDS
        self.banned_until[room_id, user_id] = now + min(max(seconds, least), most) if seconds else now

    def users(self, room_id: str) -> dict[str, Any]:
        """Who is in a room."""
        visible = sorted(self.present[room_id])
        if not visible:
            return {"RoomExist": False}
        return {"RoomExist": True, "TotalUser": len(visible), "TotalInvisibleUser": 0, "VisibleUserList": visible}

    def join(self, room_id: str, user_id: str, now: float) -> bool:
        """A user comes; False: they are kept out."""
        if any(self.banned_until.get((room_id, one), 0.0) > now for one in ("", user_id)):
            return False
        self.present[room_id].setdefault(user_id, now)
        return True

    def streams(self, room_id: str, now: float, *, published: bool) -> None:
        """The room's streams come or go. A room of which nothing was told has some."""
        self.settle(now)
        if published:
            self.silent_since.pop(room_id, None)
        else:
            self.silent_since.setdefault(room_id, now)

    def told(self, now: float) -> dict[str, Any]:
        """All that a test may ask: what was photographed when, who is where, how many calls there were in a second."""
        self.settle(now)
        return {
            "now": now,
            "runs": [asdict(run) for run in self.runs],
            "rooms": {room_id: sorted(users) for room_id, users in self.present.items() if users},
            "banned": [[*who, until] for who, until in self.banned_until.items() if until > now],
            "peaks": dict(self.peaks),
            "refused_for_rate": self.refused_for_rate,
        }
