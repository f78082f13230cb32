"""The collections of sessions, and how a decision is saved.

`load` is what handlers load of them, `holders` who has time in a session, `needs` what a whole batch loads at once;
`revisions` and `answers` spare the work of answering the same again.
"""

from typing import Any, Final

from chassis.storage.collection import Collection, Index
from chassis.storage.tx import Tx
from sessions.domain.blocks import Block
from sessions.domain.changes import Changes
from sessions.domain.exclusive import Exclusive, Invitation
from sessions.domain.grants import Grant
from sessions.domain.karaoke import KaraokeGoal
from sessions.domain.passes import Pass
from sessions.domain.payments import Payment
from sessions.domain.private import Contribution, Contributor, PrivateGoal
from sessions.domain.session import HeadCount, Session
from sessions.domain.show import ShowGoal, Ticket
from sessions.domain.viewer import Viewer

UNPAID_KEPT_SECONDS: Final = 86_400  # a payment that cost nobody anything: who asks for it later has no need of it
PASSES_KEPT_SECONDS: Final = 7 * 86_400  # after their end

SESSIONS = Collection(
    "sessions",
    Session,
    indexes=(
        Index({"streamer_id": 1}, unique=True, where={"active": True}),
        Index(
            {"sources.room_id": 1}, unique=True, where={"active": True, "sources.room_id": {"$exists": True}}
        ),  # a room belongs to one active session
    ),
)
HEAD_COUNTS = Collection(
    "head_counts",
    HeadCount,
    indexes=(Index({"active": 1, "rank": 1, "_id": 1}), Index({"streamer_id": 1, "active": 1, "_id": 1})),
)
INVITATIONS = Collection("invitations", Invitation)
EXCLUSIVES = Collection("exclusives", Exclusive)
VIEWERS = Collection(
    "viewers",
    Viewer,
    indexes=(Index({"session_id": 1, "_id": 1}), Index({"session_id": 1, "exp": 1})),
)
GRANTS = Collection(
    "grants",
    Grant,
    indexes=(
        Index({"session_id": 1, "viewer_id": 1, "nbf": 1, "_id": 1}, where={"stands": True}),
        Index({"trigger_exclusive_goal_id": 1}, where={"stands": True}),
    ),
)
PAYMENTS = Collection(
    "payments",
    Payment,
    indexes=(Index({"payer_id": 1, "_id": 1}), Index({"unpaid_at": 1}, expire_after_seconds=UNPAID_KEPT_SECONDS)),
)
SHOW_GOALS = Collection("show_goals", ShowGoal)
TICKETS = Collection("tickets", Ticket)
PRIVATE_GOALS = Collection("private_goals", PrivateGoal, indexes=(Index({"session_id": 1, "state": 1}),))
CONTRIBUTORS = Collection("contributors", Contributor, indexes=(Index({"goal_id": 1, "_id": 1}),))
CONTRIBUTIONS = Collection("contributions", Contribution)
KARAOKE_GOALS = Collection("karaoke_goals", KaraokeGoal)
BLOCKS = Collection("blocks", Block, indexes=(Index({"streamer_id": 1, "at": 1, "_id": 1}),))
PASSES = Collection("passes", Pass, indexes=(Index({"exp": 1}, expire_after_seconds=PASSES_KEPT_SECONDS),))

COLLECTIONS: tuple[Collection[Any], ...] = (
    SESSIONS, HEAD_COUNTS, BLOCKS, PASSES,
    VIEWERS, GRANTS, PAYMENTS,
    INVITATIONS, EXCLUSIVES,
    SHOW_GOALS, TICKETS,
    PRIVATE_GOALS, CONTRIBUTORS, CONTRIBUTIONS,
    KARAOKE_GOALS,
)  # fmt: skip
_COLLECTION_OF = {collection.document: collection for collection in COLLECTIONS}


def save(tx: Tx, changes: Changes) -> None:
    """Save every document that a decision changed, and what follows from it."""
    for document in changes.state or ():
        tx.put(_COLLECTION_OF[type(document)], document)
    tx.apply_consequences(changes)
