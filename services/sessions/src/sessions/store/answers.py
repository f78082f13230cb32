"""Whole answers of `GET /sessions/{id}/token`, kept per session and user for as long as nothing that they say changes.

This is where the first design's `invalidate_get_session_token_view_cache` went: nothing is invalidated, an answer of
another revision is not found (`revisions`).
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sessions.store.revisions import Revision, Revisions

ANSWERS_MAX: Final = 10_000  # of 2 KB: the audience of one process; who was quiet the longest is computed anew


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, of this revision, given from `since` on until `until`. A refusal is an answer too."""

    revision: Revision
    since: datetime
    until: datetime
    answer: Any


@dataclass
class TokenAnswers:
    """What a process has answered."""

    revisions: Revisions = field(default_factory=Revisions)
    _kept: "OrderedDict[tuple[str, str], Kept]" = field(default_factory=OrderedDict)

    def find(self, session_id: str, user_id: str, revision: Revision, now: datetime) -> Any | None:
        """The answer to give again, if there is one of this revision that still holds."""
        kept = self._kept.get((session_id, user_id))
        if kept is None or kept.revision != revision or not kept.since <= now < kept.until:
            return None
        self._kept.move_to_end((session_id, user_id))
        return kept.answer

    def keep(self, session_id: str, user_id: str, kept: Kept) -> None:
        """Give this answer again. Its revision was read before what it was made of, so it is never newer than that."""
        self._kept[session_id, user_id] = kept
        self._kept.move_to_end((session_id, user_id))
        if len(self._kept) > ANSWERS_MAX:
            self._kept.popitem(last=False)
