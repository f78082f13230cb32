"""ShowGoal: the performance that tickets were sold for; its progress is performed whole seconds (SPEC §3)."""

from datetime import datetime, timedelta
from typing import Final

from chassis.decision import Decision
from chassis.errors import Conflict, Invalid, NotFound
from contracts import Conditions, Context, Level, Metadata, Outcome
from goals.domain.funding import bind_show_goal_to_funding_goal, funded, hesitates_until
from goals.domain.goal import End, Goal, created, schedule, unschedule_lapse
from goals.domain.stage import Stage, freed, require_on, require_time
from goals.domain.state import Change
from goals.domain.timing import Timing

AHEAD_MAX: Final = timedelta(minutes=10)  # SPEC §3


class BeginsTooLate(Invalid, slug="begins-too-late"):
    """A show begins within the next 10 minutes."""


class FundingNotFound(NotFound, slug="funding-not-found"):
    """There is no such funding in this session."""


class FundingNotOver(Conflict, slug="funding-not-over"):
    """Tickets are still being sold for this show: end its funding first."""


class ShowExists(Conflict, slug="show-exists"):
    """This funding's show was already started."""


class FundingLapsed(Conflict, slug="funding-lapsed"):
    """The show was not started in time."""


def require_soon(nbf: datetime | None, now: datetime) -> None:
    """Refuse to announce a show too long ahead.

    Raises:
        BeginsTooLate: it would begin in more than 10 minutes.
    """
    if nbf is not None and nbf > now + AHEAD_MAX:
        raise BeginsTooLate(errors=[{"field": "nbf", "message": "must lie within the next 10 minutes"}])


def over_unnoticed(funding: Goal, stage: Stage, now: datetime) -> bool:
    """Whether a funding of this session is over although its timer has not run yet."""
    of_this_session = funding.kind == "ShowFundingGoal" and funding.session_id == stage.id
    return of_this_session and funding.active and now >= funding.exp


def create(goal_id: str, funding: Goal | None, stage: Stage, nbf: datetime | None, now: datetime) -> Change:
    """Start the show of an ended funding, once: a funded one at any time, an unfunded one within its hesitation.

    Raises:
        FundingNotFound, SessionOver, FundingNotOver, ShowExists, FundingLapsed, SessionTooShort: as they say.
    """
    if funding is None or funding.kind != "ShowFundingGoal" or funding.session_id != stage.id:
        raise FundingNotFound
    require_on(stage)
    if funding.state != "ended":
        raise FundingNotOver
    if funding.context.show_goal_id is not None:
        raise ShowExists
    if funding.lapsed or (not funded(funding) and now > hesitates_until(funding)):
        raise FundingLapsed
    promised, begins = funding.context, max(now, nbf or now)
    perform_seconds = promised.perform_duration or 0
    exp = begins + timedelta(seconds=perform_seconds)
    require_time(stage, exp)
    goal = Goal(
        id=goal_id,
        kind="ShowGoal",
        state="active",
        conditions=Conditions(session_id=stage.id),
        context=Context(
            type="show",
            session_id=stage.id,
            funding_goal_id=funding.id,
            perform_duration=perform_seconds,
            ticket_product_id=promised.ticket_product_id,
            ticket_product_type=promised.ticket_product_type,
            discount_percentage=promised.discount_percentage,
        ),
        levels=(Level(title=funding.levels[0].title, target=perform_seconds),),
        metadata=Metadata(user_id=stage.streamer_id),
        nbf=begins,
        exp=exp,
        created_at=now,
    )
    bound = bind_show_goal_to_funding_goal(goal, funding)
    return Decision((goal, bound, stage), (created(goal),), (schedule(goal), unschedule_lapse(funding.id)))


def performed_seconds(goal: Goal, moment: datetime) -> int:
    """The whole seconds performed by `moment`."""
    performed = min(moment, goal.exp) - (goal.nbf or goal.created_at)
    return max(0, performed // timedelta(seconds=1))


def outcome(_goal: Goal, end: End, _timing: Timing) -> Outcome:
    """Only a show that was performed in full is completed (SPEC §3)."""
    return "completed" if end.cause == "expired" else "cancelled"


def after_end(goal: Goal, stage: Stage, _timing: Timing) -> Change:
    """The stage is free again."""
    return Decision((freed(stage, goal.context.funding_goal_id),))
