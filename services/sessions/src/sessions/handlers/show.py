"""The crowd-funded show: its goals in the session, and its tickets."""

from chassis.storage.tx import Tx
from contracts import EscrowFailedV1, GoalCreatedV1, GoalProgressedV1
from contracts.escrow_ids import parse_escrow_id
from sessions import store
from sessions.domain import show as domain
from sessions.store import holders, load


async def bind_show_goals_to_session(event: GoalCreatedV1, tx: Tx) -> None:
    """A funding begins a pair, a show joins it."""
    if event.kind in ("ShowFundingGoal", "ShowGoal"):
        session, goal = await load.session(tx, event.session_id), await load.show_goal(tx, event)
        store.save(tx, domain.bind_show_goals_to_session(session, goal, event, tx.now))


async def give_ticket(event: GoalProgressedV1, tx: Tx) -> None:
    """Tickets were paid, and count."""
    if parse_escrow_id(event.escrow_id).kind == "show_funding":
        session = await load.session(tx, event.session_id)
        ticket = await tx.get(store.TICKETS, event.earning_id)
        viewer = await holders.viewer(tx, session.id, event.user_id)
        store.save(tx, domain.give_ticket(session, ticket, viewer, event, tx.now))


async def void_ticket(event: EscrowFailedV1, tx: Tx) -> None:
    """Tickets were refunded, whether or not they were heard of."""
    if parse_escrow_id(event.escrow_id).kind == "show_funding":
        session = await load.session(tx, event.session_id)
        ticket = await tx.get(store.TICKETS, event.earning_id)
        viewer = await holders.viewer(tx, session.id, event.buyer_id)
        store.save(tx, domain.void_ticket(session, ticket, viewer, event))
