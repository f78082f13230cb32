"""What shop keeps: gifts, and what it knows of sessions and goals."""

from collections.abc import Iterable

from chassis.collection import Collection, Ref
from contracts import EscrowRejectedV1, GoalContributionRejectedV1, GoalCreatedV1, GoalEndedV1, GoalProgressedV1
from contracts.escrow import PaymentFailedV1, PaymentSucceededV1
from contracts.event import SessionEvent
from shop.domain.gifts import Gift
from shop.domain.stage import Goal, Session

GIFTS = Collection("gifts", Gift)
SESSIONS = Collection("sessions", Session)
GOALS = Collection("goals", Goal)
ALL = (GIFTS, SESSIONS, GOALS)


def of_session(event: SessionEvent) -> Iterable[Ref]:
    """The session that an event is about."""
    return (SESSIONS.ref(event.session_id),)


def of_goal(event: GoalCreatedV1 | GoalEndedV1) -> Iterable[Ref]:
    """The goal that an event is about."""
    return (GOALS.ref(event.goal_id),)


def of_gift(
    event: GoalProgressedV1 | GoalContributionRejectedV1 | EscrowRejectedV1 | PaymentSucceededV1 | PaymentFailedV1,
) -> Iterable[Ref]:
    """The gift that an event is about, if it is about one."""
    return (GIFTS.ref(event.gift_id),) if event.gift_id else ()
