"""What the goals service tells: the life of a promise, from its proposal to its end (SPEC §3)."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from contracts.event import SessionEvent
from contracts.values import (
    Count,
    Data,
    Diamonds,
    EscrowId,
    Instant,
    ObjectIdStr,
    Open,
    ProductId,
    Seconds,
    Title,
    Token,
    Viewers,
)

GoalKind = Literal[
    "ShowFundingGoal", "ShowGoal", "TriggerExclusiveGoal", "ExclusiveGoal", "TriggerPrivateGoal", "KaraokeGoal"
]
GoalType = Literal["show-funding", "show", "trigger-exclusive", "exclusive", "trigger-private", "karaoke"]
Outcome = Literal["funded", "unfunded", "completed", "cancelled", "agreed", "refused", "timed_out"]
TicketType = Literal["earlybird", "regular"]

ContributionRejection = Literal[
    "goal_unknown",
    "goal_over",
    "other_session",
    "proposal_expired",
    "stage_taken",
    "session_ended",
    "viewer_blocked",
    "too_many_invitations",
]
ProposalRejection = Literal[
    "insufficient_diamonds",
    "proposal_expired",
    "stage_taken",
    "session_ended",
    "viewer_blocked",
    "too_many_invitations",
]
LapseReason = Literal["no_show", "no_exclusive", "session_ended", "given_up"]


class Conditions(Data):
    """Where a goal counts, and for whom alone."""

    session_id: ObjectIdStr
    exclusive_to: ObjectIdStr | None = None


class Context(Data):
    """What a goal is about. Which fields there are depends on `type`."""

    type: Open[GoalType]
    session_id: ObjectIdStr | None = None

    # show-funding; a show copies them, but for the countdown
    perform_duration: Seconds | None = None
    hesitation_countdown: Seconds | None = None
    ticket_product_id: ProductId | None = None
    ticket_product_type: TicketType | None = None
    discount_percentage: Annotated[int, Field(strict=True, ge=0, le=99)] | None = None
    show_goal_id: ObjectIdStr | None = None

    # show
    funding_goal_id: ObjectIdStr | None = None

    # trigger-exclusive and exclusive
    exclusive_to: ObjectIdStr | None = None
    duration: Seconds | None = None
    exclusive_goal_id: ObjectIdStr | None = None
    trigger_exclusive_goal_id: ObjectIdStr | None = None

    # karaoke
    gift_id: ObjectIdStr | None = None
    sender_id: ObjectIdStr | None = None
    product_id: ProductId | None = None


class Level(Data):
    """A mark on the way: `target` in the unit of the goal's progress (tickets, seconds or diamonds)."""

    title: Title | None = None
    target: Count


Levels = Annotated[tuple[Level, ...], Field(max_length=10)]


class Metadata(Data):
    """Whose goal it is (`user_id`, the streamer), the time its viewer bought, and when the streamer agreed."""

    user_id: ObjectIdStr
    prepaid_duration: Seconds | None = None
    agreed: Instant | None = None


class GoalEvent(SessionEvent):
    """What every event about a goal carries."""

    goal_id: ObjectIdStr


class GoalProposedV1(GoalEvent, type="goal.proposed.v1", topic="goals", key="session_id", subject="goal_id"):
    """A viewer asks for a 1-on-1. Nothing is promised until escrow holds the money, which it does before `exp` only."""

    kind: Open[GoalKind]
    conditions: Conditions
    payer_id: ObjectIdStr
    amount_diamonds: Diamonds
    prepaid_duration: Seconds
    exp: Instant


class GoalCreatedV1(GoalEvent, type="goal.created.v1", topic="goals", key="session_id", subject="goal_id"):
    """A promise is open until `exp`, which can still move. Told once a goal."""

    kind: Open[GoalKind]
    active: StrictBool
    conditions: Conditions
    context: Context
    levels: Levels
    metadata: Metadata
    nbf: Instant | None
    exp: Instant


class GoalProgressedV1(GoalEvent, type="goal.progressed.v1", topic="goals", key="session_id", subject="goal_id"):
    """A held payment counts: goals accepts that hold, for good. `reached` says whether the target is met with it.

    `contribution_id` is the `earning_id`. `count` is how many tickets or gifts were paid; `progress`, the new total,
    and `target` are tickets of a funding, diamonds of a private goal, and 1 of 1 for an invitation.
    """

    kind: Open[GoalKind]
    user_id: ObjectIdStr
    contribution_id: ObjectIdStr
    earning_id: ObjectIdStr
    gift_id: ObjectIdStr | None = None
    escrow_id: EscrowId
    count: Count
    progress: Count
    target: Count
    reached: StrictBool


class GoalContributionRejectedV1(
    GoalEvent, type="goal.contribution_rejected.v1", topic="goals", key="session_id", subject="goal_id"
):
    """A held payment does not count, for good: its buyer gets it back at once."""

    user_id: ObjectIdStr
    contribution_id: ObjectIdStr
    earning_id: ObjectIdStr
    gift_id: ObjectIdStr | None = None
    escrow_id: EscrowId
    reason: Open[ContributionRejection]


class GoalRejectedV1(GoalEvent, type="goal.rejected.v1", topic="goals", key="session_id", subject="goal_id"):
    """A proposal came to nothing and never was a promise; `user_id` is the viewer who asked."""

    kind: Open[GoalKind]
    user_id: ObjectIdStr
    reason: Open[ProposalRejection]


class GoalExtendedV1(GoalEvent, type="goal.extended.v1", topic="goals", key="session_id", subject="goal_id"):
    """A running exclusive lasts until `exp` now, `duration` longer than before `nbf` or its old end.

    Without a `payment_id` its viewers get this time from the streamer; with one they have it from that payment.
    """

    viewers: Viewers
    nbf: Instant
    duration: Seconds
    exp: Instant
    payment_id: ObjectIdStr | None = None


class GoalExtensionRejectedV1(
    GoalEvent, type="goal.extension_rejected.v1", topic="goals", key="session_id", subject="goal_id"
):
    """A payment for more time came too late to be performed: the time is taken back and the money returned.

    `duration` is the part of the time that is not given; without it, all of it.
    """

    payment_id: ObjectIdStr
    duration: Seconds | None = None


class GoalEndedV1(GoalEvent, type="goal.ended.v1", topic="goals", key="session_id", subject="goal_id"):
    """A promise is over, for good, and this is how it came out. Told once a goal; money follows `outcome`.

    `triggerer` is the client that ended it, null when time or the session's end did.
    """

    kind: Open[GoalKind]
    active: Literal[False]
    progress: Count
    levels: Levels
    conditions: Conditions
    context: Context
    exp: Instant
    ended_at: Instant
    triggerer: Token | None
    metadata: Metadata
    outcome: Outcome


class GoalLapsedV1(GoalEvent, type="goal.lapsed.v1", topic="goals", key="session_id", subject="goal_id"):
    """What an ended goal had still promised will never come: no show, or no exclusive, can follow it any more."""

    kind: Open[GoalKind]
    reason: Open[LapseReason]
