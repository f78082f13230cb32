"""TriggerExclusiveGoal: a viewer invites the streamer to a 1-on-1, and pays for it in advance (SPEC §3).

Proposed until escrow holds the money, then active until the streamer answers or its time is over.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from chassis.decision import Decision
from chassis.errors import Conflict, Forbidden, Invalid, TooSoon
from contracts import (
    Conditions,
    Context,
    GoalProposedV1,
    GoalRejectedV1,
    Metadata,
    Outcome,
    ProposalRejection,
)
from contracts.escrow_ids import make_escrow_id
from contracts.values import Open
from goals.domain.goal import OPEN, End, Goal, created, schedule, schedule_lapse, unschedule
from goals.domain.hold import Hold, count, reject
from goals.domain.stage import Stage, require_free, require_on, taken
from goals.domain.state import NOTHING, Change, Guest, guest_id, together
from goals.domain.timing import Timing

STEPS_MAX: Final = 60  # SPEC §3
STEPS_DEFAULT: Final = 5  # SPEC §3: 300 s
OPEN_INVITATIONS_MAX: Final = 200  # SPEC §3: more than a streamer can look at, few enough to end in one go


Hindrance = Literal["session_ended", "proposal_expired", "viewer_blocked", "stage_taken"]


class NotWholeSteps(Invalid, slug="not-whole-steps"):
    """Time is bought in whole steps, 1 to 60 of them."""


class OwnInvitation(Forbidden, slug="own-invitation"):
    """Nobody invites themselves."""


class BlockedByStreamer(Forbidden, slug="blocked-by-streamer"):
    """The streamer has blocked you."""


class NoExclusivePrice(Conflict, slug="no-exclusive-price"):
    """This session sells no 1-on-1."""


class InvitationOpen(Conflict, slug="invitation-open"):
    """Your invitation in this session is still open."""


class TooManyInvitations(Conflict, slug="too-many-invitations"):
    """Too many invitations are open in this session."""


class RefusedRecently(TooSoon, slug="refused-recently"):
    """The streamer has just refused your invitation."""


class InvitationExpired(Conflict, slug="invitation-expired"):
    """The invitation's time is over."""


class InvitationRuledOut(Conflict, slug="invitation-ruled-out"):
    """Another invitation was agreed to while this one was open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who asks: blocked or not, and the last invitation in this session."""

    id: str
    blocked: bool
    last: Goal | None


def prepaid_duration(seconds: int | None, timing: Timing) -> int:
    """The time that an invitation buys, in seconds; None: the default.

    Raises:
        NotWholeSteps: it is not 1 to 60 whole steps.
    """
    step = timing.step_seconds
    bought = STEPS_DEFAULT * step if seconds is None else seconds
    if bought % step or not 1 <= bought // step <= STEPS_MAX:
        message = f"a multiple of {step}, at most {STEPS_MAX * step}"
        raise NotWholeSteps(message, errors=[{"field": "context.duration", "message": message}])
    return bought


