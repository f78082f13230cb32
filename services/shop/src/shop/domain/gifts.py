"""Gifts: what one costs, where its money goes, and what became of it (SPEC §8).

A ticket is always a hold on its funding's escrow, and a gift that names a private goal a hold on that goal's; any other
goes to the streamer at once. Who decides is escrow, and then goals; shop only refuses what can be known early.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from chassis.decision import Decision
from chassis.errors import Conflict, Forbidden, Invalid, NotFound
from contracts import GiftFailedV1, GiftRequestedV1, GiftSentV1
from shop.domain.products import GiftProduct
from shop.domain.projection import KnownGoal, KnownSession
from shop.domain.timing import Timing

Status = Literal["requested", "sent", "failed", "refunded"]
NEVER_COUNTED = "contribution_rejected"  # escrow's word for what goals says itself, with its reason


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


class OwnSession(Forbidden, slug="own-session"):
    """Nobody buys from themselves."""


class BlockedByStreamer(Forbidden, slug="blocked-by-streamer"):
    """The streamer has blocked you."""


class ExclusiveToAnother(Conflict, slug="exclusive-to-another"):
    """The session is exclusive to another viewer."""


class OtherSession(Conflict, slug="goal-of-another-session"):
    """The goal belongs to another session."""


class GoalOver(Conflict, slug="goal-over"):
    """The goal is over."""


class NotAShow(Conflict, slug="not-a-show"):
    """Tickets are for a show or its funding."""


class OtherTicket(Conflict, slug="other-ticket"):
    """This show sells another ticket."""


class NotATicket(Conflict, slug="not-a-ticket"):
    """Only a ticket can be given for a show or its funding."""


class NeedsAPerformance(Conflict, slug="needs-a-performance"):
    """This gift asks for a performance of its own: it cannot be held for a private goal."""


class SessionExclusive(Conflict, slug="session-exclusive"):
    """While the session is exclusive, nothing is held for a private goal: that is everybody's."""


class TakesNoGifts(Conflict, slug="takes-no-gifts"):
    """Nothing can be given for a goal of this kind."""


class PriceChanged(Conflict, slug="price-changed"):
    """It costs more than you have agreed to: `amount_diamonds`."""


@dataclass(frozen=True, slots=True)
class Gift:
    """One gift and what became of it. `goal_id` and `funding_goal_id` only where its money is held.

    Whether it was sent, and whether its money came back, is told by different services, in any order.
    """

    id: str
    sender_id: str
    session_id: str
    streamer_id: str
    product_id: str
    categories: tuple[str, ...]
    count: int
    amount_diamonds: int
    status: Literal["requested", "sent", "failed"] = "requested"
    reason: str | None = None
    refund_reason: str | None = None
    unpaid_at: datetime | None = None
    """When it failed without ever having cost anything; such a gift is forgotten."""
    goal_id: str | None = None
    funding_goal_id: str | None = None
    duration: int | None = None
    exclusive_to: str | None = None
    """Its sender, if the session was theirs alone when it was asked for: others would learn by it who that is."""

    @property
    def outcome(self) -> tuple[Status, str | None]:
        """What became of it, and why."""
        if self.refund_reason is not None and self.status != "failed":
            return "refunded", self.refund_reason
        return self.status, self.reason


@dataclass(frozen=True, slots=True)
class Wish:
    """What a viewer wants to give, how many, and what it may cost at most."""

    gift_id: str
    sender_id: str
    product: GiftProduct
    count: int
    max_amount_diamonds: int | None = None


def require_goal_of_ticket(product: GiftProduct, goal_id: str | None) -> None:
    """Refuse a ticket for nothing.

    Raises:
        TicketWithoutGoal: it names no goal.
    """
    if product.is_ticket and goal_id is None:
        raise TicketWithoutGoal(errors=[{"field": "goal_id", "message": "required for a ticket"}])


def require_welcome(sender_id: str, session: KnownSession, *, blocked: bool) -> None:
    """Refuse whom the streamer takes nothing from, whatever it is.

    Raises:
        OwnSession, BlockedByStreamer: as they say.
    """
    if sender_id == session.streamer_id:
        raise OwnSession
    if blocked:
        raise BlockedByStreamer


