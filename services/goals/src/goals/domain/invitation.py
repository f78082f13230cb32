"""TriggerExclusiveGoal: a viewer invites the streamer to a 1-on-1, and pays for it in advance (SPEC §3).

Proposed until escrow holds the money, then active until the streamer answers or its time is over.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import itemgetter
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
from contracts.values import STEPS_MAX, Open
from goals.domain.goal import OPEN, End, Goal, created, schedule, schedule_lapse, unschedule
from goals.domain.hold import Hold, count, reject
from goals.domain.stage import Stage, require_free, require_on, require_time, taken
from goals.domain.state import NOTHING, Change, Guest, Unpaid, guest_id, together
from goals.domain.timing import Timing

STEPS_DEFAULT: Final = 5  # SPEC §3: 300 s
OPEN_INVITATIONS_MAX: Final = 200  # SPEC §3: more than a streamer can look at, few enough to end in one go
UNANSWERED_MAX: Final = 16  # doublings that are counted; no cooldown is so long
KEPT_FOR_PATRONS: Final = 50  # SPEC §3: of these, so that many who never paid cannot shut out who has

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


class PriceChanged(Conflict, slug="price-changed"):
    """It costs more than you have agreed to: `amount_diamonds`."""


class PrivateGoalOwed(Conflict, slug="private-goal-owed"):
    """A private goal was reached: perform it for those who gave, before you are alone with one viewer."""


class RefusedRecently(TooSoon, slug="refused-recently"):
    """The streamer has just refused your invitation."""


class UnansweredRecently(TooSoon, slug="unanswered-recently"):
    """Your invitation has just ended without an answer."""


class UnpaidRecently(TooSoon, slug="unpaid-recently"):
    """You have just had too few diamonds for an invitation."""


class InvitationExpired(Conflict, slug="invitation-expired"):
    """The invitation's time is over."""


class InvitationRuledOut(Conflict, slug="invitation-ruled-out"):
    """Another invitation was agreed to while this one was open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who asks: blocked or not, a patron of this streamer or not, and the last invitation in this session."""

    id: str
    blocked: bool
    last: Goal | None
    unanswered: int = 0
    """How many in a row before the last one got no answer."""
    unpaid_at: datetime | None = None
    """When there were last too few diamonds for one, in whatever session."""
    patron: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for: so many seconds alone, for at most so many diamonds."""

    goal_id: str
    duration: int
    max_amount_diamonds: int | None = None


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


def propose(wish: Wish, viewer: Viewer, stage: Stage, now: datetime, timing: Timing) -> tuple[int, Change]:
    """Ask for time alone with the streamer; the price, in diamonds. Nothing is promised until escrow holds it.

    Raises:
        OwnInvitation, BlockedByStreamer, SessionOver, NoExclusivePrice, PriceChanged, SessionTooShort, StageTaken,
        InvitationOpen, TooManyInvitations, RefusedRecently, UnansweredRecently, UnpaidRecently: as they say.
    """
    price = _require_possible(wish, viewer, stage, now, timing)
    _require_rested(viewer, now, timing)
    goal = Goal(
        id=wish.goal_id,
        kind="TriggerExclusiveGoal",
        state="proposed",
        conditions=Conditions(session_id=stage.id, exclusive_to=viewer.id),
        context=Context(type="trigger-exclusive", session_id=stage.id, exclusive_to=viewer.id, duration=wish.duration),
        metadata=Metadata(user_id=stage.streamer_id, prepaid_duration=wish.duration),
        exp=now + timing.proposal,
        created_at=now,
        amount_diamonds=price,
    )
    opened = replace(stage, open_invitations=stage.open_invitations + 1)
    guest = Guest(id=guest_id(stage.id, viewer.id), invitation_id=goal.id, unanswered=_unanswered_in_a_row(viewer))
    proposed = _proposed(goal, viewer, wish.duration, price)
    return price, Decision((goal, opened, guest), (proposed,), (schedule(goal),))


def made_by(goal: Goal, user_id: str) -> bool:
    """Whether it is this viewer's invitation."""
    return goal.kind == "TriggerExclusiveGoal" and goal.conditions.exclusive_to == user_id


def answer_hold(hold: Hold) -> Change:
    """Open the invitation, now that its price is held; if that is no longer possible, reject both."""
    goal, stage, event = hold.goal, hold.stage, hold.event
    named = make_escrow_id("trigger_exclusive", goal.id)
    if event.escrow_id != named or event.buyer_id != goal.conditions.exclusive_to:
        return reject(event, "goal_unknown")
    if goal.state == "rejected":
        return reject(event, "viewer_blocked" if hold.blocked else "proposal_expired")
    if goal.state != "proposed":
        return reject(event, "goal_over")
    if hindrance := _hindrance(hold):
        return together(reject(event, hindrance), reject_proposal(goal, stage, hindrance, hold.now))
    active = replace(goal, state="active", exp=hold.now + hold.timing.invitation, agreements_seen=stage.agreements)
    opened: Change = Decision((stage,), (created(active),), (schedule(active),))
    return together(opened, count(hold, active, progress=1, target=1))


