"""The sessions service on one page: what it listens to, and what it does then."""

from chassis.service import Service, on, when
from contracts import (
    EscrowFailedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalExtendedV1,
    GoalExtensionRejectedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    PassActivatedV1,
    PaymentFailedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
    PresenceCountedV1,
)
from sessions import api, store
from sessions.domain.minutes import MinutesLeft
from sessions.domain.private import PrivateGoalsLeft, PrivateJudgementDue, PrivateRightDue
from sessions.domain.session import SessionMaxReached
from sessions.handlers import ended, exclusive, karaoke, passes, payments, private, session, show
from sessions.settings import SessionsSettings
from sessions.store import needs
from stream_tokens import StreamTokenSettings

SERVICE = Service(
    name="sessions",
    router=api.router,
    handlers=(
        on(GoalCreatedV1, exclusive.bind_trigger_exclusive_goal_to_session, needs=needs.exclusive_of),
        on(GoalCreatedV1, exclusive.bind_exclusive_goals_to_session, needs=needs.exclusive_of),
        on(GoalCreatedV1, show.bind_show_goals_to_session, needs=needs.show_of),
        on(GoalCreatedV1, private.bind_trigger_private_goal_to_session, needs=needs.private_of),
        on(GoalCreatedV1, karaoke.bind_karaoke_goal_to_session, needs=needs.karaoke_of),
        on(GoalEndedV1, ended.set_embedded_goal_ended, needs=needs.goal_of),
        on(GoalEndedV1, ended.cleanup_expired_exclusive_goal_pairs),
        on(GoalEndedV1, ended.sync_trigger_goal_session_viewer),
        on(GoalEndedV1, ended.pay_back_overtaken_minutes),
        on(GoalEndedV1, ended.close_session_goal),
        on(GoalEndedV1, ended.give_private_right),
        on(GoalProgressedV1, show.give_ticket, needs=needs.ticket_of),
        on(GoalProgressedV1, private.contribute, needs=needs.contribution_of),
        on(GoalExtendedV1, exclusive.extend_viewer, needs=needs.extension_of),
        on(GoalLapsedV1, exclusive.release_session, needs=needs.lapsed_session_of),
        on(EscrowFailedV1, exclusive.take_back_refunded_time, needs=needs.refunded_of),
        on(EscrowFailedV1, show.void_ticket, needs=needs.ticket_of),
        on(EscrowFailedV1, private.void_contribution, needs=needs.contribution_of),
        on(PaymentSucceededV1, payments.give_paid_time, needs=needs.paid_of),
        on(PaymentFailedV1, payments.fail_payment, needs=needs.payment_of),
        on(PaymentReversedV1, payments.confirm_payment_reversed, needs=needs.payment_of),
        on(GoalExtensionRejectedV1, payments.reverse_rejected_extension, needs=needs.rejected_payment_of),
        on(PassActivatedV1, passes.follow_pass, needs=needs.pass_of),
        on(PresenceCountedV1, session.follow_head_count, needs=needs.head_count_of),
    ),
    timers=(
        when(SessionMaxReached, session.end_session_at_max),
        when(MinutesLeft, payments.pay_back_minutes),
        when(PrivateRightDue, ended.give_more_right),
        when(PrivateJudgementDue, private.judge_private_goal),
        when(PrivateGoalsLeft, private.judge_private_goals),
    ),
    collections=store.COLLECTIONS,
    settings=(SessionsSettings, StreamTokenSettings),
)
