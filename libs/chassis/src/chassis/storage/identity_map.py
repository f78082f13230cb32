"""What a transaction knows of documents: of each the version that shall be, and the one that the server has."""

from typing import Any

from chassis.storage.collection import Collection, UnreadableError
from chassis.storage.mongo import DeleteOne, InsertOne, Raw, ReplaceOne, UpdateOne


class Version:
    """One version of a document. Compared by identity: writing an unchanged document is a write too."""

    __slots__ = ("_document", "is_new", "unreadable")

    def __init__(self, document: Any, *, is_new: bool = False, unreadable: UnreadableError | None = None) -> None:
        """Of a document that can be read, or not."""
        self._document = document
        self.is_new = is_new
        """Whether it has nothing to do with what may have been there before it under its id."""
        self.unreadable = unreadable

    @property
    def document(self) -> Any:
        """The document, None if there is none. Raises UnreadableError."""
        if self.unreadable is not None:
            raise self.unreadable
        return self._document

    def again(self) -> "Version":
        """The same version, to be written once more."""
        return self if self is ABSENT else Version(self._document, is_new=self.is_new, unreadable=self.unreadable)

    def saved(self, document: Any) -> "Version":
        """The version that follows when `document` is saved over this one."""
        return Version(document, is_new=self.is_new or self is ABSENT)


ABSENT = Version(None)
UNKNOWN = Version(None)


class Entry:
    """A document as it shall be and as the server has it inside this transaction."""

    __slots__ = ("assumed_stamp", "current", "flushed_at", "raw", "server")

    def __init__(self, server: Version, assumed_stamp: int | None = None, raw: Raw | None = None) -> None:
        """As the server has it."""
        self.current = server
        self.server = server
        self.flushed_at: int | None = None
        self.assumed_stamp = assumed_stamp
        self.raw = raw
        """What the server has, if it may have parts that hold more than their class knows."""


def write_of(
    collection: Collection[Any], id_: str, entry: Entry, stamp: int
) -> InsertOne[Raw] | ReplaceOne[Raw] | UpdateOne | DeleteOne:
    """The one write that makes the server's version the current one."""
    current, stored = entry.current, entry.raw
    entry.raw = None
    if current is ABSENT:
        return DeleteOne({"_id": id_})
    if current.unreadable is not None:  # somebody has saved over it, and it was rolled back after that was flushed
        return ReplaceOne({"_id": id_}, {**current.unreadable.raw, "_stamp": stamp}, upsert=True)
    raw = collection.to_raw(current.document, stamp)
    if stored is not None and not current.is_new:
        raw = entry.raw = collection.with_unknown(raw, stored, entry.server.document)
    if entry.server is ABSENT:
        return InsertOne(raw)
    where = {"_id": id_} if entry.assumed_stamp is None else {"_id": id_, "_stamp": entry.assumed_stamp}
    if current.is_new:
        return ReplaceOne(where, raw, upsert=entry.server is UNKNOWN)
    fields = {name: value for name, value in raw.items() if name != "_id"}
    return UpdateOne(where, {"$set": fields}, upsert=entry.server is UNKNOWN)
