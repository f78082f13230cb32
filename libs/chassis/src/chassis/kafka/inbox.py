"""The inbox: the ids of the events that took effect lately, written in the transaction of their effect.

It catches what a relay has published again, under a new offset; offsets themselves are the positions' work.
"""

from dataclasses import dataclass
from datetime import datetime

from chassis.storage.collection import Collection, Index

INBOX_SECONDS = 3 * 24 * 3_600
"""A relay that died between publishing and deleting says the same again once its service is back, and for so long that
may take. Whoever stays away longer may be heard twice: what adds is keyed by its cause besides."""


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """The events that took effect in one transaction: a row for all of them costs little more than a row for one.

    No event is in two rows, so whoever brings one again learns it by writing, without a look.
    """

    id: str
    ids: tuple[str, ...]
    at: datetime


INBOX = Collection(
    "inbox",
    InboxEntry,
    indexes=(Index({"ids": 1}, unique=True), Index({"at": 1}, expire_after_seconds=INBOX_SECONDS)),
)
