"""The snapshots of a session's sources: wanted or not, and what the vendor says."""

from functools import partial

import structlog
from prometheus_client import Counter

from chassis.decision import Decision
from chassis.service import EffectResult
from chassis.storage.tx import Tx
from contracts import GoalCreatedV1, GoalEndedV1, RtcSnapshotOverdueV1
from rtc_control import store
from rtc_control.domain import broadcast, rooms
from rtc_control.domain.broadcast import Broadcast, EndedGoal, OverdueDue, ReconcileDue, SessionState
from rtc_control.domain.snapshot import AgainDue, LookAtSnapshot, MakeSnapshot

SNAPSHOTS_OVERDUE = Counter(
    "rtc_snapshots_overdue_total",
    "Snapshots that may have run on 5 s after an exclusive had begun. Alarm at any rise.",
)

LOG = structlog.get_logger()


async def project_session(event: SessionState, tx: Tx) -> None:
    """Whether a session is on, for whom, and by which sources."""
    known = await tx.get(store.BROADCASTS, event.session_id)
    decision = broadcast.told(known, event, tx.now)
    _apply(tx, decision)
    if decision.state is not None and (cut := rooms.shut(known, decision.state, tx.now)):
        tx.set_timer(cut)


async def snapshot_rtc_sources(event: GoalCreatedV1 | GoalEndedV1, tx: Tx) -> None:
    """Snapshots stop when two people are alone, and go on when they are not any more."""
    if event.kind != "ExclusiveGoal":
        return
    known = await tx.get(store.BROADCASTS, event.session_id)
    if isinstance(event, GoalEndedV1):
        tx.put(store.ENDED_GOALS, EndedGoal(event.goal_id, tx.cause.at))
        if known is not None:
            _apply(tx, broadcast.exclusive_ended(known, event, tx.now))
    elif await tx.get(store.ENDED_GOALS, event.goal_id) is None:
        _apply(tx, broadcast.exclusive_created(known, event, tx.cause.at, tx.now))


async def record_answer(answer: EffectResult[MakeSnapshot], tx: Tx) -> None:
    """The vendor has started or stopped a task; `result` is the attempt that it answered."""
    if known := await store.of_answer(tx, answer):
        _apply(tx, broadcast.answered(known, answer.effect, answer.result, tx.now))


async def compare_with_vendor(answer: EffectResult[LookAtSnapshot], tx: Tx) -> None:
    """The vendor has said whether a task runs, which is `result`."""
    if known := await store.of_answer(tx, answer):
        _apply(tx, broadcast.found(known, answer.effect.task_id, tx.now, running=answer.result))


async def ask_vendor(timer: ReconcileDue, tx: Tx) -> None:
    """The vendor is asked what it does for a session, from time to time."""
    if known := await tx.get(store.BROADCASTS, timer.session_id):
        _apply(tx, broadcast.reconcile(known, tx.now))


async def tell_vendor_again(timer: AgainDue, tx: Tx) -> None:
    """What is wanted is said again, as an old call may have undone it."""
    if known := await tx.get(store.BROADCASTS, timer.session_id):
        _apply(tx, broadcast.again(known, timer.task_id, tx.now))


async def tell_overdue(timer: OverdueDue, tx: Tx) -> None:
    """An exclusive has lasted for 5 s: what may still run is told."""
    if known := await tx.get(store.BROADCASTS, timer.session_id):
        _apply(tx, broadcast.overdue(known, tx.now))


def _apply(tx: Tx, decision: Decision[Broadcast]) -> None:
    tx.apply(store.BROADCASTS, decision)
    for event in decision.events:
        if isinstance(event, RtcSnapshotOverdueV1):
            tx.after_commit(partial(_alarm, event))


def _alarm(event: RtcSnapshotOverdueV1) -> None:
    SNAPSHOTS_OVERDUE.inc()
    LOG.error("snapshot overdue", session_id=event.session_id, task_id=event.task_id, since=event.since)
