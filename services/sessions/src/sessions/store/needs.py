"""What handlers need, so that a batch loads it with one query per collection."""

from collections.abc import Iterator

from chassis.storage.collection import Ref
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
from contracts.escrow_ids import parse_escrow_id
from sessions.domain.blocks import block_id
from sessions.domain.exclusive import extension_id
from sessions.domain.passes import pass_id
from sessions.domain.private import contributor_id
from sessions.domain.viewer import holder_id
from sessions.store import (
    BLOCKS,
    CONTRIBUTIONS,
    CONTRIBUTORS,
    EXCLUSIVES,
    GRANTS,
    HEAD_COUNTS,
    INVITATIONS,
    KARAOKE_GOALS,
    PASSES,
    PAYMENTS,
    PRIVATE_GOALS,
    SESSIONS,
    SHOW_GOALS,
    TICKETS,
    VIEWERS,
)


def exclusive_of(event: GoalCreatedV1 | GoalEndedV1) -> Iterator[Ref]:
    """An event of a 1-on-1: its session, invitation, exclusive and viewer. Of any other goal: nothing."""
    viewer_id = event.conditions.exclusive_to
    if event.kind not in ("TriggerExclusiveGoal", "ExclusiveGoal") or viewer_id is None:
        return
    yield SESSIONS.ref(event.session_id)
    if event.kind == "TriggerExclusiveGoal":
        yield INVITATIONS.ref(event.goal_id)
        yield VIEWERS.ref(holder_id(event.session_id, viewer_id))
        yield GRANTS.ref(event.goal_id)
    else:
        yield EXCLUSIVES.ref(event.goal_id)
        yield INVITATIONS.ref(event.context.trigger_exclusive_goal_id or event.goal_id)


def extension_of(event: GoalExtendedV1) -> Iterator[Ref]:
    """An extension: its session, exclusive and viewer, unless a payment has given it."""
    if event.payment_id is None:
        yield SESSIONS.ref(event.session_id)
        yield EXCLUSIVES.ref(event.goal_id)
        yield GRANTS.ref(extension_id(event))
        yield from (VIEWERS.ref(holder_id(event.session_id, viewer_id)) for viewer_id in event.viewers)


def lapsed_session_of(event: GoalLapsedV1) -> Iterator[Ref]:
    """A lapsed invitation: its session."""
    if event.kind == "TriggerExclusiveGoal":
        yield SESSIONS.ref(event.session_id)


def refunded_of(event: EscrowFailedV1) -> Iterator[Ref]:
    """The refund of an invitation: that, its session and its viewer."""
    if parse_escrow_id(event.escrow_id).kind == "trigger_exclusive":
        yield SESSIONS.ref(event.session_id)
        yield INVITATIONS.ref(event.goal_id)
        yield VIEWERS.ref(holder_id(event.session_id, event.buyer_id))


def paid_of(event: PaymentSucceededV1) -> Iterator[Ref]:
    """A payment that was charged: that, its grant, session, payer and a block of the payer. Of a gift: nothing."""
    if event.purpose == "minutes":
        yield PAYMENTS.ref(event.payment_id)
        yield GRANTS.ref(event.payment_id)
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, event.payer_id))
        yield BLOCKS.ref(block_id(event.streamer_id, event.payer_id))


def payment_of(event: PaymentFailedV1 | PaymentReversedV1) -> Iterator[Ref]:
    """A payment that failed or was reversed. Of a gift: nothing."""
    if event.purpose == "minutes":
        yield PAYMENTS.ref(event.payment_id)


def rejected_payment_of(event: GoalExtensionRejectedV1) -> Iterator[Ref]:
    """A rejected extension: its session, the payment that it would have been for, and what that gave."""
    yield SESSIONS.ref(event.session_id)
    yield PAYMENTS.ref(event.payment_id)
    yield GRANTS.ref(event.payment_id)


def show_of(event: GoalCreatedV1 | GoalEndedV1) -> Iterator[Ref]:
    """An event of a show: its session and the goal. Of any other goal: nothing."""
    if event.kind in ("ShowFundingGoal", "ShowGoal"):
        yield SESSIONS.ref(event.session_id)
        yield SHOW_GOALS.ref(event.goal_id)


def private_of(event: GoalCreatedV1 | GoalEndedV1) -> Iterator[Ref]:
    """An event of a private goal: its session and the goal. Of any other goal: nothing."""
    if event.kind == "TriggerPrivateGoal":
        yield SESSIONS.ref(event.session_id)
        yield PRIVATE_GOALS.ref(event.goal_id)


def karaoke_of(event: GoalCreatedV1 | GoalEndedV1) -> Iterator[Ref]:
    """An event of a karaoke goal: its session and the goal. Of any other goal: nothing."""
    if event.kind == "KaraokeGoal":
        yield SESSIONS.ref(event.session_id)
        yield KARAOKE_GOALS.ref(event.goal_id)


def goal_of(event: GoalEndedV1) -> Iterator[Ref]:
    """A goal's end: its session and the goal, whatever its kind."""
    yield from exclusive_of(event)
    yield from show_of(event)
    yield from private_of(event)
    yield from karaoke_of(event)


def ticket_of(event: GoalProgressedV1 | EscrowFailedV1) -> Iterator[Ref]:
    """Tickets that count or were refunded: themselves, their session and their buyer. Of another purchase: nothing."""
    if parse_escrow_id(event.escrow_id).kind == "show_funding":
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, _buyer_id(event)))
        yield TICKETS.ref(event.earning_id)


def contribution_of(event: GoalProgressedV1 | EscrowFailedV1) -> Iterator[Ref]:
    """A gift to a private goal that counts or was refunded: the same, and its sender's part. Of another: nothing."""
    if parse_escrow_id(event.escrow_id).kind == "trigger_private":
        yield SESSIONS.ref(event.session_id)
        yield VIEWERS.ref(holder_id(event.session_id, _buyer_id(event)))
        yield CONTRIBUTIONS.ref(event.earning_id)
        yield CONTRIBUTORS.ref(contributor_id(event.goal_id, _buyer_id(event)))


def _buyer_id(event: GoalProgressedV1 | EscrowFailedV1) -> str:
    return event.user_id if isinstance(event, GoalProgressedV1) else event.buyer_id


def pass_of(event: PassActivatedV1) -> Iterator[Ref]:
    """An activated pass: what was told of it before."""
    yield PASSES.ref(pass_id(event.user_id, event.pass_kind))


def head_count_of(event: PresenceCountedV1) -> Iterator[Ref]:
    """A head count: that of its session."""
    yield HEAD_COUNTS.ref(event.session_id)
