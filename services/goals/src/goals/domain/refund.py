"""What was given back counts no more: it leaves the leaderboard, and the progress of a goal that is still on."""

from dataclasses import replace

from chassis.decision import Decision
from contracts import EscrowFailedV1
from goals.domain.goal import Goal
from goals.domain.state import NOTHING, Change, Contribution, Supporter, place_after_refund


def take_back(
    event: EscrowFailedV1, contribution: Contribution | None, supporter: Supporter | None, goal: Goal | None
) -> Change:
    """Let one contribution count no more, once. One that is refunded before its hold is read will never count."""
    if contribution is None:
        return Decision((_refunded_unseen(event),))
    if contribution.refunded or contribution.rejected is not None:
        return NOTHING
    without = () if supporter is None else (_without(supporter, contribution),)
    # Escrow gives back before the end of a goal only what a blocked viewer gave; all else follows from the end.
    less = () if goal is None or not goal.active else (_less(goal, contribution),)
    return Decision((replace(contribution, refunded=True), *without, *less))


def _refunded_unseen(event: EscrowFailedV1) -> Contribution:
    return Contribution(
        id=event.earning_id,
        goal_id=event.goal_id,
        user_id=event.buyer_id,
        escrow_id=event.escrow_id,
        amount_diamonds=event.amount_diamonds,
        count=0,
        rejected=None,
        answered=False,
        refunded=True,
    )


def _without(supporter: Supporter, contribution: Contribution) -> Supporter:
    amount_diamonds = supporter.amount_diamonds - contribution.amount_diamonds
    return replace(
        supporter,
        count=supporter.count - contribution.count,
        amount_diamonds=amount_diamonds,
        place=place_after_refund(amount_diamonds, supporter.place),
    )


def _less(goal: Goal, contribution: Contribution) -> Goal:
    in_diamonds = goal.kind == "TriggerPrivateGoal"
    return replace(goal, progress=goal.progress - (contribution.amount_diamonds if in_diamonds else contribution.count))