def request(
    wish: Wish, session: KnownSession, goal: KnownGoal | None, timing: Timing, now: datetime
) -> tuple[Gift, GiftRequestedV1]:
    """Ask for a gift's money; nobody waits for it after `exp`.

    Raises:
        SessionOver, ExclusiveToAnother: nobody can give, or not this viewer.
        OtherSession, GoalOver: the goal that is named is not open here.
        NotAShow, OtherTicket, NotATicket, NeedsAPerformance, TakesNoGifts: the gift and that goal do not fit.
        SessionExclusive: that goal is everybody's, and the session is not.
        PriceChanged: it costs more than the viewer has agreed to.
    """
    if session.is_over(now, timing.session_max):
        raise SessionOver
    if session.is_exclusive_to_another(wish.sender_id):
        raise ExclusiveToAnother
    if goal is not None:
        _require_open(goal, session, now)
    gift = _plain(wish, session) if goal is None else _gift_for(goal, wish, session)
    if wish.max_amount_diamonds is not None and gift.amount_diamonds > wish.max_amount_diamonds:
        raise PriceChanged(amount_diamonds=gift.amount_diamonds)
    return gift, GiftRequestedV1(**_facts(gift), exp=now + timing.proposal)


def _require_open(goal: KnownGoal, session: KnownSession, now: datetime) -> None:
    if goal.session_id != session.id:
        raise OtherSession
    if goal.is_over(now):
        raise GoalOver


def _gift_for(goal: KnownGoal, wish: Wish, session: KnownSession) -> Gift:
    """A gift whose money is held for a promise: tickets, and nothing else, for shows; others for private goals."""
    match goal.kind:
        case "ShowFundingGoal" | "ShowGoal":
            return _ticket(goal, wish, session)
        case _ if wish.product.is_ticket:
            raise NotAShow
        case "TriggerPrivateGoal":
            if wish.product.asks_for_performance:
                raise NeedsAPerformance
            if session.exclusive_to:
                raise SessionExclusive
            return replace(_plain(wish, session), goal_id=goal.id)
        case _:
            raise TakesNoGifts


def _ticket(goal: KnownGoal, wish: Wish, session: KnownSession) -> Gift:
    """A place in a show, at the funding's price."""
    if not wish.product.is_ticket:
        raise NotATicket
    if wish.product.id != goal.context.ticket_product_id:
        raise OtherTicket
    return replace(
        _plain(wish, session),
        amount_diamonds=ticket_price(wish.product.price_diamonds, goal) * wish.count,
        goal_id=goal.id,
        funding_goal_id=goal.id if goal.kind == "ShowFundingGoal" else goal.context.funding_goal_id,
    )


def _plain(wish: Wish, session: KnownSession) -> Gift:
    """A gift for nothing but itself: its money is the streamer's at once."""
    product = wish.product
    return Gift(
        id=wish.gift_id,
        sender_id=wish.sender_id,
        session_id=session.id,
        streamer_id=session.streamer_id,
        product_id=product.id,
        categories=product.categories,
        count=wish.count,
        amount_diamonds=product.price_diamonds * wish.count,
        duration=None if product.duration_seconds is None else product.duration_seconds * wish.count,
        exclusive_to=wish.sender_id if session.exclusive_to else None,
    )


def ticket_price(price_diamonds: int, goal: KnownGoal) -> int:
    """The early bird's price: rounded up, at least 1 (SPEC §8)."""
    if goal.context.ticket_product_type != "earlybird":
        return price_diamonds
    rest = 100 - (goal.context.discount_percentage or 0)
    return max(1, -(-price_diamonds * rest // 100))


def sent(gift: Gift, *, earning_id: str | None = None, payment_id: str | None = None) -> Decision[Gift]:
    """It was paid and counts. Whether it was sent or failed stands as it was told first."""
    if gift.status != "requested":
        return Decision(None)
    event = GiftSentV1(**_facts(gift), earning_id=earning_id, payment_id=payment_id)
    return Decision(replace(gift, status="sent"), (event,))


def failed(
    gift: Gift,
    reason: str,
    *,
    earning_id: str | None = None,
    payment_id: str | None = None,
    unpaid_at: datetime | None = None,
) -> Decision[Gift]:
    """It came to nothing; its sender has the money back, or, with `unpaid_at`, never gave it away."""
    if gift.status != "requested":
        return Decision(None)
    event = GiftFailedV1(**_facts(gift), earning_id=earning_id, payment_id=payment_id, reason=reason)
    return Decision(replace(gift, status="failed", reason=reason, unpaid_at=unpaid_at), (event,))


def refunded(gift: Gift, reason: str) -> Decision[Gift]:
    """What was held for it came back: told by escrow, so shop tells nobody. What never counted is failed instead."""
    if reason == NEVER_COUNTED:
        return Decision(None)
    return Decision(replace(gift, refund_reason=reason))


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
        "exclusive_to": gift.exclusive_to,
    }
