"""The notifier on one page: what it listens to, and what it does then."""

from chassis.service import Migration, Service, effect, on, when
from contracts import (
    GoalEndedV1,
    PassActivatedV1,
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from notifier import api, store
from notifier.domain.cuts import Cut, CutDue, CutWatchers
from notifier.domain.endings import MinutesOver, PassesOver, TicketsOver
from notifier.domain.heads import CountHeads, HeadsDue
from notifier.domain.pushes import Push
from notifier.domain.shows import TicketHoldersDue
from notifier.domain.table import TABLE
from notifier.domain.throttle import ProgressDue
from notifier.gateway import audience as pusher_audience
from notifier.gateway import pushes as pusher_pushes
from notifier.handlers import audience, endings, projections, pushes
from notifier.settings import Settings
from stream_tokens import StreamTokenSettings

SERVICE = Service(
    name="notifier",
    router=api.router,
    handlers=(
        on(SessionStartedV1, projections.project_session, needs=store.of_session),
        on(SessionStartedV1, audience.follow_session, needs=store.of_session),
        on(SessionUpdatedV1, projections.project_session, needs=store.of_session),
        on(SessionUpdatedV1, audience.follow_session, needs=store.of_session),
        on(SessionEndedV1, projections.project_session, needs=store.of_session),
        on(SessionEndedV1, audience.follow_session, needs=store.of_session),
        on(SessionGoalAddedV1, projections.invalidate_cached_pusher_channel_data, needs=store.broadcast_of),
        on(SessionViewerAuthorizedV1, projections.project_viewer_authorized, needs=store.permit_of),
        on(SessionViewerRevokedV1, projections.project_viewer_revoked, needs=store.of_revocation),
        on(ViewerBlockedV1, projections.project_viewer_blocked),
        on(ViewerUnblockedV1, projections.project_viewer_unblocked),
        on(PassActivatedV1, projections.project_pass_activated, needs=store.of_pass),
        on(GoalEndedV1, projections.remember_goal_ended),
        on(GoalEndedV1, projections.invalidate_cached_pusher_channel_data, needs=store.broadcast_of),
        *(
            on(row.event, pushes.pushing(row), needs=store.needed_by(row), processed_marker=store.DECIDED)
            for row in TABLE
        ),  # SPEC §6
        on(
            SessionGoalAddedV1,
            pushes.notify_stream_authorized_to_its_viewer,
            needs=store.started_for,
            processed_marker=store.DECIDED,
        ),
        on(SessionGoalAddedV1, pushes.notify_stream_authorized_to_ticket_holders, processed_marker=store.DECIDED),
        on(
            SessionViewerAuthorizedV1,
            pushes.notify_stream_authorized_to_ticket_buyer,
            needs=store.broadcast_of,
            processed_marker=store.DECIDED,
        ),
    ),
    timers=(
        when(ProgressDue, pushes.push_waiting_progress, needs=store.of_progress_due),
        when(HeadsDue, audience.count_heads, needs=store.of_heads_due),
        when(CutDue, audience.cut),
        when(MinutesOver, endings.cut_whose_minutes_are_over, needs=store.of_minutes_over),
        when(TicketsOver, endings.cut_whose_show_is_over, needs=store.of_minutes_over),
        when(PassesOver, endings.cut_whose_passes_are_over),
        when(TicketHoldersDue, pushes.push_to_ticket_holders, needs=store.of_ticket_holders_due),
    ),
    effects=(
        effect(
            Push,
            pusher_pushes.push,
            deadline_seconds=pusher_pushes.DEADLINE_SECONDS,
            batch=pusher_pushes.PUSHES_AT_ONCE,
            max_per_key=pusher_pushes.BATCH_MAX,
        ),
        effect(
            CountHeads,
            pusher_audience.count_heads,
            done=audience.tell_head_count,
            deadline_seconds=pusher_audience.DEADLINE_SECONDS,
            batch=pusher_audience.AT_ONCE,
        ),
        effect(
            Cut,
            pusher_audience.cut,
            deadline_seconds=pusher_audience.DEADLINE_SECONDS,
            batch=pusher_audience.AT_ONCE,
        ),
        effect(
            CutWatchers,
            pusher_audience.cut_watchers,
            deadline_seconds=pusher_audience.DEADLINE_SECONDS,
            batch=pusher_audience.AT_ONCE,
        ),
    ),
    collections=store.COLLECTIONS,
    migrations=(Migration(1, "permits and decided pushes under their new names", store.copy_former_names),),
    settings=(Settings, StreamTokenSettings),
)
