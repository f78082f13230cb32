"""Idempotency-Key: the first answer is stored in the command's transaction and given again, byte for byte (SPEC §2)."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis import ids
from chassis.collection import Collection, Index
from chassis.errors import Refusal
from chassis.http.answer import Answer
from chassis.http.problems import IdempotencyKeyReused, invalid
from chassis.tx import Tx

KEPT_SECONDS = 24 * 60 * 60  # SPEC §2

_KEY = re.compile(rb"[ -~]{1,255}")
_TELLS_OF_NOW_STATUSES = frozenset({401, 403, 413, 429})  # another token or a moment later, and the answer may differ


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The first answer to a command with an Idempotency-Key."""

    id: str
    body_hash: bytes
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    at: datetime


ANSWERS = Collection("answers", StoredAnswer, indexes=(Index({"at": 1}, expire_after_seconds=KEPT_SECONDS),))


@dataclass(frozen=True, slots=True)
class CommandKey:
    """One caller's key for one route, and what the command said."""

    id: str
    body_hash: bytes

    @classmethod
    def of(cls, key: bytes, user_id: str, method: str, path: str, said: bytes) -> "CommandKey":
        """The key of a command that said `said`, its query and body.

        Raises:
            InvalidRequest: not 1 to 255 printable ASCII characters.
        """
        if not _KEY.fullmatch(key):
            raise invalid("idempotency-key", "must be 1 to 255 printable ASCII characters")
        return cls(ids.derived_id(user_id, method, key.decode(), path), hashlib.sha256(said).digest())


async def recall(tx: Tx, key: CommandKey) -> Answer | None:
    """The answer given to this command before, or None.

    Raises:
        IdempotencyKeyReused: the key came with another query or body before.
    """
    stored = await tx.get(ANSWERS, key.id)
    if stored is None or tx.now - stored.at >= timedelta(seconds=KEPT_SECONDS):
        return None
    if stored.body_hash != key.body_hash:
        raise IdempotencyKeyReused
    return Answer(stored.status, tuple(stored.headers), stored.body)


def keep(tx: Tx, key: CommandKey, answer: Answer) -> None:
    """Store the first answer; of two that run at once, one commits and the other finds this when it runs again."""
    tx.put(ANSWERS, StoredAnswer(key.id, key.body_hash, answer.status, list(answer.headers), answer.body, tx.now))


def is_final(refusal: Refusal) -> bool:
    """Whether a refusal of the domain is kept as the command's answer."""
    return refusal.STATUS < 500 and refusal.STATUS not in _TELLS_OF_NOW_STATUSES  # noqa: PLR2004 - server's fault
