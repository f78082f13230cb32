"""KaraokeGoal: a gift that asks for a performance of some length. Goals makes it itself (SPEC §3)."""

from datetime import datetime, timedelta

from chassis.decision import Decision, derived_id
from contracts import Conditions, Context, GiftSentV1, Metadata, Outcome
from goals.domain.goal import End, Goal, created, schedule
from goals.domain.stage import Stage
from goals.domain.state import NOTHING, Change
from goals.domain.timing import Timing

KARAOKE = "karaoke-"  # how the ids of such products begin (SPEC §8)


def goal_id_of(gift: GiftSentV1) -> str | None:
    """The goal that follows from a gift; None if none does."""
    return derived_id("karaoke", gift.gift_id) if gift.product_id.startswith(KARAOKE) and gift.duration else None


def create(goal_id: str, gift: GiftSentV1, stage: Stage, alone_with: str | None, now: datetime) -> Change:
    """Begin it at once; nothing, if the session is over, or promised to somebody else alone (`alone_with`).

    In the sender's own 1-on-1 it is a part of that, and as little others' business (SPEC §2).
    """
    if stage.ended_at is not None or alone_with not in (None, gift.sender_id):
        return NOTHING
    exclusive_to = alone_with or gift.exclusive_to
    goal = Goal(
        id=goal_id,
        kind="KaraokeGoal",
        state="active",
        conditions=Conditions(session_id=stage.id, exclusive_to=exclusive_to),
        context=Context(type="karaoke", gift_id=gift.gift_id, sender_id=gift.sender_id, product_id=gift.product_id),
        metadata=Metadata(user_id=stage.streamer_id),
        exp=now + timedelta(seconds=gift.duration or 0),
        created_at=now,
    )
    return Decision((goal, stage), (created(goal),), (schedule(goal),))


def outcome(_goal: Goal, end: End, _timing: Timing) -> Outcome:
    """It is completed unless the session ends before (SPEC §3)."""
    return "completed" if end.cause == "expired" else "cancelled"


def after_end(_goal: Goal, stage: Stage, _timing: Timing) -> Change:
    """Nothing else follows."""
    return Decision((stage,))
