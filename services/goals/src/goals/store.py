"""What goals keeps in MongoDB, and how it is found."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from chassis.errors import NotYet
from chassis.storage.collection import Collection, Index, Ref
from chassis.storage.tx import Tx
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowHeldV1,
    EscrowRejectedV1,
    GiftSentV1,
    PaymentSucceededV1,
    SessionEvent,
    SessionViewerAuthorizedV1,
)
from goals.domain.goal import OPEN, Goal, GoalDue, LapseDue
from goals.domain.invitation import Viewer
from goals.domain.karaoke import goal_id_of
from goals.domain.stage import Stage, as_of
from goals.domain.state import (
    SLICE,
    Block,
    Change,
    Contribution,
    Extension,
    Guest,
    Patron,
    Supporter,
    Unpaid,
    guest_id,
    pair_id,
    supporter_id,
)

REJECTED_SECONDS_MAX: Final = 86_400  # SPEC §3: a proposal that never was a promise is forgotten after a day

GOALS = Collection(
    "goals",
    Goal,
    indexes=(
        Index({"conditions.session_id": 1, "state": 1, "created_at": 1, "_id": 1}),
        Index({"metadata.user_id": 1, "state": 1, "created_at": 1, "_id": 1}),
        Index({"conditions.exclusive_to": 1, "state": 1, "created_at": 1, "_id": 1}),
        Index(
            {"conditions.exclusive_to": 1, "metadata.user_id": 1, "state": 1}, where={"kind": "TriggerExclusiveGoal"}
        ),
        Index({"ended_at": 1}, where={"state": "rejected"}, expire_after_seconds=REJECTED_SECONDS_MAX),
    ),
)
STAGES = Collection("stages", Stage)
GUESTS = Collection("guests", Guest)
UNPAID = Collection("unpaid", Unpaid, indexes=(Index({"at": 1}, expire_after_seconds=REJECTED_SECONDS_MAX),))
BLOCKS = Collection("blocks", Block)
PATRONS = Collection("patrons", Patron)
CONTRIBUTIONS = Collection("contributions", Contribution)
SUPPORTERS = Collection("supporters", Supporter, indexes=(Index({"goal_id": 1, "place": 1, "_id": 1}),))
EXTENSIONS = Collection("extensions", Extension, indexes=(Index({"goal_id": 1, "rejected": 1, "begins": 1}),))

COLLECTIONS: Final[tuple[Collection[Any], ...]] = (
    GOALS,
    STAGES,
    GUESTS,
    UNPAID,
    BLOCKS,
    PATRONS,
    CONTRIBUTIONS,
    SUPPORTERS,
    EXTENSIONS,
)

_OF_DOCUMENT: Final[dict[type[Any], Collection[Any]]] = {collection.document: collection for collection in COLLECTIONS}


def save(tx: Tx, change: Change) -> None:
    """Save all documents of a decision, and what follows from it."""
    for document in change.state or ():
        if isinstance(document, Supporter) and not document.count:
            tx.delete(SUPPORTERS, document.id)
        else:
            tx.put(_OF_DOCUMENT[type(document)], document)
    tx.apply_consequences(change)


async def stage(tx: Tx, session_id: str) -> Stage:
    """The stage of a session as it is now, over at its maximum although nobody has told.

    Raises:
        NotYet: sessions has not told of it yet.
    """
    found = await tx.get(STAGES, session_id)
    if found is None:
        raise NotYet("session")
    return as_of(found, tx.now)


async def viewer(tx: Tx, stage: Stage, viewer_id: str) -> Viewer:
    """What an invitation depends on, beside the stage."""
    pair = pair_id(stage.streamer_id, viewer_id)
    guest = await tx.get(GUESTS, guest_id(stage.id, viewer_id))
    unpaid = await tx.get(UNPAID, viewer_id)
    return Viewer(
        id=viewer_id,
        blocked=await tx.get(BLOCKS, pair) is not None,
        last=await tx.get(GOALS, guest.invitation_id) if guest else None,
        unanswered=guest.unanswered if guest else 0,
        unpaid_at=unpaid.at if unpaid else None,
        patron=await tx.get(PATRONS, pair) is not None,
    )


async def open_invitations(tx: Tx, streamer_id: str, viewer_id: str) -> list[Goal]:
    """A viewer's proposed and active invitations of a streamer: at most one for each session that is on."""
    where = {
        "kind": "TriggerExclusiveGoal",
        "conditions.exclusive_to": viewer_id,
        "metadata.user_id": streamer_id,
        "state": {"$in": list(OPEN)},
    }
    return await tx.find(GOALS, where, limit=SLICE)


