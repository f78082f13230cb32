"""What one transaction knows of documents, and how it came to know and write it: the session lies here.

A look starts the transaction, unless it only reads. What has been loaded is in the identity map, absence too; what has
changed goes out with one bulk write for each collection.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from chassis.storage.collection import Collection, Ref, UnreadableError
from chassis.storage.errors import StaleDocumentError, commit
from chassis.storage.identity_map import ABSENT, UNKNOWN, Entry, Version, write_of
from chassis.storage.mongo import Bulk, BulkWriteResult, Database, Mongo, Raw, ReplaceOne, Session, UpdateOne


class Stamps:
    """The largest stamp that a process has seen.

    What it finds absent may have been deleted a moment ago by a clock that is ahead: no stamp tells. Its own next one
    is above all that it has read and written, so that what it publishes of one thing stays in order.
    """

    __slots__ = ("largest",)

    def __init__(self) -> None:
        """None yet."""
        self.largest = 0

    def see(self, stamp: int) -> None:
        """Remember the larger one."""
        self.largest = max(self.largest, stamp)


class NotLoadedError(Exception):
    """What is asked for has yet to be loaded, together with what others ask for."""

    def __init__(self, refs: Iterable[Ref]) -> None:
        """Name the documents."""
        super().__init__("to be loaded first")
        self.refs = tuple(refs)


class Documents:
    """The identity map of one transaction, with its session."""

    def __init__(self, mongo: Mongo, database: Database, micros: int, seen: Stamps, *, read_only: bool) -> None:
        """Nothing is known yet, and no transaction begun; `micros` is the clock's reading."""
        self.session: Session | None = None
        self.seen = seen
        self.loaded_stamp = seen.largest
        self.entries: dict[Collection[Any], dict[str, Entry]] = defaultdict(dict)
        self.journal: list[tuple[Entry, Version]] = []
        """Each change that was made, with what was there before it."""
        self.loads_later = False
        """Whether who asks for what is not known yet gets NotLoadedError."""
        self._mongo = mongo
        self._database = database
        self._micros = micros
        self._read_only = read_only

    @property
    def stamp(self) -> int:
        """What everything carries that is written from here on."""
        return max(self._micros, 1 + self.loaded_stamp)

    def entry(self, collection: Collection[Any], id_: str, server: Version) -> Entry:
        """That of the document `id_`, taken to be as `server` says if nothing is known of it."""
        entries = self.entries[collection]
        entry = entries.get(id_)
        if entry is None:
            entry = entries[id_] = Entry(server)
        return entry

    def change(self, entry: Entry, version: Version) -> None:
        """Let `version` be the current one."""
        self.journal.append((entry, entry.current))
        entry.current = version

    async def load(self, collection: Collection[Any], ids_: AbstractSet[str]) -> None:
        """Load documents that are not known yet, with one query."""
        if self.loads_later:
            raise NotLoadedError(map(collection.ref, ids_))
        where: Raw = {"_id": next(iter(ids_))} if len(ids_) == 1 else {"_id": {"$in": list(ids_)}}
        found = {raw["_id"]: raw for raw in await self.query(collection, where, limit=len(ids_))}
        for id_ in ids_:
            if id_ in found:
                self.remember(collection, found[id_])
            else:
                self.entries[collection][id_] = Entry(ABSENT)

    def remember(self, collection: Collection[Any], raw: Raw) -> Entry:
        """Take in what a query found; what is known already stays as it is."""
        id_ = raw["_id"]
        entry = self.entry(collection, id_, UNKNOWN)
        if entry.current is UNKNOWN:
            entry.current = self._take(collection, entry, raw)
        return entry

    def _take(self, collection: Collection[Any], entry: Entry, raw: Raw) -> Version:
        """Take `raw` for what the server has."""
        self.loaded_stamp = max(self.loaded_stamp, raw.pop("_stamp", 0))
        self.seen.see(self.loaded_stamp)
        try:
            entry.server = Version(collection.from_raw(raw))
            entry.raw = raw if collection.has_parts else None
        except UnreadableError as unreadable:
            entry.server = Version(None, unreadable=unreadable)
        return entry.server

    async def begin_snapshot(self) -> None:
        """Begin the transaction, also of who only reads."""
        if self.session is None:
            self.session = await self._mongo.begin()

    async def aggregate(self, collection: Collection[Any], pipeline: Sequence[Raw]) -> list[Raw]:
        """Rows of an aggregation, as the server has them in this transaction."""
        return await self._mongo.aggregate(self._database[collection.name], pipeline, await self.transaction())

    async def query(
        self,
        collection: Collection[Any],
        where: Mapping[str, Any],
        sort: Mapping[str, int] | None = None,
        *,
        limit: int,
    ) -> list[Raw]:
        """What matches, as the server has it in this transaction."""
        cursor = self._database[collection.name].find(where, session=await self.transaction(), batch_size=limit + 1)
        if sort:
            cursor = cursor.sort(list(sort.items()))
        return await cursor.limit(limit).to_list(None)

    async def transaction(self) -> Session | None:
        """The session of the transaction, begun now if need be; None if it only reads."""
        if self.session is None and not self._read_only:
            self.session = await self._mongo.begin()
        return self.session

    async def flush_for_query(self, collection: Collection[Any]) -> None:
        """Flush, but first load what would be overwritten unseen: a later rollback must be able to put it back."""
        unseen = {id_: entry for id_, entry in self.entries[collection].items() if entry.server is UNKNOWN}
        if unseen:
            where = {"_id": {"$in": list(unseen)}}
            raws = {raw["_id"]: raw for raw in await self.query(collection, where, limit=len(unseen))}
            for id_, entry in unseen.items():
                entry.server = self._take(collection, entry, raws[id_]) if id_ in raws else ABSENT
                self.journal = [(e, entry.server if e is entry and v is UNKNOWN else v) for e, v in self.journal]
        await self.flush([collection])

    async def flush(self, collections: Iterable[Collection[Any]]) -> None:
        """Write what has changed in them. Raises RuntimeError if this only reads."""
        stamp = self.stamp
        bulks: list[Bulk] = []
        flushed: list[Entry] = []
        for collection in collections:
            entries = self.entries[collection].items()
            dirty = [(id_, entry) for id_, entry in entries if entry.current is not entry.server]
            if dirty:
                if self._read_only:
                    raise RuntimeError(f"a query wrote to {collection.name}")
                bulks.append(self._bulk(collection, dirty, stamp))
                flushed += (entry for _, entry in dirty)
        session = await self.transaction() if bulks else None
        if session is None:
            return
        await self._mongo.write(session, bulks)
        for entry in flushed:
            entry.server = entry.current
            entry.flushed_at = stamp
            entry.assumed_stamp = None

    def _bulk(self, collection: Collection[Any], dirty: Iterable[tuple[str, Entry]], stamp: int) -> Bulk:
        writes = [write_of(collection, id_, entry, stamp) for id_, entry in dirty]
        expected = sum(isinstance(write, UpdateOne | ReplaceOne) for write in writes)

        def written(done: BulkWriteResult) -> None:
            if done.matched_count + done.upserted_count < expected:
                raise StaleDocumentError(collection.name)

        return Bulk(self._database[collection.name], writes, written)

    async def commit(self, now: datetime) -> AbstractSet[str] | None:
        """Write all that has changed and commit, or give back a transaction that has changed nothing.

        Returns:
            The collections in which something has become urgent by `now`; None if no transaction was begun.
        """
        written = False
        urgent: set[str] = set()
        stamp = self.stamp
        for collection, entries in self.entries.items():
            for entry in entries.values():
                if entry.flushed_at is not None and entry.flushed_at != stamp and entry.current is entry.server:
                    entry.current = entry.current.again()
                if entry.flushed_at is not None or entry.current is not entry.server:
                    written = True
                    there = entry.current is not ABSENT and entry.current.unreadable is None
                    if there and collection.is_urgent(entry.current.document, now):
                        urgent.add(collection.name)
        await self.flush(self.entries)
        if self.session is None:
            return None
        session, self.session = self.session, None
        if written:
            self.seen.see(stamp)
        try:
            await (commit(session) if written else session.abort_transaction())
        finally:
            await session.end_session()
        return urgent

    async def abort(self) -> None:
        """Give everything back. Safe to call at any moment, also after commit."""
        if self.session is None:
            return
        session, self.session = self.session, None
        try:
            if session.in_transaction:
                await session.abort_transaction()
        finally:
            await session.end_session()
