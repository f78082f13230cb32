"""What goals does when something happens: load, decide, save."""

from chassis.decision import At
from chassis.storage.tx import Tx
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowHeldV1,
    EscrowRejectedV1,
    GiftSentV1,
    PaymentSucceededV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    SessionViewerAuthorizedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from goals import store
from goals.domain import extensions, hold, invitation, karaoke, lifecycle, refund
from goals.domain.extensions import ExtensionsDue
from goals.domain.goal import OPEN, End, Goal, GoalDue, LapseDue, schedule
from goals.domain.lifecycle import SessionGoalsDue
from goals.domain.stage import follow_session
from goals.domain.state import SLICE, Block, Patron, pair_id, supporter_id
from goals.settings import GoalsSettings

# -- sessions ------------------------------------------------------------------------------------------------------


async def remember_session(event: SessionStartedV1 | SessionUpdatedV1, tx: Tx) -> None:
    """Keep what commands ask of a session: whose it is, the price of a 1-on-1, whether it is on."""
    stage = await tx.get(store.STAGES, event.session_id)
    followed = follow_session(stage, event, tx.settings(GoalsSettings).timing.session_max)
    if followed != stage:
        tx.put(store.STAGES, followed)


async def end_goals_of_session(event: SessionEndedV1, tx: Tx) -> None:
    """Close the stage for good, end all goals of the session and lapse what is open."""
    stage = await tx.get(store.STAGES, event.session_id)
    tx.put(store.STAGES, follow_session(stage, event, tx.settings(GoalsSettings).timing.session_max))
    await _end_slice(event.session_id, tx)


async def end_more_goals_of_session(timer: SessionGoalsDue, tx: Tx) -> None:
    """Go on where the slice before has stopped."""
    await _end_slice(timer.session_id, tx)


async def block_viewer(event: ViewerBlockedV1, tx: Tx) -> None:
    """No more invitations of this viewer, and those that are open end: escrow gives back their price."""
    tx.put(store.BLOCKS, Block(id=pair_id(event.streamer_id, event.viewer_id)))
    for goal in await store.open_invitations(tx, event.streamer_id, event.viewer_id):
        await _end(goal, End(cause="blocked", at=tx.now), tx)


async def unblock_viewer(event: ViewerUnblockedV1, tx: Tx) -> None:
    """Invitations again."""
    tx.delete(store.BLOCKS, pair_id(event.streamer_id, event.viewer_id))


async def extend_paid_exclusive(event: SessionViewerAuthorizedV1, tx: Tx) -> None:
    """A viewer has paid for more time alone: the exclusive lasts longer, or the payment came too late."""
    payment = extensions.paid_extension(event, tx.cause.at)
    if payment is None or await tx.get(store.EXTENSIONS, payment.id):
        return
    goal = await tx.get(store.GOALS, payment.goal_id)
    stage = await tx.get(store.STAGES, event.session_id)
    store.save(tx, extensions.extend_by_payment(payment, goal, stage, tx.settings(GoalsSettings).timing))


# -- escrow --------------------------------------------------------------------------------------------------------


async def answer_hold(event: EscrowHeldV1, tx: Tx) -> None:
    """Count what escrow holds, or have it given back; once."""
    known = await tx.get(store.CONTRIBUTIONS, event.earning_id)
    if known is not None and known.answered:
        return
    if known is not None:
        store.save(tx, hold.reject(event, "goal_over"))  # it was given back already
        return
    goal = await tx.get(store.GOALS, event.goal_id)
    if goal is None:
        store.save(tx, hold.reject(event, "goal_unknown"))
        return
    show_id = goal.context.show_goal_id
    held = hold.Hold(
        event=event,
        goal=goal,
        stage=await store.stage(tx, goal.session_id),
        supporter=await tx.get(store.SUPPORTERS, supporter_id(goal.id, event.buyer_id)),
        blocked=await tx.get(store.BLOCKS, pair_id(goal.streamer_id, event.buyer_id)) is not None,
        held_at=tx.cause.at,
        now=tx.now,
        timing=tx.settings(GoalsSettings).timing,
        show=await tx.get(store.GOALS, show_id) if show_id else None,
    )
    store.save(tx, lifecycle.answer_hold(held))


