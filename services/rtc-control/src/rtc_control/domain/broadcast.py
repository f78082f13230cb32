"""Which sources of a session are to be photographed, as a function of what was read so far in any order (SPEC §7)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis.decision import At, Call, Decision, Timer, derived_id
from contracts import (
    Event,
    GoalCreatedV1,
    GoalEndedV1,
    RtcSnapshotChangedV1,
    RtcSnapshotOverdueV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
)
from rtc_control.domain.snapshot import AgainDue, LookAtSnapshot, MakeSnapshot, Snapshot

OVERDUE = timedelta(seconds=5)  # so long may a snapshot run on after an exclusive has begun, untold
RECONCILED = timedelta(seconds=60)  # what the vendor does by itself is noticed so late

SessionState = SessionStartedV1 | SessionUpdatedV1 | SessionEndedV1


class OverdueDue(Timer, name="snapshot-overdue-due"):
    """An exclusive has lasted so long that no snapshot may run."""

    session_id: str


class ReconcileDue(Timer, name="reconcile-due"):
    """The vendor is to be asked what it does for a session."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Exclusive:
    """An ExclusiveGoal that is on."""

    goal_id: str
    began: datetime


@dataclass(frozen=True, slots=True)
class EndedGoal:
    """An ExclusiveGoal that has ended `at` a moment: whatever is read of it later."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Source:
    """A camera or encoder in a room of its own; `paid` is whether only who may watch `sd` gets a token for it."""

    room_id: str
    task_id: str
    paid: bool


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A session, whose id this has. It may be known by its exclusives before it is by itself."""

    id: str
    streamer_id: str
    started: bool = False
    ended: datetime | None = None
    exclusive_to: tuple[str, ...] = ()
    """Who alone may watch; anyone, when empty."""
    sources: tuple[Source, ...] = ()
    exclusives: tuple[Exclusive, ...] = ()
    """Never more than a few: a session has one at a time, and another topic may tell of its end first."""
    snapshots: tuple[Snapshot, ...] = ()
    """Of every source, and of those that are gone until the vendor has stopped theirs."""

    @property
    def is_photographed(self) -> bool:
        """Whether pictures of it may be taken."""
        return self.started and self.ended is None and not self.exclusives

    @property
    def exclusive(self) -> Exclusive | None:
        """The exclusive that began first of those that are on."""
        return min(self.exclusives, key=lambda one: one.began, default=None)

    def snapshot(self, task_id: str) -> Snapshot | None:
        """The task with this id, unless nothing is left of it."""
        return next((one for one in self.snapshots if one.task_id == task_id), None)

    def with_snapshot(self, changed: Snapshot) -> "Broadcast":
        """The same with one task changed."""
        return replace(
            self, snapshots=tuple(changed if one.task_id == changed.task_id else one for one in self.snapshots)
        )


# -- what is told ------------------------------------------------------------------------------------------------------


def told(known: Broadcast | None, event: SessionState, now: datetime) -> Decision[Broadcast]:
    """The session is as `event` says; once seen ended it stays so."""
    before = known or Broadcast(event.session_id, event.streamer_id)
    ended = before.ended or (None if event.active else event.statuses.ended or now)
    paid = {source.room_id: (source.preset or event.preset) == "sd" for source in event.sources}
    sources = tuple(Source(source.room_id, source.task_id, paid[source.room_id]) for source in event.sources)
    if before.ended and event.active:
        return Decision(None)
    after = replace(before, started=True, ended=ended, exclusive_to=event.exclusive_to, sources=sources)
    decision = _followed(after, now)
    return decision if before.started else decision.then(timers=(_reconcile(after, now),))


def exclusive_created(
    known: Broadcast | None, event: GoalCreatedV1, began: datetime, now: datetime
) -> Decision[Broadcast]:
    """Two people are alone from now on: nothing is photographed."""
    before = known or Broadcast(event.session_id, event.streamer_id)
    if any(one.goal_id == event.goal_id for one in before.exclusives):
        return Decision(None)
    after = replace(before, exclusives=(*before.exclusives, Exclusive(event.goal_id, began)))
    due = At(
        OverdueDue(session_id=after.id),
        id=derived_id(OverdueDue.NAME, after.id, event.goal_id),
        due=began + OVERDUE,
        key=after.id,
    )
    return _followed(after, now).then(timers=(due,))


def exclusive_ended(known: Broadcast, event: GoalEndedV1, now: datetime) -> Decision[Broadcast]:
    """They are not any more: what ran on in spite of it for too long until then is told, if it has not been yet."""
    before, overdue = _overdue(known, event.ended_at)
    exclusives = tuple(one for one in before.exclusives if one.goal_id != event.goal_id)
    decision = _followed(replace(before, exclusives=exclusives), now)
    return replace(decision, events=(*overdue, *decision.events))


# -- what the vendor says ----------------------------------------------------------------------------------------------


def answered(known: Broadcast, call: MakeSnapshot, attempt: int, now: datetime) -> Decision[Broadcast]:
    """The vendor has started or stopped a task, or says that it had before."""
    before, overdue = _overdue(known, now)
    snapshot = before.snapshot(call.task_id)
    if snapshot is None or snapshot.wanted != call.running:
        return Decision(None)
    after = snapshot.answered(now, attempt=attempt)
    due = after.again_due(now)
    timers = () if due is None else (_again(before, after, due),)
    return _changed(before, snapshot, after, now).then(events=overdue, timers=timers)


def found(known: Broadcast, task_id: str, now: datetime, *, running: bool) -> Decision[Broadcast]:
    """The vendor was asked what it does. If it is not what it said before, it is told again what is wanted."""
    snapshot = known.snapshot(task_id)
    if snapshot is None or snapshot.asked or snapshot.running == running:
        return Decision(None)
    after = snapshot.found(now, running=running)
    if running == after.wanted:
        return _changed(known, snapshot, after, now)
    after = replace(after, asked=now)
    return _changed(known, snapshot, after, now).then(effects=(_make(known, after),))


