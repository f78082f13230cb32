"""What one push is made of: copies for channels under one number, and what is kept of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import to_json

from chassis.decision import Call, Effect, derived_id
from notifier.domain.channels import Channel

DATA_BYTES_MAX = 10_240  # Pusher's limit, in UTF-8
STALE = timedelta(seconds=60)  # a stream's news that could not be pushed for so long helps nobody (SPEC §6)
KEPT = timedelta(days=7)  # how long a user who was away can catch up
LIVE = timedelta(hours=24)  # an older event is history: no session lasts longer


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
class DecidedPushes:
    """An event, and the pushes that were decided on for it: made, put off or left to a later one. Each is decided once,
    however often and from wherever the event is read: nobody is told twice.
    """

    id: str
    at: datetime
    pushes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PushCause:
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
class Part:
    """What one push shows on some of its channels."""

    channels: tuple[Channel, ...]
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PushResult:
    """What one push changes."""

    audiences: tuple[Audience, ...]
    notifications: tuple[Notification, ...]
    calls: tuple[Call, ...]


def still_news(parts: Iterable[Part], cause: PushCause) -> tuple[Part, ...]:
    """For whom it is still news: of history, only for the channels that keep it, as long as they do."""
    if not cause.is_history:
        return tuple(parts)
    if cause.now - cause.at >= KEPT:
        return ()
    kept = (replace(part, channels=tuple(one for one in part.channels if one.is_kept)) for part in parts)
    return tuple(part for part in kept if part.channels)


def push(name: str, parts: Sequence[Part], audiences: Mapping[str, Audience], cause: PushCause) -> PushResult:
    """Push `parts`, at least one, as `name`: all under the next number of all their channels' owners."""
    owner_ids = dict.fromkeys(channel.owner_id for part in parts for channel in part.channels)
    owners = [audiences.get(owner_id, Audience(owner_id)) for owner_id in owner_ids]
    seq = 1 + max(owner.seq for owner in owners)
    made = [_made(name, part, number, seq, cause) for number, part in enumerate(parts)]
    return PushResult(
        tuple(replace(owner, seq=seq) for owner in owners),
        tuple(notification for notifications, _ in made for notification in notifications),
        tuple(call for _, calls in made for call in calls),
    )


def _made(
    name: str, part: Part, number: int, seq: int, cause: PushCause
) -> tuple[tuple[Notification, ...], tuple[Call, ...]]:
    """What is kept of one part, and the copies to push; one event can be pushed in slices, a `seq` each."""
    head = {"event_id": cause.event_id, "at": cause.at, "seq": seq}
    whole = _json({**part.data, **head})
    sent = whole if len(whole.encode()) <= DATA_BYTES_MAX else _json({**head, "fetch": _where(part.data, seq)})
    push_id = derived_id(cause.event_id, name, str(seq), str(number))
    notifications = tuple(
        Notification(cause.copy_id(name, channel), channel.owner_id, seq, name, whole, cause.at)
        for channel in part.channels
        if channel.is_kept
    )
    calls = tuple(
        Call(
            Push(push_id=push_id, name=name, channel=channel.name, data=sent),
            id=cause.copy_id(name, channel),
            key=channel.name,
            not_after=cause.at + KEPT if channel.is_kept else cause.now + STALE,
        )
        for channel in part.channels
    )
    return notifications, calls


def _where(data: Mapping[str, Any], seq: int) -> str:
    """Where to fetch what is too long for Pusher: goals can be read by all who watch, the rest is the user's own."""
    return f"/goals/{data['goal_id']}" if "goal_id" in data else f"/notifications?after={seq - 1}&limit=1"


def _json(data: Mapping[str, Any]) -> str:
    """With times as Unix seconds (SPEC §6)."""
    return to_json(data, temporal_mode="seconds").decode()