async def open_goals(tx: Tx, session_id: str) -> list[Goal]:
    """A slice of a session's goals that are proposed or active; fewer than `SLICE` are the last."""
    where = {"conditions.session_id": session_id, "state": {"$in": list(OPEN)}}
    return await tx.find(GOALS, where, limit=SLICE)


async def unbegun_extensions(tx: Tx, goal: Goal, ended_at: datetime) -> list[Extension]:
    """A slice of the payments for time of an exclusive of which some had not begun by `ended_at`.

    The time of each begins where that of the one before it ends, or later: of those that have begun, only the last can
    have any left.
    """
    if goal.kind != "ExclusiveGoal":
        return []
    paid: dict[str, Any] = {"goal_id": goal.id, "rejected": False}
    begun = await tx.find(EXTENSIONS, paid | {"begins": {"$lt": ended_at}}, sort={"begins": -1}, limit=1)
    return begun + await tx.find(EXTENSIONS, paid | {"begins": {"$gte": ended_at}}, limit=SLICE)


def of_session(event: SessionEvent) -> Iterable[Ref]:
    """What news of a session changes."""
    return (STAGES.ref(event.session_id),)


def of_timer(timer: GoalDue | LapseDue) -> Iterable[Ref]:
    """What a goal's timer looks at."""
    return GOALS.ref(timer.goal_id), STAGES.ref(timer.session_id)


def of_hold(event: EscrowHeldV1) -> Iterable[Ref]:
    """What the answer to a hold depends on."""
    return (
        CONTRIBUTIONS.ref(event.earning_id),
        GOALS.ref(event.goal_id),
        STAGES.ref(event.session_id),
        SUPPORTERS.ref(supporter_id(event.goal_id, event.buyer_id)),
        BLOCKS.ref(pair_id(event.streamer_id, event.buyer_id)),
    )


def of_rejected_hold(event: EscrowRejectedV1) -> Iterable[Ref]:
    """What a hold that could not be made concerns."""
    return GOALS.ref(event.goal_id), STAGES.ref(event.session_id)


def of_refund(event: EscrowFailedV1) -> Iterable[Ref]:
    """What money that was given back concerns."""
    return (
        CONTRIBUTIONS.ref(event.earning_id),
        SUPPORTERS.ref(supporter_id(event.goal_id, event.buyer_id)),
        GOALS.ref(event.goal_id),
    )


def of_buyer(event: EscrowCompletedV1) -> Iterable[Ref]:
    """Whether this buyer is a patron already."""
    return (PATRONS.ref(pair_id(event.streamer_id, event.buyer_id)),)


def of_payer(event: PaymentSucceededV1) -> Iterable[Ref]:
    """Whether this payer is a patron already."""
    return (PATRONS.ref(pair_id(event.streamer_id, event.payer_id)),)


def of_gift(event: GiftSentV1) -> Iterable[Ref]:
    """What a gift that asks for a performance looks at."""
    goal_id = goal_id_of(event)
    return (GOALS.ref(goal_id), STAGES.ref(event.session_id)) if goal_id else ()


def of_payment(event: SessionViewerAuthorizedV1) -> Iterable[Ref]:
    """What time that was paid for changes, if it was paid for an exclusive."""
    if event.reason != "paid" or event.exclusive_goal_id is None or event.payment_id is None:
        return ()
    return GOALS.ref(event.exclusive_goal_id), EXTENSIONS.ref(event.payment_id), STAGES.ref(event.session_id)
