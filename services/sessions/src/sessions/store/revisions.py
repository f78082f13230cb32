"""Of what an answer about watching is made, as it is now: the revision by which a whole answer is kept and found again.

Nothing is broadcast to replicas. Each request reads the revision anew, so whatever has been committed before it came is
in its answer, whichever replica it asks. It is made of the stamps that every document carries, so no writer can forget
to move it; of the session it is what decides, since every payment of any viewer saves a session.

Requests that come together share one question. It begins after the last of them has come.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, cast

from chassis.storage.mongo import Raw
from chassis.storage.tx import Tx
from sessions.domain.blocks import block_id
from sessions.domain.passes import pass_ids
from sessions.domain.session import SessionNotFound
from sessions.domain.viewer import holder_id
from sessions.store import BLOCKS, PASSES, SESSIONS, VIEWERS

TOGETHER_MAX: Final = 200  # requests in one question
STREAMERS_MAX: Final = 10_000  # sessions whose streamer is remembered, who never changes
IDS_MAX: Final = 10_000  # users whose ids are: they are hashes

Revision = tuple[Any, ...]
"""What the session says, then the stamps of the viewer, the block and the passes; compared, never looked into."""

_DECIDING: Final[Raw] = {
    **dict.fromkeys(("active", "exp", "exclusive_to", "preset", "sources"), 1),
    "show": {"$slice": [{"$ifNull": ["$show_goal_pairs", []]}, -1]},
}


@dataclass(frozen=True, slots=True)
class _Question:
    session_id: str
    others: tuple[str, ...]
    answer: "asyncio.Future[Revision]"


@dataclass
class Revisions:
    """The revisions that a process reads."""

    _streamers: "OrderedDict[str, str]" = field(default_factory=OrderedDict)
    _waiting: list[_Question] = field(default_factory=list)
    _asking: "asyncio.Task[None] | None" = None

    async def of(self, tx: Tx, session_id: str, user_id: str) -> Revision:
        """The revision of what this user may watch there, read after this was called.

        Raises:
            SessionNotFound: there is no such session.
        """
        streamer_id = await self._streamer(tx, session_id)
        others = _others(session_id, streamer_id, user_id)
        question = _Question(session_id, others, asyncio.get_running_loop().create_future())
        self._waiting.append(question)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(tx))
        return await question.answer

    async def _streamer(self, tx: Tx, session_id: str) -> str:
        known = self._streamers.get(session_id)
        if known is not None:
            return known
        session = await tx.get(SESSIONS, session_id)
        if session is None:
            raise SessionNotFound
        self._streamers[session_id] = session.streamer_id
        if len(self._streamers) > STREAMERS_MAX:
            self._streamers.popitem(last=False)
        return session.streamer_id

    async def _ask(self, tx: Tx) -> None:
        """One question after the other, for as long as somebody waits."""
        try:
            while self._waiting:
                part, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
                await _answer(tx, part)
        finally:
            self._asking = None
            for question in self._waiting:  # the process ends
                question.answer.cancel()
            self._waiting = []


@lru_cache(IDS_MAX)
def _others(session_id: str, streamer_id: str, user_id: str) -> tuple[str, ...]:
    """The ids of all that decides besides the session."""
    return holder_id(session_id, user_id), block_id(streamer_id, user_id), *pass_ids(user_id, streamer_id)


async def _answer(tx: Tx, part: Sequence[_Question]) -> None:
    """Tell each its revision, or all what went wrong: each of them asks again by itself."""
    try:
        rows = await _rows(tx, part)
    except asyncio.CancelledError:
        for question in part:
            question.answer.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - it is raised to everybody who asked
        for question in part:
            if not question.answer.done():
                question.answer.set_exception(error)
                question.answer.exception()  # who asked may be gone
        return
    for question in part:
        if not question.answer.done():
            question.answer.set_result((rows.get(question.session_id), *map(rows.get, question.others)))


async def _rows(tx: Tx, part: Sequence[_Question]) -> dict[str, Any]:
    """One aggregation over four collections, each by `_id`: the cost of one question."""
    others = list({id_ for question in part for id_ in question.others})
    stamps = [{"$match": {"_id": {"$in": others}}}, {"$project": {"_stamp": 1}}]
    rows = await tx.aggregate(
        SESSIONS,
        [
            {"$match": {"_id": {"$in": list({question.session_id for question in part})}}},
            {"$project": _DECIDING},
            *({"$unionWith": {"coll": of.name, "pipeline": stamps}} for of in (VIEWERS, BLOCKS, PASSES)),
        ],
    )
    return {row["_id"]: cast("Any", row) for row in rows}
