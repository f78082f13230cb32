"""What the sessions service tells: what is on air, and who may watch it (SPEC §4)."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from contracts.event import Event, SessionEvent
from contracts.goals import Conditions, Context, GoalKind, Levels, Outcome
from contracts.values import (
    Data,
    Diamonds,
    EscrowId,
    Instant,
    ObjectIdStr,
    Open,
    Preset,
    Price,
    PricePreset,
    Seconds,
    Token,
    Viewers,
)

AuthorizationReason = Literal["agreed", "extended", "paid", "ticket", "private", "exclusive_ended"]
RevocationReason = Literal["refunded", "extension_rejected", "reversed"]
ReversalReason = Literal["session_ended", "exclusive_to_another", "exclusive_over", "extension_rejected", "blocked"]


class Prices(Data):
    """Diamonds per step; a preset without a price is not for sale."""

    sd: Price | None = None
    exclusive: Price | None = None


class Source(Data):
    """A camera or encoder in a room of its own, and the snapshot task that watches it.

    `preset` is whose tokens open the room: free or paid. Without it, that of the session.
    """

    room_id: Token
    session_id: ObjectIdStr
    task_id: Token
    kind: Token
    preset: Open[Preset] | None = None


Sources = Annotated[tuple[Source, ...], Field(max_length=50)]


class Statuses(Data):
    """When the session began, and when it ended."""

    created: Instant
    ended: Instant | None


class _SessionState(SessionEvent):
    """A session as it is after the event, whole. It is over at `exp` at the latest, whether or not an end was told.

    `ticket_goal_id` is the funding whose tickets let watch, from `ticket_nbf` to `ticket_exp` at the latest: those of
    the show that is on, or announced. None: no ticket lets watch. Nobody else needs to know of shows for that.
    """

    active: StrictBool
    prices: Prices
    preset: Open[Preset]
    sources: Sources
    statuses: Statuses
    exclusive_to: Viewers
    exp: Instant | None = None
    ticket_goal_id: ObjectIdStr | None = None
    ticket_nbf: Instant | None = None
    ticket_exp: Instant | None = None


class SessionStartedV1(
    _SessionState, type="session.started.v1", topic="sessions", key="session_id", subject="session_id"
):
    """A streamer is on air."""


class SessionUpdatedV1(
    _SessionState, type="session.updated.v1", topic="sessions", key="session_id", subject="session_id"
):
    """Prices, preset, sources, or to whom alone the session belongs have changed."""


class SessionEndedV1(_SessionState, type="session.ended.v1", topic="sessions", key="session_id", subject="session_id"):
    """The broadcast is over, for good, since `statuses.ended`. Told once a session."""


class SessionGoalAddedV1(
    SessionEvent, type="session.goal_added.v1", topic="sessions", key="session_id", subject="goal_id"
):
    """A goal is part of its session now; whoever watches may be told."""

    goal_id: ObjectIdStr
    kind: Open[GoalKind]
    conditions: Conditions
    context: Context
    levels: Levels | None = None
    nbf: Instant | None = None
    exp: Instant | None = None


class SessionGoalClosedV1(
    SessionEvent, type="session.goal_closed.v1", topic="sessions", key="session_id", subject="goal_id"
):
    """Whether an ended promise was `kept`, by what was on air and who could watch. Told once; money follows it."""

    goal_id: ObjectIdStr
    kind: Open[GoalKind]
    outcome: Outcome
    kept: StrictBool
    funding_goal_id: ObjectIdStr | None = None
    trigger_exclusive_goal_id: ObjectIdStr | None = None


class _PermissionEvent(SessionEvent):
    """A viewer's permission, and what made it change."""

    viewer_id: ObjectIdStr
    goal_id: ObjectIdStr | None = None
    exclusive_goal_id: ObjectIdStr | None = None
    payment_id: ObjectIdStr | None = None
    escrow_id: EscrowId | None = None
    earning_id: ObjectIdStr | None = None
    gift_id: ObjectIdStr | None = None


class SessionViewerAuthorizedV1(
    _PermissionEvent,
    type="session.viewer_authorized.v1",
    topic="sessions",
    key="session_id",
    subject="viewer_id",
):
    """A viewer may watch: the permission is written, so the next token call succeeds.

    `nbf` and `exp` are the viewer's whole paid time after it, `duration` the seconds that this cause gave. They are
    null for `ticket` and `exclusive_ended`, which give no time. `exclusive_goal_id`: what a payment was made for.
    """

    preset: Open[Preset]
    nbf: Instant | None
    duration: Seconds | None
    exp: Instant | None
    reason: Open[AuthorizationReason]


class Remaining(Data):
    """All that a viewer still has in a session: paid time (null if none), a ticket, a kept private goal."""

    nbf: Instant | None
    exp: Instant | None
    ticket: StrictBool
    private: StrictBool


class SessionViewerRevokedV1(
    _PermissionEvent,
    type="session.viewer_revoked.v1",
    topic="sessions",
    key="session_id",
    subject="viewer_id",
):
    """Something of a viewer's was taken back. `remaining` replaces what was known; who has nothing left is cut off."""

    reason: Open[RevocationReason]
    remaining: Remaining


class SessionPaymentRequestedV1(
    SessionEvent, type="session.payment_requested.v1", topic="sessions", key="session_id", subject="payment_id"
):
    """A viewer buys `duration` seconds at the price of `preset`; with an `exclusive_goal_id`, of that exclusive.

    Nobody waits for it after `exp`: who reads it later charges nothing.
    """

    payment_id: ObjectIdStr
    payer_id: ObjectIdStr
    amount_diamonds: Diamonds
    duration: Seconds
    preset: Open[PricePreset]
    exclusive_goal_id: ObjectIdStr | None = None
    exp: Instant | None = None


class SessionPaymentReversedV1(
    SessionEvent, type="session.payment_reversed.v1", topic="sessions", key="session_id", subject="payment_id"
):
    """Time that a payment bought could not be given: pay this amount back, once per event, never more than was paid.

    `duration` is the time taken back by it; without it, all that the payment bought.
    """

    payment_id: ObjectIdStr
    payer_id: ObjectIdStr
    amount_diamonds: Diamonds
    duration: Seconds | None = None
    reason: Open[ReversalReason]


class ViewerBlockedV1(Event, type="viewer.blocked.v1", topic="sessions", key="streamer_id", subject="viewer_id"):
    """A streamer blocks a viewer: no invitation, payment, gift, token or channel of this streamer until unblocked."""

    streamer_id: ObjectIdStr
    viewer_id: ObjectIdStr


class ViewerUnblockedV1(Event, type="viewer.unblocked.v1", topic="sessions", key="streamer_id", subject="viewer_id"):
    """A streamer takes a block back."""

    streamer_id: ObjectIdStr
    viewer_id: ObjectIdStr
