"""Idempotency-Key: the first answer is stored in the command's transaction and given again, byte for byte (SPEC §2)."""

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis import ids
from chassis.errors import Refusal
from chassis.http.problems import IdempotencyKeyReused, invalid
from chassis.http.response import HttpResponse
from chassis.storage.collection import Collection, Index
from chassis.storage.tx import Tx

KEPT_SECONDS = 24 * 60 * 60  # SPEC §2
REFUSAL_KEPT_SECONDS = 10 * 60  # a refusal changed nothing: it need only outlive whoever sends the same request again

_KEY = re.compile(rb"[ -~]{1,255}")
_TELLS_OF_NOW_STATUSES = frozenset({401, 403, 413, 429})  # another token or a moment later, and the answer may differ


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """The first answer to a command with an Idempotency-Key."""

    id: str
    body_hash: bytes
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    at: datetime
    """When its 24 h began; for a refusal so long ago that it is forgotten after ten minutes."""


IDEMPOTENCY_RECORDS = Collection(
    "idempotency_records", IdempotencyRecord, indexes=(Index({"at": 1}, expire_after_seconds=KEPT_SECONDS),)
)
FORMER_RECORDS = Collection("answers", IdempotencyRecord)
"""Where the release before keeps them. Where that is there, it is believed, and written to besides."""


@dataclass(frozen=True, slots=True)
class CommandKey:
    """One caller's key for one path, and what the command said."""

    user_id: str
    method: str
    key: str
    path: str
    body_hash: bytes

    @property
    def id(self) -> str:
        """Under which the answer is stored."""
        return ids.derived_id(self.user_id, self.method, self.key, self.path)

    def at(self, path: str) -> "CommandKey":
        """The same key for another path to the same command."""
        return replace(self, path=path)

    @classmethod
    def of(cls, key: bytes, user_id: str, method: str, path: str, said: bytes) -> "CommandKey":
        """The key of a command that said `said`, its query and body.

        Raises:
            InvalidRequest: not 1 to 255 printable ASCII characters.
        """
        if not _KEY.fullmatch(key):
            raise invalid("idempotency-key", "must be 1 to 255 printable ASCII characters")
        return cls(user_id, method, key.decode(), path, hashlib.sha256(said).digest())


async def recall(tx: Tx, key: CommandKey, *, former: bool = False) -> HttpResponse | None:
    """The answer given to this command before, or None; `former`: the release before may be running, too.

    Raises:
        IdempotencyKeyReused: the key came with another query or body before.
    """
    stored = await tx.get(FORMER_RECORDS if former else IDEMPOTENCY_RECORDS, key.id)
    if stored is None or tx.now - stored.at >= timedelta(seconds=KEPT_SECONDS):
        return None
    if stored.body_hash != key.body_hash:
        raise IdempotencyKeyReused
    return HttpResponse(stored.status, tuple(stored.headers), stored.body)


def keep(tx: Tx, key: CommandKey, answer: HttpResponse, *, refused: bool, former: bool = False) -> None:
    """Store the first answer; of two that run at once, one commits and the other finds this when it runs again."""
    at = tx.now - timedelta(seconds=KEPT_SECONDS - REFUSAL_KEPT_SECONDS) if refused else tx.now
    record = IdempotencyRecord(key.id, key.body_hash, answer.status, list(answer.headers), answer.body, at)
    tx.put(IDEMPOTENCY_RECORDS, record)
    if former:
        tx.put(FORMER_RECORDS, record)


def replayed(stored: HttpResponse, request_id: str) -> HttpResponse:
    """The first answer for the request that has just come: its body byte for byte, marked as a repetition."""
    kept = tuple(header for header in stored.headers if header[0] != b"x-request-id")
    own = ((b"x-request-id", request_id.encode()), (b"idempotent-replayed", b"true"))
    return replace(stored, headers=(*own, *kept))


def is_final(refusal: Refusal) -> bool:
    """Whether a refusal of the domain is kept as the command's answer."""
    return refusal.STATUS < 500 and refusal.STATUS not in _TELLS_OF_NOW_STATUSES  # noqa: PLR2004 - server's fault
