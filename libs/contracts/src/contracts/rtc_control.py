"""What rtc-control tells: whether a session's sources are being photographed (SPEC §7)."""

from pydantic import StrictBool

from contracts.event import SessionEvent
from contracts.values import Instant, Token


class _SnapshotEvent(SessionEvent):
    """The snapshot task of one source."""

    room_id: Token
    task_id: Token
    running: StrictBool
    since: Instant


class RtcSnapshotChangedV1(
    _SnapshotEvent,
    type="rtc.snapshot_changed.v1",
    topic="rtc-control",
    key="session_id",
    subject="task_id",
):
    """Snapshots of a source run, or stand still, `since` then: the vendor said so."""


class RtcSnapshotOverdueV1(
    _SnapshotEvent,
    type="rtc.snapshot_overdue.v1",
    topic="rtc-control",
    key="session_id",
    subject="task_id",
):
    """Snapshots may still be `running` 5 s after an exclusive began, at `since`: somebody must look."""