def propose(goal_id: str, viewer: Viewer, stage: Stage, duration: int, now: datetime, timing: Timing) -> Change:
    """Ask for `duration` seconds alone with the streamer. Nothing is promised until escrow holds the price.

    Raises:
        OwnInvitation, BlockedByStreamer, SessionOver, NoExclusivePrice, StageTaken, InvitationOpen,
        TooManyInvitations, RefusedRecently: as they say.
    """
    price_per_step = _require_possible(viewer, stage, now, timing.cooldown)
    goal = Goal(
        id=goal_id,
        kind="TriggerExclusiveGoal",
        state="proposed",
        conditions=Conditions(session_id=stage.id, exclusive_to=viewer.id),
        context=Context(type="trigger-exclusive", session_id=stage.id, exclusive_to=viewer.id, duration=duration),
        metadata=Metadata(user_id=stage.streamer_id, prepaid_duration=duration),
        exp=now + timing.proposal,
        created_at=now,
    )
    price = price_per_step * (duration // timing.step_seconds)
    opened = replace(stage, open_invitations=stage.open_invitations + 1)
    guest = Guest(id=guest_id(stage.id, viewer.id), invitation_id=goal_id)
    return Decision((goal, opened, guest), (_proposed(goal, viewer, duration, price),), (schedule(goal),))


def answer_hold(hold: Hold) -> Change:
    """Open the invitation, now that its price is held; if that is no longer possible, reject both."""
    goal, stage, event = hold.goal, hold.stage, hold.event
    named = make_escrow_id("trigger_exclusive", goal.id)
    if event.escrow_id != named or event.buyer_id != goal.conditions.exclusive_to:
        return reject(event, "goal_unknown")
    if goal.state != "proposed":
        return reject(event, "proposal_expired" if goal.state == "rejected" else "goal_over")
    if hindrance := _hindrance(hold):
        return together(reject(event, hindrance), reject_proposal(goal, stage, hindrance, hold.now))
    active = replace(goal, state="active", exp=hold.now + hold.timing.invitation, agreements=stage.agreements)
    opened: Change = Decision((stage,), (created(active),), (schedule(active),))
    return together(opened, count(hold, active, progress=1, target=1))


def reject_proposal(goal: Goal, stage: Stage, reason: Open[ProposalRejection], now: datetime) -> Change:
    """A proposal comes to nothing: no promise, so no `goal.ended`. Changes nothing if it is none any more."""
    if goal.state != "proposed":
        return NOTHING
    viewer_id = goal.conditions.exclusive_to
    assert viewer_id is not None  # noqa: S101 - every invitation is made with one
    event = GoalRejectedV1(
        goal_id=goal.id,
        session_id=goal.session_id,
        streamer_id=goal.streamer_id,
        kind=goal.kind,
        user_id=viewer_id,
        reason=reason,
    )
    ended_at = min(goal.exp, now)
    rejected = replace(goal, state="rejected", ended_at=ended_at, exp=ended_at)
    return Decision((rejected, _one_less(stage)), (event,), (unschedule(goal),))


def require_agreeable(goal: Goal, stage: Stage, now: datetime) -> None:
    """Refuse an agreement that cannot be.

    Raises:
        InvitationExpired, InvitationRuledOut, StageTaken: as they say.
    """
    if now >= goal.exp:
        raise InvitationExpired
    require_free(stage)
    if goal.agreements != stage.agreements:
        raise InvitationRuledOut


def outcome(_goal: Goal, end: End) -> Outcome:
    """How an invitation comes out (SPEC §3)."""
    match end.how:
        case "expired":
            return "timed_out"
        case "deleted":
            return "agreed" if end.agree else "refused"
        case "session_ended":
            return "cancelled"


def after_end(goal: Goal, stage: Stage, timing: Timing) -> Change:
    """An agreement takes the stage until its exclusive has ended, or lapses when none comes."""
    stage = _one_less(stage)
    if goal.outcome != "agreed":
        return Decision((stage,))
    agreed = replace(taken(stage, goal.id), agreements=stage.agreements + 1)
    return Decision((agreed,), timers=(schedule_lapse(goal, goal.exp + timing.window),))


def awaits_exclusive(goal: Goal) -> bool:
    """Whether an exclusive can still follow."""
    return goal.outcome == "agreed" and not goal.lapsed and goal.context.exclusive_goal_id is None


def _require_possible(viewer: Viewer, stage: Stage, now: datetime, cooldown: timedelta) -> int:
    """The price per step, when nothing forbids this viewer to ask."""
    if viewer.id == stage.streamer_id:
        raise OwnInvitation
    if viewer.blocked:
        raise BlockedByStreamer
    require_on(stage)
    if stage.exclusive_price is None:
        raise NoExclusivePrice
    require_free(stage)
    last = viewer.last
    if last is not None and last.state in OPEN:
        raise InvitationOpen
    if stage.open_invitations >= OPEN_INVITATIONS_MAX:
        raise TooManyInvitations
    if last is not None and last.outcome == "refused" and last.ended_at is not None:
        wait = last.ended_at + cooldown - now
        if wait > timedelta():
            raise RefusedRecently(retry_after_seconds=wait.total_seconds())
    return stage.exclusive_price


def _hindrance(hold: Hold) -> Hindrance | None:
    """Why an invitation cannot open any more, though its price is held."""
    if hold.stage.ended_at is not None:
        return "session_ended"
    if hold.now >= hold.goal.exp:
        return "proposal_expired"
    if hold.blocked:
        return "viewer_blocked"
    if hold.stage.holder_id is not None:
        return "stage_taken"
    return None


def _one_less(stage: Stage) -> Stage:
    return replace(stage, open_invitations=stage.open_invitations - 1)


def _proposed(goal: Goal, viewer: Viewer, duration: int, amount_diamonds: int) -> GoalProposedV1:
    return GoalProposedV1(
        goal_id=goal.id,
        session_id=goal.session_id,
        streamer_id=goal.streamer_id,
        kind=goal.kind,
        conditions=goal.conditions,
        payer_id=viewer.id,
        amount_diamonds=amount_diamonds,
        prepaid_duration=duration,
        exp=goal.exp,
    )
