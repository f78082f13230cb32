"""What is wanted of the vendor, and what it does."""

from dataclasses import dataclass

from chassis.errors import NotFound
from chassis.http import CallerDep, TxDep, TxRouter, UnixTime
from contracts.values import ObjectIdStr
from rtc_control import store

router = TxRouter(tags=["operations"])


class SessionNotFound(NotFound, slug="session-not-found"):
    """There is no such session."""


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """The snapshots of one source: wanted or not, what the vendor does, since when, and why it has not done it yet.

    `may_run` is true also while an earlier call without an answer may still take effect.
    """

    room_id: str
    task_id: str
    desired: bool
    actual: bool
    may_run: bool
    since: UnixTime | None
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class RtcSessionView:
    """A session as the vendor should see it."""

    id: str
    active: bool
    exclusive_since: UnixTime | None
    snapshots: list[SnapshotView]


@router.get("/rtc/sessions/{session_id}", scope="OPS", refuses=(SessionNotFound,))
async def show_session(session_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> RtcSessionView:  # noqa: ARG001 - its scope counts
    """Whether each source of a session is to be photographed, and whether it is."""
    known = await tx.get(store.BROADCASTS, session_id)
    if known is None:
        raise SessionNotFound
    calls = await store.open_calls(tx, known.snapshots)
    snapshots = []
    for one in known.snapshots:
        call = calls.get(one.task_id)
        snapshots.append(
            SnapshotView(
                one.room_id,
                one.task_id,
                desired=one.wanted,
                actual=one.running,
                may_run=one.may_run(tx.now),
                since=one.since,
                attempts=call.attempts if call else 0,
                last_error=call.reason if call else None,
            )
        )
    exclusive = known.exclusive
    return RtcSessionView(
        known.id, known.started and known.ended is None, exclusive.began if exclusive else None, snapshots
    )
