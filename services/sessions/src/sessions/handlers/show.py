"""The crowd-funded show: its goals in the session, and its tickets."""

from chassis.tx import Tx
from contracts import EscrowFailedV1, GoalCreatedV1, GoalEndedV1, GoalProgressedV1
from sessions import store
from sessions.domain import show as domain


async def bind_show_goals_to_session(event: GoalCreatedV1, tx: Tx) -> None:
    """A funding begins a pair, a show joins it."""
    if event.kind in ("ShowFundingGoal", "ShowGoal"):
        session, goal = await store.session(tx, event.session_id), await store.show_goal(tx, event)
        store.save(tx, domain.bind_show_goals_to_session(session, goal, event, tx.now))


async def set_embedded_goal_ended(event: GoalEndedV1, tx: Tx) -> None:
    """A funding or a show is over; a show is judged (`session.goal_closed`)."""
    if event.kind in ("ShowFundingGoal", "ShowGoal"):
        session, goal = await store.session(tx, event.session_id), await store.show_goal(tx, event)
        end = domain.set_embedded_show_ended if event.kind == "ShowGoal" else domain.set_embedded_funding_ended
        store.save(tx, end(session, goal, event))


async def give_ticket(event: GoalProgressedV1, tx: Tx) -> None:
    """Tickets were paid, and count."""
    if event.escrow_id.startswith(domain.SHOW_ESCROW):
        session = await store.session(tx, event.session_id)
        ticket = await tx.get(store.TICKETS, event.earning_id)
        viewer = await store.viewer(tx, session.id, event.user_id)
        store.save(tx, domain.give_ticket(session, ticket, viewer, event))


async def void_ticket(event: EscrowFailedV1, tx: Tx) -> None:
    """Tickets were refunded, whether or not they were heard of."""
    if event.escrow_id.startswith(domain.SHOW_ESCROW):
        session = await store.session(tx, event.session_id)
        ticket = await tx.get(store.TICKETS, event.earning_id)
        viewer = await store.viewer(tx, session.id, event.buyer_id)
        store.save(tx, domain.void_ticket(session, ticket, viewer, event))
