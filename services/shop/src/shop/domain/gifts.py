"""Gifts: what one costs, where its money goes, and what became of it (SPEC §8).

A ticket is always a hold on its funding's escrow, and a gift that names a private goal a hold on that goal's; any other
goes to the streamer at once. Who decides is escrow, and then goals; shop only refuses what can be known early.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from chassis.decision import Decision
from chassis.errors import Conflict, Invalid, NotFound
from contracts import GiftFailedV1, GiftRequestedV1, GiftSentV1
from shop.domain.products import GiftProduct
from shop.domain.stage import Goal, Session

Status = Literal["requested", "sent", "failed"]


class ProductNotFound(NotFound, slug="product-not-found"):
    """There is no such product."""


class SessionNotFound(NotFound, slug="session-not-found"):
    """There is no such session."""


class GoalNotFound(NotFound, slug="goal-not-found"):
    """There is no such goal."""


class GiftNotFound(NotFound, slug="gift-not-found"):
    """There is no such gift of yours."""


class TicketWithoutGoal(Invalid, slug="ticket-without-goal"):
    """A ticket is for a show: name its funding goal, or the show itself, as `goal_id`."""


class SessionOver(Conflict, slug="session-over"):
    """The session has ended."""


class OwnSession(Conflict, slug="own-session"):
    """Nobody gives to themselves."""


class OtherSession(Conflict, slug="goal-of-another-session"):
    """The goal belongs to another session."""


class GoalOver(Conflict, slug="goal-over"):
    """The goal is over."""


class NotAShow(Conflict, slug="not-a-show"):
    """Tickets are for a show or its funding."""


class OtherTicket(Conflict, slug="other-ticket"):
    """This show sells another ticket."""


@dataclass(frozen=True, slots=True)
class Gift:
    """One gift and what became of it. `goal_id` and `funding_goal_id` only where its money is held."""

    id: str
    sender_id: str
    session_id: str
    streamer_id: str
    product_id: str
    categories: tuple[str, ...]
    count: int
    amount_diamonds: int
    status: Status = "requested"
    reason: str | None = None
    goal_id: str | None = None
    funding_goal_id: str | None = None
    duration: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What a viewer wants to give, and how many."""

    gift_id: str
    sender_id: str
    product: GiftProduct
    count: int


def require_goal_of_ticket(product: GiftProduct, goal_id: str | None) -> None:
    """Refuse a ticket for nothing.

    Raises:
        TicketWithoutGoal: it names no goal.
    """
    if product.is_ticket and goal_id is None:
        raise TicketWithoutGoal(errors=[{"field": "goal_id", "message": "required for a ticket"}])


def request(wish: Wish, session: Session, goal: Goal | None, now: datetime) -> tuple[Gift, GiftRequestedV1]:
    """Ask for a gift's money.

    Raises:
        SessionOver, OwnSession: nobody can give, or not this viewer.
        NotAShow, OtherTicket: a ticket and its show do not fit.
        OtherSession, GoalOver: the goal that is named is not open here.
    """
    if session.ended:
        raise SessionOver
    if wish.sender_id == session.streamer_id:
        raise OwnSession
    if goal is not None:
        _require_open(goal, session, now)
    gift = _ticket(wish, goal) if wish.product.is_ticket and goal else _general(wish, session, goal)
    return gift, GiftRequestedV1(**_facts(gift))


def _require_open(goal: Goal, session: Session, now: datetime) -> None:
    if goal.session_id != session.id:
        raise OtherSession
    if goal.ended or goal.exp <= now:
        raise GoalOver


def _ticket(wish: Wish, goal: Goal) -> Gift:
    """A place in a show, at the funding's price."""
    if goal.kind not in ("ShowFundingGoal", "ShowGoal"):
        raise NotAShow
    if wish.product.id != goal.context.ticket_product_id:
        raise OtherTicket
    funding = goal.id if goal.kind == "ShowFundingGoal" else goal.context.funding_goal_id
    return replace(
        _gift(wish, goal.session_id, goal.streamer_id, ticket_price(wish.product.price_diamonds, goal)),
        goal_id=goal.id,
        funding_goal_id=funding,
    )


def _general(wish: Wish, session: Session, goal: Goal | None) -> Gift:
    """Any other gift; only a private goal makes it a hold."""
    held = goal.id if goal is not None and goal.kind == "TriggerPrivateGoal" else None
    return replace(_gift(wish, session.id, session.streamer_id, wish.product.price_diamonds), goal_id=held)


def _gift(wish: Wish, session_id: str, streamer_id: str, price_diamonds: int) -> Gift:
    seconds = wish.product.duration_seconds
    return Gift(
        id=wish.gift_id,
        sender_id=wish.sender_id,
        session_id=session_id,
        streamer_id=streamer_id,
        product_id=wish.product.id,
        categories=wish.product.categories,
        count=wish.count,
        amount_diamonds=price_diamonds * wish.count,
        duration=None if seconds is None else seconds * wish.count,
    )


def ticket_price(price_diamonds: int, goal: Goal) -> int:
    """The early bird's price: rounded up, at least 1 (SPEC §8)."""
    if goal.context.ticket_product_type != "earlybird":
        return price_diamonds
    rest = 100 - (goal.context.discount_percentage or 0)
    return max(1, -(-price_diamonds * rest // 100))


def sent(gift: Gift, *, earning_id: str | None = None, payment_id: str | None = None) -> Decision[Gift]:
    """It was paid and counts. What became of a gift first stands."""
    if gift.status != "requested":
        return Decision(None)
    told = GiftSentV1(**_facts(gift), earning_id=earning_id, payment_id=payment_id)
    return Decision(replace(gift, status="sent"), (told,))


def failed(gift: Gift, reason: str, *, earning_id: str | None = None, payment_id: str | None = None) -> Decision[Gift]:
    """It came to nothing; its sender keeps the money, or has it back. What became of a gift first stands."""
    if gift.status != "requested":
        return Decision(None)
    told = GiftFailedV1(**_facts(gift), earning_id=earning_id, payment_id=payment_id)
    return Decision(replace(gift, status="failed", reason=reason), (told,))


def _facts(gift: Gift) -> dict[str, Any]:
    return {
        "session_id": gift.session_id,
        "streamer_id": gift.streamer_id,
        "gift_id": gift.id,
        "sender_id": gift.sender_id,
        "product_id": gift.product_id,
        "categories": gift.categories,
        "count": gift.count,
        "amount_diamonds": gift.amount_diamonds,
        "goal_id": gift.goal_id,
        "funding_goal_id": gift.funding_goal_id,
        "duration": gift.duration,
    }