async def reject_proposal(event: EscrowRejectedV1, tx: Tx) -> None:
    """No money, no invitation. A gift that was not paid concerns no goal."""
    goal = await tx.get(store.GOALS, event.goal_id)
    if goal is None or goal.state != "proposed":
        return
    stage = await store.stage(tx, goal.session_id)
    store.save(tx, invitation.reject_proposal(goal, stage, event.reason, tx.cause.at))


async def take_back_contribution(event: EscrowFailedV1, tx: Tx) -> None:
    """Money that was given back counts no more."""
    contribution = await tx.get(store.CONTRIBUTIONS, event.earning_id)
    supporter = await tx.get(store.SUPPORTERS, supporter_id(event.goal_id, event.buyer_id))
    goal = await tx.get(store.GOALS, event.goal_id)
    store.save(tx, refund.take_back(event, contribution, supporter, goal))


async def remember_buyer(event: EscrowCompletedV1, tx: Tx) -> None:
    """A promise was kept, and its buyer has paid this streamer for good."""
    await _remember_patron(event.streamer_id, event.buyer_id, tx)


async def remember_payer(event: PaymentSucceededV1, tx: Tx) -> None:
    """Minutes or a gift were paid, straight to the streamer."""
    await _remember_patron(event.streamer_id, event.payer_id, tx)


# -- shop ----------------------------------------------------------------------------------------------------------


async def begin_karaoke(event: GiftSentV1, tx: Tx) -> None:
    """A gift that asks for a performance is a goal of its own, once."""
    goal_id = karaoke.goal_id_of(event)
    if goal_id is None or await tx.get(store.GOALS, goal_id):
        return
    stage = await store.stage(tx, event.session_id)
    holder = await tx.get(store.GOALS, stage.holder_id) if stage.holder_id else None
    alone_with = holder.conditions.exclusive_to if holder else None
    store.save(tx, karaoke.create(goal_id, event, stage, alone_with, tx.now))


# -- timers --------------------------------------------------------------------------------------------------------


async def deactivate_goal(timer: GoalDue, tx: Tx) -> None:
    """A goal is over at its `exp`, unless that has moved."""
    goal = await tx.get(store.GOALS, timer.goal_id)
    if goal is None or goal.state not in OPEN:
        return
    if goal.exp > tx.now:
        tx.set_timer(schedule(goal))
        return
    await _end(goal, End(cause="expired", at=goal.exp), tx)


async def lapse_goal(timer: LapseDue, tx: Tx) -> None:
    """What should have followed a goal did not come in time: from now on it cannot."""
    goal = await tx.get(store.GOALS, timer.goal_id)
    if goal is not None:
        store.save(tx, lifecycle.lapse_goal(goal, await store.stage(tx, goal.session_id)))


async def reject_more_extensions(timer: ExtensionsDue, tx: Tx) -> None:
    """Go on where the slice before has stopped."""
    goal = await tx.get(store.GOALS, timer.goal_id)
    if goal is not None and goal.ended_at is not None:
        unbegun = await store.unbegun_extensions(tx, goal, goal.ended_at)
        timing = tx.settings(GoalsSettings).timing
        store.save(tx, extensions.reject_extensions(unbegun, goal.ended_at, timing))


async def _end(goal: Goal, ending: End, tx: Tx) -> None:
    stage = await store.stage(tx, goal.session_id)
    ending = lifecycle.resolved(goal, stage, ending)
    unbegun = await store.unbegun_extensions(tx, goal, ending.at)
    store.save(tx, lifecycle.close_goal(goal, stage, ending, unbegun, tx.settings(GoalsSettings).timing))


async def _remember_patron(streamer_id: str, viewer_id: str, tx: Tx) -> None:
    patron = Patron(id=pair_id(streamer_id, viewer_id))
    if await tx.get(store.PATRONS, patron.id) is None:
        tx.put(store.PATRONS, patron)


async def _end_slice(session_id: str, tx: Tx) -> None:
    stage = await store.stage(tx, session_id)
    goals = await store.open_goals(tx, session_id)
    for goal in goals:
        await _end(goal, End(cause="session_ended", at=stage.ended_at or tx.now), tx)
    if len(goals) == SLICE:
        again = SessionGoalsDue(session_id=session_id)
        tx.set_timer(At(again, id=f"session-goals-due:{session_id}", due=tx.now, key=session_id))
        return
    stage = await store.stage(tx, session_id)
    promise = await tx.get(store.GOALS, stage.holder_id) if stage.holder_id else None
    if promise is not None:
        store.save(tx, lifecycle.lapse_goal(promise, stage))
