"""Every hold is answered, once: it counts, or its buyer gets it back at once (SPEC §3)."""

from dataclasses import dataclass, replace
from datetime import datetime

from chassis.decision import Decision
from contracts import ContributionRejection, EscrowHeldV1, GoalContributionRejectedV1, GoalProgressedV1
from goals.domain.goal import Goal
from goals.domain.stage import Stage
from goals.domain.state import Change, Contribution, Supporter, place, supporter_id
from goals.domain.timing import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Money that escrow holds for a goal of ours, and all that the answer depends on."""

    event: EscrowHeldV1
    goal: Goal
    stage: Stage
    supporter: Supporter | None
    blocked: bool
    held_at: datetime
    """When escrow held it: a goal that was over only later counts it, if it is not ended yet."""
    now: datetime
    timing: Timing
    show: Goal | None = None
    """The show of a funding, if there is one."""


def reject(event: EscrowHeldV1, reason: ContributionRejection) -> Change:
    """It does not count, for good."""
    answer = GoalContributionRejectedV1(
        goal_id=event.goal_id,
        session_id=event.session_id,
        streamer_id=event.streamer_id,
        user_id=event.buyer_id,
        contribution_id=event.earning_id,
        earning_id=event.earning_id,
        gift_id=event.gift_id,
        escrow_id=event.escrow_id,
        reason=reason,
    )
    return Decision((_contribution(event, reason),), (answer,))


def count(hold: Hold, goal: Goal, progress: int, target: int) -> Change:
    """It counts, for good: `goal` has come to `progress` with it."""
    event = hold.event
    answer = GoalProgressedV1(
        goal_id=goal.id,
        session_id=goal.session_id,
        streamer_id=goal.streamer_id,
        kind=goal.kind,
        user_id=event.buyer_id,
        contribution_id=event.earning_id,
        earning_id=event.earning_id,
        gift_id=event.gift_id,
        escrow_id=event.escrow_id,
        count=event.count,
        progress=progress,
        target=target,
        reached=progress >= target,
    )
    counted = replace(goal, progress=progress)
    return Decision((counted, _contribution(event, None), _supporter(hold)), (answer,))


def _contribution(event: EscrowHeldV1, rejected: ContributionRejection | None) -> Contribution:
    return Contribution(
        id=event.earning_id,
        goal_id=event.goal_id,
        user_id=event.buyer_id,
        escrow_id=event.escrow_id,
        amount_diamonds=event.amount_diamonds,
        count=event.count,
        rejected=rejected,
    )


def _supporter(hold: Hold) -> Supporter:
    event, before = hold.event, hold.supporter
    amount_diamonds = event.amount_diamonds + (before.amount_diamonds if before else 0)
    return Supporter(
        id=supporter_id(hold.goal.id, event.buyer_id),
        goal_id=hold.goal.id,
        user_id=event.buyer_id,
        count=event.count + (before.count if before else 0),
        amount_diamonds=amount_diamonds,
        place=place(amount_diamonds, hold.now),
    )
