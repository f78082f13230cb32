"""The crowd-funded show: its pair in the session, its tickets, and whether it was performed (SPEC §4).

A ticket is a document whose id is its earning. What was refunded first stays void when its purchase is read.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from contracts import (
    EscrowFailedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalProgressedV1,
    SessionGoalClosedV1,
    SessionViewerAuthorizedV1,
    SessionViewerRevokedV1,
)
from contracts.escrow_ids import parse_escrow_id
from sessions.domain.changes import NOTHING, Changes, changed, joined
from sessions.domain.goal import RememberedGoal
from sessions.domain.session import Session, ShowPair, added, confirmed, latest, updated
from sessions.domain.viewer import Viewer


@dataclass(frozen=True, slots=True)
class ShowGoal(RememberedGoal):
    """A ShowFundingGoal or a ShowGoal."""

    funding_goal_id: str
    on_air_since: datetime | None = None
    """When sessions bound it to a session that was on."""
    closed: bool = False
    """Whether sessions has said if it was kept; a funding is never judged."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A purchase of tickets for a show. `id` is the earning; it is void once refunded."""

    id: str
    session_id: str
    viewer_id: str
    funding_goal_id: str
    void: bool = False


def bind_show_goals_to_session(session: Session, goal: ShowGoal, event: GoalCreatedV1, now: datetime) -> Changes:
    """A funding begins a pair; a show joins the pair of its funding."""
    if goal.bound or goal.ended_at is not None:
        return NOTHING
    if event.kind == "ShowFundingGoal":
        pairs = latest((*session.show_goal_pairs, ShowPair(goal.id)), _is_open)
        bound = replace(session, show_goal_pairs=pairs)
    else:
        begun = partial(replace, show_goal=goal.id, show_nbf=event.nbf, show_exp=event.exp)
        bound = _with_pair(session, goal.funding_goal_id, begun)
    remembered = replace(goal, bound=True, on_air_since=now if session.is_on(now) else None)
    return joined(updated(session, bound), changed(remembered, events=added(session, event, now)))


def end_funding(session: Session, goal: ShowGoal, event: GoalEndedV1) -> Changes:
    """The funding's part of the pair is over."""
    if goal.ended_at is not None:
        return NOTHING
    closed = _with_pair(session, goal.id, lambda pair: replace(pair, funding_ended=event.ended_at))
    return changed(closed, replace(goal, ended_at=event.ended_at))


def end_show(session: Session, goal: ShowGoal, event: GoalEndedV1) -> Changes:
    """The show is over."""
    if goal.ended_at is not None:
        return NOTHING
    closed = _with_pair(session, goal.funding_goal_id, lambda pair: replace(pair, show_ended=event.ended_at))
    return joined(updated(session, closed), changed(replace(goal, ended_at=event.ended_at)))


def close_show(session: Session, goal: ShowGoal, event: GoalEndedV1) -> Changes:
    """Say once whether the show was performed while the session was on, from its beginning to its end."""
    if goal.closed:
        return NOTHING
    until = session.on_until(event.ended_at)
    on_air = goal.on_air_since is not None and goal.on_air_since < event.ended_at and until == event.ended_at
    judged = SessionGoalClosedV1(
        session_id=session.id,
        streamer_id=session.streamer_id,
        goal_id=goal.id,
        kind=event.kind,
        outcome=event.outcome,
        kept=event.outcome == "completed" and on_air,
        funding_goal_id=goal.funding_goal_id,
    )
    return changed(confirmed(session, until), replace(goal, closed=True), events=[judged])


def give_ticket(
    session: Session, ticket: Ticket | None, viewer: Viewer, event: GoalProgressedV1, now: datetime
) -> Changes:
    """A purchase counts, so its buyer holds tickets; recorded on an ended session too, which authorizes nobody.

    Who is authorized saves the session too: it may not end at the same time.
    """
    if ticket is not None:
        return NOTHING
    funding_goal_id = parse_escrow_id(event.escrow_id).goal_id
    bought = Ticket(event.earning_id, session.id, viewer.viewer_id, funding_goal_id)
    others = viewer.tickets if viewer.ticket_goal == funding_goal_id else 0
    holder = replace(viewer, ticket_goal=funding_goal_id, tickets=others + 1)
    if not session.is_on(now):
        return changed(bought, holder)
    authorized = SessionViewerAuthorizedV1(
        session_id=session.id,
        streamer_id=session.streamer_id,
        viewer_id=viewer.viewer_id,
        goal_id=funding_goal_id,
        escrow_id=event.escrow_id,
        earning_id=event.earning_id,
        gift_id=event.gift_id,
        preset="sd",
        nbf=None,
        duration=None,
        exp=None,
        reason="ticket",
    )
    return changed(session, bought, holder, events=[authorized])


def void_ticket(session: Session, ticket: Ticket | None, viewer: Viewer, event: EscrowFailedV1) -> Changes:
    """The money went back, so the tickets are void; if read first, they are void from the beginning.

    The session is saved too, since what remains is told by its shows.
    """
    if ticket is None:
        funding_goal_id = parse_escrow_id(event.escrow_id).goal_id
        return changed(Ticket(event.earning_id, session.id, event.buyer_id, funding_goal_id, void=True))
    if ticket.void:
        return NOTHING
    holder = replace(viewer, tickets=viewer.tickets - 1) if viewer.ticket_goal == ticket.funding_goal_id else viewer
    revoked = SessionViewerRevokedV1(
        session_id=session.id,
        streamer_id=session.streamer_id,
        viewer_id=viewer.viewer_id,
        goal_id=ticket.funding_goal_id,
        escrow_id=event.escrow_id,
        earning_id=event.earning_id,
        gift_id=event.gift_id,
        reason="refunded",
        remaining=holder.remaining(session),
    )
    return changed(session, replace(ticket, void=True), holder, events=[revoked])


def _with_pair(session: Session, funding_goal_id: str, change: Callable[[ShowPair], ShowPair]) -> Session:
    """`session` with that pair changed in its place: the last pair is the latest show."""
    pairs = (change(pair) if pair.funding_goal == funding_goal_id else pair for pair in session.show_goal_pairs)
    return replace(session, show_goal_pairs=latest(tuple(pairs), _is_open))


def _is_open(pair: ShowPair) -> bool:
    """Whether its funding or its show is still running."""
    return pair.funding_ended is None or (pair.show_goal is not None and pair.show_ended is None)