def reject_proposal(goal: Goal, stage: Stage, reason: Open[ProposalRejection], now: datetime) -> Change:
    """A proposal comes to nothing: no promise, so no `goal.ended`. Changes nothing if it is none any more."""
    if goal.state != "proposed":
        return NOTHING
    reason = "proposal_expired" if reason == "expired" else reason  # so escrow says it
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
    rejected = replace(goal, state="rejected", ended_at=ended_at, exp=ended_at, reason=reason)
    unpaid = (Unpaid(id=viewer_id, at=ended_at),) if reason == "insufficient_diamonds" else ()
    return Decision((rejected, _one_less(stage), *unpaid), (event,), (unschedule(goal),))


def require_agreeable(goal: Goal, stage: Stage, now: datetime, timing: Timing) -> None:
    """Refuse an agreement that cannot be, or could not be kept.

    Raises:
        InvitationExpired, StageTaken, InvitationRuledOut, PrivateGoalOwed, SessionTooShort: as they say.
    """
    if now >= goal.exp:
        raise InvitationExpired
    require_free(stage)
    if goal.agreements_seen != stage.agreements:
        raise InvitationRuledOut
    if stage.private_owed_until is not None and now < stage.private_owed_until:
        raise PrivateGoalOwed
    require_time(stage, _performed_by(now, goal.metadata.prepaid_duration or 0, timing))


def outcome(_goal: Goal, end: End, _timing: Timing) -> Outcome:
    """How an invitation comes out (SPEC §3)."""
    match end.cause:
        case "expired":
            return "timed_out"
        case "deleted":
            return "agreed" if end.agree else "refused"
        case "session_ended" | "withdrawn" | "blocked":
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


def _require_possible(wish: Wish, viewer: Viewer, stage: Stage, now: datetime, timing: Timing) -> int:
    """The price, when nothing forbids this viewer to ask."""
    if viewer.id == stage.streamer_id:
        raise OwnInvitation
    if viewer.blocked:
        raise BlockedByStreamer
    require_on(stage)
    if stage.exclusive_price is None:
        raise NoExclusivePrice
    price = stage.exclusive_price * (wish.duration // timing.step_seconds)
    if wish.max_amount_diamonds is not None and price > wish.max_amount_diamonds:
        raise PriceChanged(amount_diamonds=price)
    require_time(stage, _performed_by(now, wish.duration, timing))
    require_free(stage)
    if viewer.last is not None and viewer.last.state in OPEN:
        raise InvitationOpen
    if stage.open_invitations >= OPEN_INVITATIONS_MAX - (0 if viewer.patron else KEPT_FOR_PATRONS):
        raise TooManyInvitations
    return price


def _require_rested(viewer: Viewer, now: datetime, timing: Timing) -> None:
    """Refuse who has just asked in vain: an invitation costs the streamer's attention, and whoever else waits."""
    waits: list[tuple[timedelta, type[TooSoon]]] = []
    if viewer.unpaid_at is not None:
        waits.append((viewer.unpaid_at + timing.unpaid_cooldown - now, UnpaidRecently))
    last = viewer.last
    if last is not None and last.ended_at is not None:
        if last.outcome == "refused":
            waits.append((last.ended_at + timing.refused_cooldown - now, RefusedRecently))
        elif _unanswered(last):
            doubled = timing.timed_out_cooldown * 2**viewer.unanswered
            waits.append((last.ended_at + min(doubled, timing.refused_cooldown) - now, UnansweredRecently))
    wait, refusal = max(waits, key=itemgetter(0), default=(timedelta(), TooSoon))
    if wait > timedelta():
        raise refusal(retry_after_seconds=wait.total_seconds())


def _unanswered(invitation: Goal) -> bool:
    """Whether it took a place and came to nothing. So does one that was withdrawn, or that were a way around."""
    return invitation.outcome in ("timed_out", "cancelled")


def _unanswered_in_a_row(viewer: Viewer) -> int:
    last = viewer.last
    if last is not None and _unanswered(last):
        return min(viewer.unanswered + 1, UNANSWERED_MAX)
    return viewer.unanswered if last is None or last.state == "rejected" else 0


def _performed_by(agreed: datetime, prepaid_seconds: int, timing: Timing) -> datetime:
    """When the 1-on-1 of an agreement at this moment ends: the extra step is for getting ready."""
    return agreed + timing.step + timedelta(seconds=prepaid_seconds)


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
