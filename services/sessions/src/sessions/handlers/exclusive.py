"""The 1-on-1: from the invitation that goals tells of to the end of its exclusive, and the refund that undoes it."""

from chassis.tx import Tx
from contracts import EscrowFailedV1, GoalCreatedV1, GoalEndedV1, GoalExtendedV1, GoalLapsedV1
from sessions import store
from sessions.domain import exclusive as domain
from sessions.domain import payments
from sessions.domain.private import break_promise
from sessions.domain.session import updated
from sessions.settings import SessionsSettings


async def bind_trigger_exclusive_goal_to_session(event: GoalCreatedV1, tx: Tx) -> None:
    """An invitation becomes its viewer's pair."""
    if event.kind != "TriggerExclusiveGoal":
        return
    session = await store.session(tx, event.session_id)
    invitation = await store.invitation(tx, event.goal_id, event.session_id, event.conditions.exclusive_to)
    store.save(tx, domain.bind_trigger_exclusive_goal_to_session(session, invitation, event))


async def bind_exclusive_goals_to_session(event: GoalCreatedV1, tx: Tx) -> None:
    """An exclusive joins the pair of the invitation it came from."""
    if event.kind != "ExclusiveGoal":
        return
    session = await store.session(tx, event.session_id)
    exclusive, invitation = await store.exclusive(tx, event)
    store.save(tx, domain.bind_exclusive_goals_to_session(session, exclusive, invitation, event))


async def set_embedded_goal_ended(event: GoalEndedV1, tx: Tx) -> None:
    """An invitation or an exclusive is over: its pair is closed, and all that follows from that happens here, in order.

    That includes `cleanup_expired_exclusive_goal_pairs` and `sync_trigger_goal_session_viewer` of SPEC §10, and
    `session.goal_closed`.
    """
    match event.kind:
        case "TriggerExclusiveGoal":
            await _end_invitation(event, tx)
        case "ExclusiveGoal":
            await _end_exclusive(event, tx)
        case _:
            return


async def extend_viewer(event: GoalExtendedV1, tx: Tx) -> None:
    """The streamer gives one step more."""
    exclusive = await tx.get(store.EXCLUSIVES, event.goal_id)
    if exclusive is None or event.payment_id is not None:
        return
    session = await store.session(tx, event.session_id)
    invitation = await tx.get(store.INVITATIONS, exclusive.trigger_exclusive_goal_id)
    if invitation is not None:
        holder = await store.holder(tx, session.id, invitation.viewer_id)
        store.save(tx, domain.extend(session, exclusive, invitation, holder, event))


async def release_session(event: GoalLapsedV1, tx: Tx) -> None:
    """No exclusive will follow the agreement: the session is everyone's again."""
    if event.kind == "TriggerExclusiveGoal":
        session = await store.session(tx, event.session_id)
        released = domain.release(session, event.goal_id)
        if released != session:
            store.save(tx, updated(session, released))


async def take_back_refunded_time(event: EscrowFailedV1, tx: Tx) -> None:
    """The money of an invitation went back to its viewer, so the time goes too, whichever is read first."""
    if not event.escrow_id.startswith(domain.INVITATION_ESCROW):
        return
    session = await store.session(tx, event.session_id)
    invitation = await store.invitation(tx, event.goal_id, event.session_id, event.buyer_id)
    holder = await store.holder(tx, session.id, invitation.viewer_id)
    store.save(tx, domain.take_back_refunded_time(session, invitation, holder, event))


async def _end_invitation(event: GoalEndedV1, tx: Tx) -> None:
    session = await store.session(tx, event.session_id)
    invitation = await store.invitation(tx, event.goal_id, event.session_id, event.conditions.exclusive_to)
    if not domain.turns_exclusive(session, invitation, event):
        store.save(tx, domain.set_embedded_goal_ended(session, invitation, event))
        return
    holder = await store.holder(tx, session.id, invitation.viewer_id)
    step_seconds = tx.settings(SessionsSettings).step_seconds
    store.save(tx, domain.agree(session, invitation, holder, event, tx.now, step_seconds))
    await _overtake_payments(event, invitation.viewer_id, tx)
    for goal in await store.unjudged_private_goals(tx, session.id):
        store.save(tx, break_promise(goal, tx.now))


async def _end_exclusive(event: GoalEndedV1, tx: Tx) -> None:
    session = await store.session(tx, event.session_id)
    exclusive, invitation = await store.exclusive(tx, event)
    step_seconds = tx.settings(SessionsSettings).step_seconds
    store.save(tx, domain.end_exclusive(session, exclusive, invitation, event, step_seconds))


async def _overtake_payments(event: GoalEndedV1, viewer_id: str, tx: Tx) -> None:
    """Payments of others that were read before the agreement they came after: as if they had been read after it."""
    session = await store.session(tx, event.session_id)
    agreed = event.metadata.agreed or event.ended_at
    for payment in await store.overtaken_payments(tx, session.id, viewer_id, agreed):
        holder = await store.holder(tx, session.id, payment.payer_id)
        store.save(tx, payments.reverse(payment, session, holder, "exclusive_to_another"))