def pictured(known: Broadcast, task_id: str, taken: datetime, now: datetime) -> Decision[Broadcast]:
    """The vendor has told of a picture: then its task runs, or did when the picture was taken."""
    snapshot = known.snapshot(task_id)
    if snapshot is None or snapshot.is_late_picture(taken):
        return Decision(None)
    return found(known, task_id, now, running=True)


# -- what is due -------------------------------------------------------------------------------------------------------


def overdue(known: Broadcast, now: datetime) -> Decision[Broadcast]:
    """What may still run though an exclusive has begun is told, once for each exclusive and source."""
    after, events = _overdue(known, now)
    return Decision(after if events else None, events=events)


def again(known: Broadcast, task_id: str, now: datetime) -> Decision[Broadcast]:
    """What is wanted is said again."""
    snapshot = known.snapshot(task_id)
    if snapshot is None or snapshot.asked:
        return Decision(None)
    after = known.with_snapshot(replace(snapshot, asked=now))
    return Decision(after, effects=(_make(after, snapshot),))


def reconcile(known: Broadcast, now: datetime) -> Decision[Broadcast]:
    """The vendor is asked of each task that no call is open for, until the session ends: then each has an open stop."""
    after = _cleared(known, now)
    if after.ended is not None:
        return Decision(after)
    looks = tuple(_look(after, one, now) for one in after.snapshots if not one.asked)
    return Decision(after, timers=(_reconcile(after, now),), effects=looks)


# -- what follows ------------------------------------------------------------------------------------------------------


def _followed(state: Broadcast, now: datetime) -> Decision[Broadcast]:
    """What is wanted of each task now; calls for those of which it was not wanted before."""
    state, overdue = _overdue(state, now)
    present = {source.room_id for source in state.sources} if state.ended is None else set()
    known = {one.room_id for one in state.snapshots}
    new = (Snapshot(one.room_id, one.task_id) for one in state.sources if one.room_id not in known)
    snapshots: list[Snapshot] = []
    calls: list[Call] = []
    for before in (*state.snapshots, *new):
        wanted = state.is_photographed and before.room_id in present
        after = before if wanted == before.wanted else before.turned(now, wanted=wanted)
        snapshots.append(after)
        if after is not before:
            calls.append(_make(state, after))
    return Decision(_cleared(replace(state, snapshots=tuple(snapshots)), now), events=overdue, effects=tuple(calls))


def _cleared(state: Broadcast, now: datetime) -> Broadcast:
    """Without the tasks of which nothing is left: their source is gone, and the vendor has stopped them."""
    present = {source.room_id for source in state.sources} if state.ended is None else set()
    left = tuple(one for one in state.snapshots if one.room_id in present or not one.is_over(now))
    return replace(state, snapshots=left)


def _overdue(state: Broadcast, now: datetime) -> tuple[Broadcast, tuple[Event, ...]]:
    exclusive = state.exclusive
    if exclusive is None or now < exclusive.began + OVERDUE:
        return state, ()
    events: list[Event] = []
    for one in state.snapshots:
        if one.may_run(now) and one.overdue_goal_id != exclusive.goal_id:
            state = state.with_snapshot(replace(one, overdue_goal_id=exclusive.goal_id))
            events.append(
                RtcSnapshotOverdueV1(
                    session_id=state.id,
                    streamer_id=state.streamer_id,
                    room_id=one.room_id,
                    task_id=one.task_id,
                    running=True,
                    since=exclusive.began,
                )
            )
    return state, tuple(events)


def _changed(state: Broadcast, before: Snapshot, after: Snapshot, now: datetime) -> Decision[Broadcast]:
    """One task is in another state, which is told if the vendor does another thing than before."""
    state, overdue = _overdue(state.with_snapshot(after), now)
    return Decision(_cleared(state, now), events=(*_told_change(state, before, after), *overdue))


def _told_change(state: Broadcast, before: Snapshot, after: Snapshot) -> Iterator[RtcSnapshotChangedV1]:
    if after.running != before.running and after.since is not None:
        yield RtcSnapshotChangedV1(
            session_id=state.id,
            streamer_id=state.streamer_id,
            room_id=after.room_id,
            task_id=after.task_id,
            running=after.running,
            since=after.since,
        )


def _make(state: Broadcast, snapshot: Snapshot) -> Call:
    """One call is open for a task at a time: under the task's id, it takes the place of one that waits."""
    exclusive = state.exclusive
    call = MakeSnapshot(
        session_id=state.id,
        room_id=snapshot.room_id,
        task_id=snapshot.task_id,
        running=snapshot.wanted,
        exclusive_since=exclusive.began if exclusive else None,
    )
    return Call(call, id=snapshot.task_id, key=snapshot.task_id)


def _look(state: Broadcast, snapshot: Snapshot, now: datetime) -> Call:
    look = LookAtSnapshot(session_id=state.id, room_id=snapshot.room_id, task_id=snapshot.task_id)
    return Call(look, id=f"look:{snapshot.task_id}", key=snapshot.task_id, not_after=now + RECONCILED)


def _again(state: Broadcast, snapshot: Snapshot, due: datetime) -> At:
    timer = AgainDue(session_id=state.id, task_id=snapshot.task_id)
    return At(timer, id=derived_id(timer.NAME, snapshot.task_id), due=due, key=state.id)


def _reconcile(state: Broadcast, now: datetime) -> At:
    timer = ReconcileDue(session_id=state.id)
    return At(timer, id=derived_id(timer.NAME, state.id), due=now + RECONCILED, key=state.id)
