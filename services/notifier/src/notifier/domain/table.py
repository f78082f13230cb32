"""SPEC §6 as a table: which event is pushed as what, where, and which of its fields are seen there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    Event,
    GiftFailedV1,
    GiftSentV1,
    GoalEndedV1,
    GoalExtendedV1,
    GoalProgressedV1,
    GoalRejectedV1,
    OrderPaidV1,
    OrderRefundedV1,
    PassActivatedV1,
    PaymentFailedV1,
    PaymentReversedV1,
    SessionEndedV1,
    SessionGoalAddedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from contracts.values import Preset
from notifier.domain import fields
from notifier.domain.channels import Channel, everybody, user, viewer, watching
from notifier.domain.pushes import Part

E = TypeVar("E", bound=Event)
Channels = tuple[Channel, ...]
Goal = SessionGoalAddedV1 | GoalEndedV1

# Who pays first is only on preview; who is extended is on sd already (SPEC §6). A ticket opens its show: `shows`.
_AUTHORIZED: Mapping[str, tuple[Preset, ...]] = {
    "agreed": ("preview",),
    "exclusive_ended": ("preview",),
    "extended": ("sd",),
    "paid": ("preview", "sd"),
    "private": ("preview", "sd"),
}


def _nothing_more(_event: Event) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class View(Generic[E]):
    """What is seen of an event on the channels `to`: these `fields`, and what follows from it, `more`."""

    to: Callable[[E], Channels]
    fields: tuple[str, ...]
    more: Callable[[E], dict[str, Any]] = _nothing_more


@dataclass(frozen=True, slots=True)
class Row(Generic[E]):
    """When `event` happens, it is pushed as `push`; `handler_name` says which handler does it (SPEC §6 and §10).

    With `until_ended` nothing is pushed any more once the goal that the event is about has ended; `throttled` ones
    wait for their turn (`throttle`).
    """

    handler_name: str
    event: type[E]
    push: str
    views: tuple[View[E], ...]
    until_ended: bool = False
    throttled: bool = False

    def to(self, event: E) -> Channels:
        """All channels on which it is pushed."""
        return tuple(channel for view in self.views for channel in view.to(event))

    def parts(self, event: E) -> tuple[Part, ...]:
        """What is pushed on which of them."""
        reached = ((view, view.to(event)) for view in self.views)
        return tuple(
            Part(channels, fields.shown(event, view.fields) | view.more(event))
            for view, channels in reached
            if channels
        )


# -- who sees a goal ---------------------------------------------------------------------------------------------------


BETWEEN_TWO = ("TriggerExclusiveGoal", "ExclusiveGoal")


def _is_between_two(event: Goal) -> bool:
    """Whether it is an invitation or a 1-on-1, or a goal of tomorrow that is for one viewer alone (SPEC §2)."""
    return event.kind in BETWEEN_TWO or event.conditions.exclusive_to is not None


def _all(event: Goal) -> Channels:
    return () if _is_between_two(event) else watching(event.streamer_id)


def _others(event: Goal) -> Channels:
    return everybody(event.streamer_id) if _is_between_two(event) else ()


def _the_two(event: Goal) -> Channels:
    if not _is_between_two(event):
        return ()
    return user(event.streamer_id, *filter(None, (event.conditions.exclusive_to,)))


def _watching_progress(event: GoalProgressedV1) -> Channels:
    """An invitation has no way to go: that it is paid is said by `goal.added`, and by whom is its two people's."""
    return () if event.kind in BETWEEN_TWO else watching(event.streamer_id)


def _exclusive_closed(event: GoalEndedV1) -> Channels:
    return _the_two(event) if event.kind == "ExclusiveGoal" and event.conditions.exclusive_to else ()


# -- who sees the rest -------------------------------------------------------------------------------------------------


def _stream(event: SessionUpdatedV1 | SessionEndedV1) -> Channels:
    return everybody(event.streamer_id)


def _exclusive(event: SessionUpdatedV1 | SessionEndedV1) -> dict[str, Any]:
    """Whether it is for somebody alone: not for whom."""
    return {"exclusive": bool(event.exclusive_to)}


def _authorized(event: SessionViewerAuthorizedV1) -> Channels:
    return viewer(event.streamer_id, event.viewer_id, *_AUTHORIZED.get(event.reason, ()))


def _revoked(event: SessionViewerRevokedV1) -> Channels:
    return viewer(event.streamer_id, event.viewer_id, "preview", "sd")


