"""What goals stores beside goals and stages: documents of their own, so that none grows with the audience (SPEC §1)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chassis.decision import Decision
from contracts import ContributionRejection
from goals.domain.goal import Goal
from goals.domain.stage import Stage

SLICE: Final = 100  # goals or payments closed in one transaction: a few milliseconds, so that others get their turn
AMOUNT_MAX: Final = 10**15  # more than all diamonds that one user can give to one goal; 16 digits with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """A viewer in a session, and the last invitation. Whoever proposes writes it, so at most one is open."""

    id: str
    invitation_id: str
    unanswered: int = 0
    """How many in a row before that one got no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpaid:
    """A viewer, whose id it has, who had too few diamonds for an invitation; to ask elsewhere is no way around."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Patron:
    """A viewer who has paid a streamer before, for something that the streamer has kept."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A viewer whom a streamer blocks; its id is `pair_id`'s, as a Patron's."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """The answer to one hold; its id is the earning's, so each hold is answered once."""

    id: str
    goal_id: str
    user_id: str
    escrow_id: str
    amount_diamonds: int
    count: int
    rejected: ContributionRejection | None
    """Why it does not count; None: it counts."""
    answered: bool = True
    """False: its refund was read before the hold."""
    refunded: bool = False
    """It did count, and escrow has given it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supporter:
    """All that one user gave for one goal and has not got back: a line of its leaderboard, none when it is nothing."""

    id: str
    goal_id: str
    user_id: str
    count: int
    amount_diamonds: int
    place: str
    """Sorts the leaderboard: the largest amount first; of equal ones, who reached it first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A payment for more time of an exclusive; its id is the payment's, so each moves `exp` once."""

    id: str
    goal_id: str
    session_id: str
    streamer_id: str
    begins: datetime | None
    """Where its part of the time begins; None: it came too late for any."""
    duration: int | None = None
    """Its part, in seconds; None: from before this was kept."""
    rejected: bool = False
    """Whether what is not given of it, all or some steps, was told."""


Saved = Goal | Stage | Guest | Unpaid | Patron | Contribution | Supporter | Extension
Change = Decision[tuple[Saved, ...]]
"""A decision about several documents, all of which it saves."""

NOTHING: Change = Decision(())


def together(*changes: Change) -> Change:
    """Several decisions as one, in order; of two versions of a document the later one is saved."""
    return Decision(
        tuple(document for change in changes for document in change.state or ()),
        tuple(event for change in changes for event in change.events),
        tuple(timer for change in changes for timer in change.timers),
    )


def guest_id(session_id: str, viewer_id: str) -> str:
    """The id of a viewer's Guest document in a session."""
    return f"{session_id}:{viewer_id}"


def pair_id(streamer_id: str, viewer_id: str) -> str:
    """The id of what is remembered of a viewer and a streamer: a Block, a Patron."""
    return f"{streamer_id}:{viewer_id}"


def place(amount_diamonds: int, reached_at: datetime) -> str:
    """A supporter's place, as text that sorts."""
    return f"{AMOUNT_MAX - amount_diamonds:016d}:{reached_at:%Y%m%d%H%M%S%f}"


def place_after_refund(amount_diamonds: int, before: str) -> str:
    """The place of a supporter who has got something back: with less, but reached when it was."""
    return f"{AMOUNT_MAX - amount_diamonds:016d}:{before.partition(':')[2]}"


def supporter_id(goal_id: str, user_id: str) -> str:
    """The id of a user's line on a goal's leaderboard."""
    return f"{goal_id}:{user_id}"
