"""ShowFundingGoal: viewers buy tickets until a show is funded, or its time is over (SPEC §3)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from chassis.decision import Decision
from chassis.errors import Invalid
from contracts import Conditions, Context, Level, Metadata, Outcome, TicketType
from contracts.escrow_ids import make_escrow_id
from goals.domain.goal import End, Goal, created, schedule, schedule_lapse
from goals.domain.hold import Hold, count, reject
from goals.domain.stage import Stage, require_free, require_on, require_time, taken
from goals.domain.state import Change, together
from goals.domain.timing import Timing

PERFORM_SECONDS_MAX: Final = 14_400  # SPEC §3
HESITATION_SECONDS_MAX: Final = 3_600  # SPEC §3
TARGET_TICKETS_MAX: Final = 1_000_000  # SPEC §3


class ShowTooShort(Invalid, slug="show-too-short"):
    """A show lasts at least one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the streamer offers."""

    goal_id: str
    level: Level
    exp: datetime
    perform_duration: int
    hesitation_countdown: int
    ticket_product_id: str
    ticket_product_type: TicketType
    discount_percentage: int | None


def require_performable(perform_duration: int, timing: Timing) -> None:
    """Refuse a show that is no show.

    Raises:
        ShowTooShort: it is shorter than a step.
    """
    if perform_duration < timing.step_seconds:
        message = f"at least {timing.step_seconds}"
        raise ShowTooShort(message, errors=[{"field": "context.perform_duration", "message": message}])


def create(offer: Offer, stage: Stage, now: datetime) -> Change:
    """Begin to sell tickets; the stage is the show's until it lapsed or ended.

    Raises:
        SessionOver, SessionTooShort, StageTaken: as they say.
    """
    require_on(stage)
    require_time(stage, offer.exp + timedelta(seconds=offer.perform_duration))
    require_free(stage)
    goal = Goal(
        id=offer.goal_id,
        kind="ShowFundingGoal",
        state="active",
        conditions=Conditions(session_id=stage.id),
        context=Context(
            type="show-funding",
            session_id=stage.id,
            perform_duration=offer.perform_duration,
            hesitation_countdown=offer.hesitation_countdown,
            ticket_product_id=offer.ticket_product_id,
            ticket_product_type=offer.ticket_product_type,
            discount_percentage=offer.discount_percentage if offer.ticket_product_type == "earlybird" else None,
        ),
        levels=(offer.level,),
        metadata=Metadata(user_id=stage.streamer_id),
        exp=offer.exp,
        created_at=now,
    )
    return Decision((goal, taken(stage, goal.id)), (created(goal),), (schedule(goal),))


def answer_hold(hold: Hold) -> Change:
    """A ticket counts while its funding, or the show that followed, is on."""
    goal, show, event = hold.goal, hold.show, hold.event
    if event.escrow_id != make_escrow_id("show_funding", goal.id):
        return reject(event, "goal_unknown")
    if hold.stage.ended_at is not None:
        return reject(event, "session_ended")
    if hold.blocked:
        return reject(event, "viewer_blocked")
    carrier = next((one for one in (goal, show) if one is not None and one.active and hold.held_at < one.exp), None)
    if carrier is None:
        return reject(event, "goal_over")
    # The carrier is written too: a DELETE of the show at this moment conflicts, and one of the two sees the other.
    relied_on: Change = Decision((carrier,))
    return together(relied_on, count(hold, goal, progress=goal.progress + event.count, target=goal.levels[0].target))


def funded(goal: Goal) -> bool:
    """Whether enough tickets were sold."""
    return goal.progress >= goal.levels[0].target


def outcome(goal: Goal, _end: End, _timing: Timing) -> Outcome:
    """However it ends, the tickets decide (SPEC §3)."""
    return "funded" if funded(goal) else "unfunded"


def after_end(goal: Goal, stage: Stage, _timing: Timing) -> Change:
    """The stage waits for the show; that of an unfunded one may be begun within the hesitation only."""
    if goal.outcome == "funded":
        return Decision((stage,))
    return Decision((stage,), timers=(schedule_lapse(goal, hesitates_until(goal)),))


def hesitates_until(goal: Goal) -> datetime:
    """Until when an ended, unfunded goal may be performed anyway."""
    return goal.exp + timedelta(seconds=goal.context.hesitation_countdown or 0)


def awaits_show(goal: Goal) -> bool:
    """Whether a show can still follow."""
    return goal.state == "ended" and not goal.lapsed and goal.context.show_goal_id is None


def bind_show_goal_to_funding_goal(show: Goal, goal: Goal) -> Goal:
    """The funding that knows its show, so that it can have no other."""
    return replace(goal, context=goal.context.model_copy(update={"show_goal_id": show.id}))
