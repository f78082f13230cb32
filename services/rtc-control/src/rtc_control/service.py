"""rtc-control on one page: what it listens to, what it does then, and what it has the vendor do."""

from chassis.service import Service, effect, on, when
from contracts import (
    GoalCreatedV1,
    GoalEndedV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerRevokedV1,
)
from rtc_control import api, store
from rtc_control.domain.broadcast import OverdueDue, ReconcileDue
from rtc_control.domain.rooms import CutDue, CutOff
from rtc_control.domain.snapshot import AgainDue, LookAtSnapshot, MakeSnapshot
from rtc_control.gateway import rooms as vendor_rooms
from rtc_control.gateway import snapshots as vendor_snapshots
from rtc_control.gateway.calls import DEADLINE_SECONDS
from rtc_control.handlers import rooms, snapshots
from rtc_control.settings import Settings

SERVICE = Service(
    name="rtc-control",
    router=api.router,
    handlers=(
        on(SessionStartedV1, snapshots.project_session, needs=store.broadcast_of),
        on(SessionUpdatedV1, snapshots.project_session, needs=store.broadcast_of),
        on(SessionEndedV1, snapshots.project_session, needs=store.broadcast_of),
        on(SessionViewerRevokedV1, rooms.cut_off_revoked, needs=store.broadcast_of),
        on(GoalCreatedV1, snapshots.snapshot_rtc_sources, needs=store.of_exclusive),
        on(GoalEndedV1, snapshots.snapshot_rtc_sources, needs=store.of_exclusive),
    ),
    timers=(
        when(OverdueDue, snapshots.tell_overdue, needs=store.broadcast_of),
        when(AgainDue, snapshots.tell_vendor_again, needs=store.broadcast_of),
        when(ReconcileDue, snapshots.ask_vendor, needs=store.broadcast_of),
        when(CutDue, rooms.cut_off_others, needs=store.broadcast_of),
    ),
    effects=(
        effect(
            MakeSnapshot,
            vendor_snapshots.make,
            done=snapshots.record_answer,
            deadline_seconds=DEADLINE_SECONDS,
            batch=vendor_snapshots.AT_ONCE,
        ),
        effect(
            LookAtSnapshot,
            vendor_snapshots.look_at,
            done=snapshots.compare_with_vendor,
            deadline_seconds=DEADLINE_SECONDS,
            batch=vendor_snapshots.AT_ONCE,
        ),
        effect(CutOff, vendor_rooms.cut_off, deadline_seconds=DEADLINE_SECONDS, batch=vendor_rooms.AT_ONCE),
    ),
    collections=store.COLLECTIONS,
    settings=(Settings,),
)
