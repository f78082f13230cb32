"""SPEC §6 as a table, and what one push is made of."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from pydantic_core import to_json

from chassis.decision import Call, Effect, derived_id
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    Event,
    GiftSentV1,
    GoalEndedV1,
    GoalProgressedV1,
    GoalRejectedV1,
    OrderPaidV1,
    PassActivatedV1,
    PaymentFailedV1,
    PaymentReversedV1,
    SessionGoalAddedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from contracts.values import Preset
from notifier.domain.channels import Channel, user, viewer, watching

E = TypeVar("E", bound=Event)

DATA_BYTES_MAX = 10_240  # Pusher's limit, in UTF-8
STALE = timedelta(seconds=60)  # a stream's news that could not be pushed for so long helps nobody (SPEC §6)
KEPT = timedelta(days=7)  # how long a user who was away can catch up
LIVE = timedelta(hours=24)  # an older event is history: no session lasts longer

# Who pays first is only on preview; who is extended is on sd already (SPEC §6).
_AUTHORIZED: Mapping[str, tuple[Preset, ...]] = {
    "agreed": ("preview",),
    "exclusive_ended": ("preview",),
    "extended": ("sd",),
    "paid": ("preview", "sd"),
    "ticket": ("preview", "sd"),
    "private": ("preview", "sd"),
}


@dataclass(frozen=True, slots=True)
class Row(Generic[E]):
    """When `event` happens, `push` goes to the channels `to`; `deed` is the handler's name (SPEC §6 and §10).

    With `until_ended` nothing is pushed any more once the goal that the event is about has ended; `paced` ones wait for
    their turn (`pace`).
    """

    deed: str
    event: type[E]
    push: str
    to: Callable[[E], tuple[Channel, ...]]
    until_ended: bool = False
    paced: bool = False


def _authorized(event: SessionViewerAuthorizedV1) -> tuple[Channel, ...]:
    return viewer(event.streamer_id, event.viewer_id, *_AUTHORIZED.get(event.reason, ()))


def _authorized_by_start(event: SessionGoalAddedV1) -> tuple[Channel, ...]:
    """An exclusive's viewer; a show's ticket holders are told in slices (`holders`)."""
    if event.kind != "ExclusiveGoal" or event.conditions.exclusive_to is None:
        return ()
    return viewer(event.streamer_id, event.conditions.exclusive_to, "preview", "sd")


def _exclusive_closed(event: GoalEndedV1) -> tuple[Channel, ...]:
    if event.kind != "ExclusiveGoal" or event.conditions.exclusive_to is None:
        return ()
    return user(event.streamer_id, event.conditions.exclusive_to)


def _gift_sent(event: GiftSentV1) -> tuple[Channel, ...]:
    return (Channel("private-stream", event.streamer_id), *user(event.sender_id))


GOAL_PROGRESS_UPDATED = Row(
    "notify_goal_progress_updated",
    GoalProgressedV1,
    "goal.progress.updated",
    lambda event: watching(event.streamer_id),
    until_ended=True,
    paced=True,
)

TABLE: tuple[Row[Any], ...] = (
    Row(
        "trigger_notify_goal_added",
        SessionGoalAddedV1,
        "goal.added",
        lambda event: watching(event.streamer_id),
        until_ended=True,
    ),
    GOAL_PROGRESS_UPDATED,
    Row("notify_goal_ended", GoalEndedV1, "goal.ended", lambda event: watching(event.streamer_id)),
    Row("notify_stream_authorized", SessionViewerAuthorizedV1, "stream.authorized", _authorized),
    Row("notify_stream_authorized_by_start", SessionGoalAddedV1, "stream.authorized", _authorized_by_start),
    Row(
        "notify_stream_revoked",
        SessionViewerRevokedV1,
        "stream.revoked",
        lambda event: viewer(event.streamer_id, event.viewer_id, "preview", "sd"),
    ),
    Row("trigger_exclusive_on_close_notification", GoalEndedV1, "exclusive.closed", _exclusive_closed),
    Row("notify_goal_rejected", GoalRejectedV1, "goal.rejected", lambda event: user(event.user_id)),
    Row("notify_payment_failed", PaymentFailedV1, "payment.failed", lambda event: user(event.payer_id)),
    Row("notify_payment_reversed", PaymentReversedV1, "payment.reversed", lambda event: user(event.payer_id)),
    Row("notify_escrow_failed", EscrowFailedV1, "escrow.failed", lambda event: user(event.buyer_id)),
    Row("notify_escrow_completed", EscrowCompletedV1, "escrow.completed", lambda event: user(event.buyer_id)),
    Row("notify_gift_sent", GiftSentV1, "gift.sent", _gift_sent),
    Row("notify_order_paid", OrderPaidV1, "order.paid", lambda event: user(event.user_id)),
    Row("notify_pass_activated", PassActivatedV1, "pass.activated", lambda event: user(event.user_id)),
)


class Push(Effect, name="push"):
    """One push on one channel; those with the same `push_id` differ in nothing else and may share a call."""

    push_id: str
    name: str
    channel: str
    data: str


@dataclass(frozen=True, slots=True)
class Audience:
    """Those who listen to one user's channels: the number of the last push on any of them."""

    id: str
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Notification:
    """A push on a user's own channel, kept for catching up; `data` is the whole JSON, whatever was pushed."""

    id: str
    user_id: str
    seq: int
    name: str
    data: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EndedGoal:
    """A goal that ended, whatever else of it is read later."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and the pushes that were decided on for it: made, put off or left to a later one. Each is decided once,
    however often and from wherever the event is read: nobody is told twice.
    """

    id: str
    at: datetime
    pushes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Occasion:
    """The event that is told of: its id, when it happened, and the time now."""

    event_id: str
    at: datetime
    now: datetime

    @property
    def is_history(self) -> bool:
        """Whether it is so long ago that no stream wants to hear of it."""
        return self.now - self.at >= LIVE

    def copy_id(self, push: str, channel: Channel) -> str:
        """The id of a push that follows from it on one channel: the vendor call's, and what is kept has it too."""
        return derived_id(self.event_id, push, channel.name)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What one push changes."""

    audiences: tuple[Audience, ...]
    notifications: tuple[Notification, ...]
    calls: tuple[Call, ...]


def still_news(channels: Iterable[Channel], occasion: Occasion) -> tuple[Channel, ...]:
    """The channels that should still hear of it: of history, only those that keep it, for as long as they do."""
    if not occasion.is_history:
        return tuple(channels)
    is_forgotten = occasion.now - occasion.at >= KEPT
    return tuple(channel for channel in channels if channel.is_kept and not is_forgotten)


def push(
    name: str, event: Event, channels: tuple[Channel, ...], audiences: Mapping[str, Audience], occasion: Occasion
) -> Pushed:
    """Push `event` as `name` to `channels`, at least one, under the next number of all their owners."""
    owners = [audiences.get(owner_id, Audience(owner_id)) for owner_id in dict.fromkeys(c.owner_id for c in channels)]
    seq = 1 + max(owner.seq for owner in owners)
    whole = _data(event, occasion, seq)
    sent = whole if len(whole.encode()) <= DATA_BYTES_MAX else _pointer(event, occasion, seq)
    push_id = derived_id(occasion.event_id, name, str(seq))  # one event can be pushed in slices, a number each
    return Pushed(
        tuple(replace(owner, seq=seq) for owner in owners),
        tuple(
            Notification(occasion.copy_id(name, channel), channel.owner_id, seq, name, whole, occasion.at)
            for channel in channels
            if channel.is_kept
        ),
        tuple(
            Call(
                Push(push_id=push_id, name=name, channel=channel.name, data=sent),
                id=occasion.copy_id(name, channel),
                key=channel.name,
                not_after=occasion.at + KEPT if channel.is_kept else occasion.now + STALE,
            )
            for channel in channels
        ),
    )


def _data(event: Event, occasion: Occasion, seq: int) -> str:
    """The event's data as on the wire, but with times as Unix seconds (SPEC §6)."""
    return _json(event.model_dump(exclude_defaults=True) | _head(occasion, seq))


def _pointer(event: Event, occasion: Occasion, seq: int) -> str:
    """Where to fetch what is too long for Pusher: goals can be read by all who watch, the rest is the user's own."""
    goal_id = getattr(event, "goal_id", None)
    where = f"/goals/{goal_id}" if goal_id else f"/notifications?after={seq - 1}&limit=1"
    return _json(_head(occasion, seq) | {"fetch": where})


def _head(occasion: Occasion, seq: int) -> dict[str, Any]:
    return {"event_id": occasion.event_id, "at": occasion.at, "seq": seq}


def _json(data: Mapping[str, Any]) -> str:
    return to_json(data, temporal_mode="seconds").decode()
