"""When a show or a 1-on-1 begins, those for whom it is may watch, and are told (SPEC §6).

The ticket holders of a show are told in slices, so that nothing grows with the audience (SPEC §1). A slice is a push
under a number of its own: one number for all of them would be overtaken, on a holder's channels, by whatever else that
holder is told meanwhile. Each slice sets the timer of the next: the run stops and goes on anywhere.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from chassis.decision import At, Timer, derived_id
from contracts import SessionGoalAddedV1, SessionViewerAuthorizedV1
from notifier.domain import fields
from notifier.domain.channels import Channel, viewer
from notifier.domain.entitlement import Permit
from notifier.domain.pushes import Part, PushCause

SLICE_MAX = 250  # two channels each: five calls of Pusher's 100 channels, and what the gateway gets at once
INTERVAL = timedelta(milliseconds=200)  # about as fast as they can be made: who is told something else waits behind few


class TicketHoldersDue(Timer, name="ticket-holders-due"):
    """The next holders may be told: those `after` the permit of the last one. `show` is the event's JSON."""

    show: str
    event_id: str
    at: datetime
    show_goal_id: str
    funding_goal_id: str
    after: str = ""

    def cause(self, now: datetime) -> PushCause:
        """What they are told of."""
        return PushCause(self.event_id, self.at, now)


def begin(event: SessionGoalAddedV1, cause: PushCause) -> At | None:
    """The first slice, if it is a show that was added; a day later that helps nobody."""
    funding_goal_id = event.context.funding_goal_id
    if event.kind != "ShowGoal" or funding_goal_id is None or cause.is_history:
        return None
    timer = TicketHoldersDue(
        show=event.model_dump_json(exclude_defaults=True),
        event_id=cause.event_id,
        at=cause.at,
        show_goal_id=event.goal_id,
        funding_goal_id=funding_goal_id,
    )
    return _at(timer, event.session_id, cause.now)


def following(timer: TicketHoldersDue, told: Permit, session_id: str, now: datetime) -> At:
    """The slice after the one that ended with `told`."""
    return _at(timer.model_copy(update={"after": told.id}), session_id, now + INTERVAL)


def where(streamer_id: str, *viewer_ids: str) -> tuple[Channel, ...]:
    """Where viewers hear that they may watch: most wait on preview, who paid by the minute besides is on sd already."""
    return tuple(channel for viewer_id in viewer_ids for channel in viewer(streamer_id, viewer_id, "preview", "sd"))


def to_holders(event: SessionGoalAddedV1, holders: Iterable[Permit]) -> tuple[Part, ...]:
    """One slice of a show's holders; a ticket gives no time of its own."""
    channels = where(event.streamer_id, *(holder.viewer_id for holder in holders))
    return (Part(channels, _permission(event, "show", None)),) if channels else ()


def to_its_viewer(event: SessionGoalAddedV1, permit: Permit | None) -> tuple[Part, ...]:
    """A 1-on-1 begins: its viewer may watch, by the time of the agreement."""
    viewer_id = event.conditions.exclusive_to
    if event.kind != "ExclusiveGoal" or viewer_id is None:
        return ()
    return (Part(where(event.streamer_id, viewer_id), _permission(event, "exclusive", permit)),)


def to_buyer(event: SessionViewerAuthorizedV1) -> tuple[Part, ...]:
    """A ticket is bought while its show is on."""
    return (Part(where(event.streamer_id, event.viewer_id), fields.shown(event, fields.PERMISSION)),)


def _permission(event: SessionGoalAddedV1, reason: str, permit: Permit | None) -> Mapping[str, Any]:
    """The same as when sessions tells of a permission: a start gives no time, it opens what was given before."""
    return {
        "session_id": event.session_id,
        "streamer_id": event.streamer_id,
        "preset": "sd",
        "nbf": permit.nbf if permit else None,
        "duration": None,
        "exp": permit.exp if permit else None,
        "reason": reason,
        "goal_id": event.goal_id,
    }


def _at(timer: TicketHoldersDue, session_id: str, due: datetime) -> At:
    return At(timer, id=derived_id(timer.NAME, timer.event_id), due=due, key=session_id)
