"""The notifier on one page: what it listens to, and what it does then."""

from chassis.service import Service, call, on, when
from contracts import (
    GoalEndedV1,
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from notifier import api, gateway, handlers, store
from notifier.domain.pace import ProgressDue
from notifier.domain.pushes import Push
from notifier.domain.shows import TicketHoldersDue
from notifier.domain.table import TABLE
from notifier.settings import Settings

SERVICE = Service(
    name="notifier",
    router=api.router,
    handlers=(
        on(SessionStartedV1, handlers.project_session, needs=store.broadcast_of),
        on(SessionUpdatedV1, handlers.project_session, needs=store.broadcast_of),
        on(SessionEndedV1, handlers.project_session, needs=store.broadcast_of),
        on(SessionGoalAddedV1, handlers.project_show, needs=store.broadcast_of),
        on(SessionViewerAuthorizedV1, handlers.project_viewer_authorized, needs=store.permit_of),
        on(SessionViewerRevokedV1, handlers.project_viewer_revoked, needs=store.permit_of),
        on(ViewerBlockedV1, handlers.project_viewer_blocked),
        on(ViewerUnblockedV1, handlers.project_viewer_unblocked),
        on(GoalEndedV1, handlers.remember_goal_ended),
        *(
            on(row.event, handlers.pushing(row), needs=store.needed_by(row), memory=store.TOLD) for row in TABLE
        ),  # SPEC §6
        on(
            SessionGoalAddedV1,
            handlers.notify_stream_authorized_to_its_viewer,
            needs=store.started_for,
            memory=store.TOLD,
        ),
        on(SessionGoalAddedV1, handlers.notify_stream_authorized_to_ticket_holders, memory=store.TOLD),
        on(
            SessionViewerAuthorizedV1,
            handlers.notify_stream_authorized_to_ticket_buyer,
            needs=store.broadcast_of,
            memory=store.TOLD,
        ),
    ),
    timers=(
        when(ProgressDue, handlers.push_waiting_progress, needs=store.of_progress_due),
        when(TicketHoldersDue, handlers.push_to_ticket_holders, needs=store.of_ticket_holders_due),
    ),
    effects=(
        call(
            Push,
            gateway.push,
            deadline_seconds=gateway.DEADLINE_SECONDS,
            batch=gateway.PUSHES_AT_ONCE,
            in_a_row=gateway.BATCH_MAX,
        ),
    ),
    collections=store.COLLECTIONS,
    settings=(Settings,),
)