def _gift_sent(event: GiftSentV1) -> Channels:
    """In a 1-on-1 only its viewer can give something: who it was is not told to others (SPEC §2)."""
    if event.exclusive_to is not None:
        return user(event.streamer_id, event.sender_id)
    return (*everybody(event.streamer_id), *user(event.sender_id))


def _payer(event: PaymentFailedV1 | PaymentReversedV1) -> Channels:
    return user(event.payer_id)


def _buyer(event: EscrowFailedV1 | EscrowCompletedV1) -> Channels:
    return user(event.buyer_id)


# -- SPEC §6 -----------------------------------------------------------------------------------------------------------

GOAL_ADDED = Row(
    "trigger_notify_goal_added",
    SessionGoalAddedV1,
    "goal.added",
    (
        View(_all, fields.ADDED),
        View(_others, fields.ADDED_TO_OTHERS),
        View(_the_two, fields.ADDED_TO_THE_TWO),
    ),
    until_ended=True,
)
GOAL_PROGRESS_UPDATED = Row(
    "notify_goal_progress_updated",
    GoalProgressedV1,
    "goal.progress.updated",
    (View(_watching_progress, fields.PROGRESS),),
    until_ended=True,
    throttled=True,
)
GOAL_EXTENDED = Row(
    "notify_goal_extended",
    GoalExtendedV1,
    "goal.extended",
    (
        View(lambda event: everybody(event.streamer_id), fields.EXTENDED),
        View(lambda event: user(event.streamer_id), fields.EXTENDED_TO_THE_STREAMER),
        View(lambda event: user(*event.viewers), fields.EXTENDED_TO_ITS_VIEWER),
    ),
)
GOAL_ENDED = Row(
    "notify_goal_ended",
    GoalEndedV1,
    "goal.ended",
    (
        View(_all, fields.ENDED),
        View(_others, fields.ENDED_TO_OTHERS),
        View(_the_two, fields.ENDED_TO_THE_TWO),
    ),
)
EXCLUSIVE_CLOSED = Row(
    "trigger_exclusive_on_close_notification",
    GoalEndedV1,
    "exclusive.closed",
    (View(_exclusive_closed, fields.ENDED_TO_THE_TWO),),
)
GIFT_SENT = Row(
    "notify_gift_sent",
    GiftSentV1,
    "gift.sent",
    (View(_gift_sent, fields.GIFT),),
)
GIFT_FAILED = Row(
    "notify_gift_failed",
    GiftFailedV1,
    "gift.failed",
    (View(lambda event: user(event.sender_id), (*fields.GIFT, "reason")),),
)


def _to(
    handler_name: str, event: type[E], push: str, to: Callable[[E], Channels], names: tuple[str, ...], **more: Any
) -> Row[E]:
    """A row that shows the same to all who see it."""
    return Row(handler_name, event, push, (View(to, names, **more),))


TABLE: tuple[Row[Any], ...] = (
    GOAL_ADDED,
    GOAL_PROGRESS_UPDATED,
    GOAL_EXTENDED,
    GOAL_ENDED,
    EXCLUSIVE_CLOSED,
    _to("notify_goal_rejected", GoalRejectedV1, "goal.rejected", lambda event: user(event.user_id), fields.REJECTED),
    _to("notify_session_updated", SessionUpdatedV1, "session.updated", _stream, fields.SESSION_STATE, more=_exclusive),
    _to("notify_session_ended", SessionEndedV1, "session.ended", _stream, fields.SESSION_STATE, more=_exclusive),
    _to("notify_stream_authorized", SessionViewerAuthorizedV1, "stream.authorized", _authorized, fields.PERMISSION),
    _to("notify_stream_revoked", SessionViewerRevokedV1, "stream.revoked", _revoked, fields.REVOCATION),
    _to("notify_payment_failed", PaymentFailedV1, "payment.failed", _payer, fields.PAYMENT),
    _to("notify_payment_reversed", PaymentReversedV1, "payment.reversed", _payer, fields.PAYMENT),
    _to("notify_escrow_failed", EscrowFailedV1, "escrow.failed", _buyer, fields.EARNING),
    _to("notify_escrow_completed", EscrowCompletedV1, "escrow.completed", _buyer, fields.EARNING),
    GIFT_SENT,
    GIFT_FAILED,
    _to("notify_order_paid", OrderPaidV1, "order.paid", lambda event: user(event.user_id), fields.ORDER),
    _to("notify_order_refunded", OrderRefundedV1, "order.refunded", lambda event: user(event.user_id), fields.REFUND),
    _to("notify_pass_activated", PassActivatedV1, "pass.activated", lambda event: user(event.user_id), fields.PASS),
)
