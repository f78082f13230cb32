"""The 1-on-1: from the invitation that goals tells of to the refund that undoes it; its ends are in `ended`."""

from chassis.storage.tx import Tx
from contracts import EscrowFailedV1, GoalCreatedV1, GoalExtendedV1, GoalLapsedV1
from contracts.escrow_ids import parse_escrow_id
from sessions import store
from sessions.domain import exclusive as domain
from sessions.domain.session import updated
from sessions.store import holders, load


async def bind_trigger_exclusive_goal_to_session(event: GoalCreatedV1, tx: Tx) -> None:
    """An invitation becomes its viewer's pair."""
    if event.kind != "TriggerExclusiveGoal":
        return
    session = await load.session(tx, event.session_id)
    invitation = await load.invitation(tx, event.goal_id, event.session_id, event.conditions.exclusive_to)
    store.save(tx, domain.bind_trigger_exclusive_goal_to_session(session, invitation, event, tx.now))


async def bind_exclusive_goals_to_session(event: GoalCreatedV1, tx: Tx) -> None:
    """An exclusive joins the pair of the invitation it came from."""
    if event.kind != "ExclusiveGoal":
        return
    session = await load.session(tx, event.session_id)
    exclusive, invitation = await load.exclusive(tx, event)
    store.save(tx, domain.bind_exclusive_goals_to_session(session, exclusive, invitation, event, tx.now))


async def extend_viewer(event: GoalExtendedV1, tx: Tx) -> None:
    """The streamer gives one step more."""
    exclusive = await tx.get(store.EXCLUSIVES, event.goal_id)
    if exclusive is None or event.payment_id is not None:
        return
    session = await load.session(tx, event.session_id)
    invitation = await tx.get(store.INVITATIONS, exclusive.trigger_exclusive_goal_id)
    if invitation is not None:
        cause_id = domain.extension_id(event)
        holder = await holders.holder(tx, session.id, invitation.viewer_id, cause_id, event.nbf)
        store.save(tx, domain.extend(session, invitation, holder, event, tx.now))


async def release_session(event: GoalLapsedV1, tx: Tx) -> None:
    """No exclusive will follow the agreement: the session is everyone's again."""
    if event.kind == "TriggerExclusiveGoal":
        session = await load.session(tx, event.session_id)
        released = domain.release(session, event.goal_id)
        if released != session:
            store.save(tx, updated(session, released))


async def take_back_refunded_time(event: EscrowFailedV1, tx: Tx) -> None:
    """The money of an invitation went back to its viewer, so the time goes too, whichever is read first."""
    if parse_escrow_id(event.escrow_id).kind != "trigger_exclusive":
        return
    session = await load.session(tx, event.session_id)
    invitation = await load.invitation(tx, event.goal_id, event.session_id, event.buyer_id)
    holder, given = await holders.holder_of(tx, invitation)
    store.save(tx, domain.take_back_refunded_time(session, invitation, holder, given, event))
