"""When a show begins its ticket holders are told in slices, so that nothing grows with the audience (SPEC §1 and §6).

A slice is a push under a number of its own: one number for all of them would be overtaken, on a holder's channels, by
whatever else that holder is told meanwhile. Each slice sets the timer of the next: the run stops and goes on anywhere.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from chassis.decision import At, Timer, derived_id
from contracts import SessionGoalAddedV1
from notifier.domain.channels import Channel, viewer
from notifier.domain.entitlement import Permit
from notifier.domain.pushes import Occasion

SLICE_MAX = 250  # two channels each: five calls of Pusher's 100 channels, and what the gateway gets at once
PACE = timedelta(milliseconds=200)  # about as fast as they can be made: who is told something else waits behind few


class TicketHoldersDue(Timer, name="ticket-holders-due"):
    """The next holders may be told: those `after` the permit of the last one. `show` is the event's JSON."""

    show: str
    event_id: str
    at: datetime
    show_goal_id: str
    funding_goal_id: str
    after: str = ""

    def occasion(self, now: datetime) -> Occasion:
        """What they are told of."""
        return Occasion(self.event_id, self.at, now)


def begin(event: SessionGoalAddedV1, occasion: Occasion) -> At | None:
    """The first slice, if it is a show that was added; a day later that helps nobody."""
    funding_goal_id = event.context.funding_goal_id
    if event.kind != "ShowGoal" or funding_goal_id is None or occasion.is_history:
        return None
    timer = TicketHoldersDue(
        show=event.model_dump_json(exclude_defaults=True),
        event_id=occasion.event_id,
        at=occasion.at,
        show_goal_id=event.goal_id,
        funding_goal_id=funding_goal_id,
    )
    return _at(timer, event.session_id, occasion.now)


def following(timer: TicketHoldersDue, told: Permit, session_id: str, now: datetime) -> At:
    """The slice after the one that ended with `told`."""
    return _at(timer.model_copy(update={"after": told.id}), session_id, now + PACE)


def channels(streamer_id: str, holders: Iterable[Permit]) -> tuple[Channel, ...]:
    """Where holders listen: most wait on preview, who paid by the minute besides is on sd already."""
    return tuple(one for holder in holders for one in viewer(streamer_id, holder.viewer_id, "preview", "sd"))


def _at(timer: TicketHoldersDue, session_id: str, due: datetime) -> At:
    return At(timer, id=derived_id(timer.NAME, timer.event_id), due=due, key=session_id)
