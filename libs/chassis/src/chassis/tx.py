"""Tx: one MongoDB transaction, one reading of the clock, one identity map, one outbox. The only object passed around.

Loads go through the identity map (absence is remembered too), writes wait in it and go out as one bulk write per
collection. Nobody calls commit but the edge. A savepoint drops what one handler did and keeps the rest.

Every Tx has a stamp, later than the clock's reading and than every stamp it loaded. Documents and outbox rows carry it,
so outbox rows in stamp order are in causal order, even between machines whose clocks differ.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeVar, cast

from pydantic_settings import BaseSettings

from chassis import ids
from chassis.cause import Cause
from chassis.clock import instant
from chassis.collection import Collection, D, Ref
from chassis.decision import At, Call, Cancel, Decision
from chassis.mongo import Database, DeleteOne, InsertOne, Mongo, Raw, ReplaceOne, Session
from chassis.outbox import OUTBOX, OutboxRow, row_of
from chassis.pending import EFFECTS, TIMERS, stored_effect, stored_timer
from chassis.storage import OutdatedError, commit
from contracts import Event

C = TypeVar("C", bound=BaseSettings)

FIND_LIMIT = 10_000  # more than any slice or page; a query that could return more must page


class TooManyFound(Exception):
    """A query that nobody has bounded finds too much; what were left out might be what matters."""

    def __init__(self, collection: str) -> None:
        """Name the collection."""
        super().__init__(f"more than {FIND_LIMIT} documents of {collection}")


class _Version:
    """One version of a document. Compared by identity: writing an unchanged document is a write too."""

    __slots__ = ("document",)

    def __init__(self, document: Any) -> None:
        self.document = document


_ABSENT = _Version(None)
_UNKNOWN = _Version(None)


class _Entry:
    """A document as it shall be and as the server has it inside this transaction."""

    __slots__ = ("assumed_stamp", "current", "flushed_at", "server")

    def __init__(self, server: _Version, assumed_stamp: int | None = None) -> None:
        self.current = server
        self.server = server
        self.flushed_at: int | None = None
        self.assumed_stamp = assumed_stamp


class Savepoint:
    """A moment to which a Tx can go back."""

    __slots__ = ("cause", "length", "n")

    def __init__(self, length: int, n: int, cause: Cause) -> None:
        self.length = length
        self.n = n
        self.cause = cause


class Tx:
    """One attempt at one unit of work. See the module's docstring."""

    def __init__(  # noqa: PLR0913 - made in one place, `Runtime.begin`
        self,
        mongo: Mongo,
        database: Database,
        *,
        service: str,
        micros: int,
        cause: Cause,
        settings: Mapping[type[BaseSettings], BaseSettings],
        read_only: bool = False,
        committed: Callable[[Iterable[str]], None] | None = None,
    ) -> None:
        """Open lazily: the first load or write starts the transaction; a read-only Tx never does."""
        self.now = instant(micros)
        self.cause = cause
        self._mongo = mongo
        self._database = database
        self._service = service
        self._micros = micros
        self._settings = settings
        self._read_only = read_only
        self._committed = committed
        self._session: Session | None = None
        self._loaded_stamp = 0
        self._entries: dict[Collection[Any], dict[str, _Entry]] = defaultdict(dict)
        self._journal: list[tuple[_Entry, _Version]] = []
        self._n = 0

    # -- reading ---------------------------------------------------------------------------------------------------

    async def get(self, collection: Collection[D], id_: str) -> D | None:
        """The document `id_`, or None."""
        entry = self._entries[collection].get(id_)
        if entry is None or entry.current is _UNKNOWN:
            await self._load_all(collection, {id_})
            entry = self._entries[collection][id_]
        return cast("D | None", entry.current.document)

    async def get_many(self, collection: Collection[D], ids_: Iterable[str]) -> dict[str, D]:
        """Those of the documents `ids_` that exist, by id, with one query for what is not loaded yet."""
        wanted = list(dict.fromkeys(ids_))
        entries = self._entries[collection]
        missing = {id_ for id_ in wanted if id_ not in entries or entries[id_].current is _UNKNOWN}
        if missing:
            await self._load_all(collection, missing)
        return {id_: entries[id_].current.document for id_ in wanted if entries[id_].current.document is not None}

    async def prefetch(self, refs: Iterable[Ref]) -> None:
        """Load all `refs` with one query per collection; what does not exist is remembered as absent."""
        missing: dict[Collection[Any], set[str]] = defaultdict(set)
        for ref in refs:
            entry = self._entries[ref.collection].get(ref.id)
            if entry is None or entry.current is _UNKNOWN:
                missing[ref.collection].add(ref.id)
        for collection, ids_ in missing.items():
            await self._load_all(collection, ids_)

    def assume(self, collection: Collection[D], document: D, stamp: int) -> None:
        """Take `document` for loaded, as the transaction with this `stamp` left it, and spare the look.

        Writing it raises OutdatedError if anybody has written it since; only reading it proves nothing.
        """
        self._loaded_stamp = max(self._loaded_stamp, stamp)
        self._entries[collection][document.id] = _Entry(_Version(document), stamp)

    def assume_absent(self, ref: Ref) -> None:
        """Take a document for one that does not exist; writing it raises a duplicate's error if it does."""
        self._entries[ref.collection].setdefault(ref.id, _Entry(_ABSENT))

    async def find(
        self,
        collection: Collection[D],
        where: Mapping[str, Any],
        *,
        sort: Mapping[str, int] | None = None,
        limit: int | None = None,
    ) -> list[D]:
        """The documents that match, this transaction's own changes included; at most `limit`. Needs an index.

        Raises:
            TooManyFound: there are over 10 000, and no `limit` says that fewer will do.
        """
        await self._flush_for_query(collection)
        found = []
        raws = await self._query(collection, where, sort, limit=limit or FIND_LIMIT + 1)
        if limit is None and len(raws) > FIND_LIMIT:
            raise TooManyFound(collection.name)
        for raw in raws:
            document = self._remember(collection, raw)
            if document is not None:
                found.append(document)
        return found

    async def find_one(
        self, collection: Collection[D], where: Mapping[str, Any], *, sort: Mapping[str, int] | None = None
    ) -> D | None:
        """The first document that matches, or None."""
        found = await self.find(collection, where, sort=sort, limit=1)
        return found[0] if found else None

    async def aggregate(self, collection: Collection[Any], pipeline: Sequence[Raw]) -> list[Raw]:
        """Rows of an aggregation, this transaction's own changes included."""
        await self._flush_for_query(collection)
        return await self._mongo.aggregate(self._database[collection.name], pipeline, await self._transaction())

    async def stand_still(self) -> None:
        """Let everything that is read from here on be of one moment, in a read-only Tx too."""
        if self._session is None:
            self._session = await self._mongo.begin()

    def settings(self, cls: type[C]) -> C:
        """The service's settings."""
        return cast("C", self._settings[cls])

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, collection: Collection[D], document: D) -> None:
        """Save `document`, whether it was there or not. Saved unchanged, it conflicts with other writers too."""
        entries = self._entries[collection]
        entry = entries.get(document.id)
        if entry is None:
            entry = entries[document.id] = _Entry(_UNKNOWN)
        self._change(entry, _Version(document))

    def insert(self, collection: Collection[D], document: D) -> None:
        """Save a new `document` without looking first; the commit fails if there already is one."""
        entries = self._entries[collection]
        entry = entries.get(document.id)
        if entry is None:
            entry = entries[document.id] = _Entry(_ABSENT)
        self._change(entry, _Version(document))

    def delete(self, collection: Collection[Any], id_: str) -> None:
        """Remove the document `id_`, if there is one."""
        entries = self._entries[collection]
        entry = entries.get(id_)
        if entry is None:
            entry = entries[id_] = _Entry(_UNKNOWN)
        self._change(entry, _ABSENT)

    def apply(self, collection: Collection[D], decision: Decision[D]) -> None:
        """Save a decision: its state and everything that follows from it."""
        if decision.state is not None:
            self.put(collection, decision.state)
        self.follow(decision)

    def follow(self, decision: Decision[Any]) -> None:
        """Publish, set, cancel and call what follows from a decision, without saving its state."""
        for event in decision.events:
            self.emit(event)
        for timer in decision.timers:
            self.set_timer(timer) if isinstance(timer, At) else self.cancel_timer(timer)
        for call in decision.effects:
            self.call_vendor(call)

    def emit(self, event: Event) -> None:
        """Publish `event` if and when this transaction commits."""
        row = row_of(event, id_=ids.new_id(), n=self._next(), source=self._service, now=self.now, cause=self.cause)
        self.insert(OUTBOX, row)

    def forward(self, topic: str, key: str, value: bytes, headers: Mapping[str, bytes]) -> None:
        """Publish bytes as they are, if and when this transaction commits: a message of somebody else's."""
        self.insert(OUTBOX, OutboxRow(ids.new_id(), self._next(), topic, key, value, dict(headers)))

    def set_timer(self, at: At) -> None:
        """Set a timer, or set it anew."""
        self.put(TIMERS, stored_timer(at, self.cause))

    def cancel_timer(self, cancel: Cancel) -> None:
        """Cancel a timer; one that is not set is no error."""
        self.delete(TIMERS, cancel.id)

    def call_vendor(self, call: Call, *, new: bool = False) -> None:
        """Make a vendor call after this transaction commits, in place of one with its id unless that is known `new`."""
        save = self.insert if new else self.put
        save(EFFECTS, stored_effect(call, self._next(), self.now, self.cause))

    # -- the edge's side -------------------------------------------------------------------------------------------

    def savepoint(self) -> Savepoint:
        """Remember this moment."""
        return Savepoint(len(self._journal), self._n, self.cause)

    def rollback(self, savepoint: Savepoint) -> None:
        """Drop every change since `savepoint`; what was loaded since stays loaded."""
        for entry, version in reversed(self._journal[savepoint.length :]):
            entry.current = version
        del self._journal[savepoint.length :]
        self._n = savepoint.n
        self.cause = savepoint.cause

    def published_keys(self, since: Savepoint) -> set[str]:
        """The partition keys of the events that this transaction publishes since then."""
        changed = (entry.current.document for entry, _ in self._journal[since.length :])
        return {row.key for row in changed if isinstance(row, OutboxRow)}

    @property
    def stamp(self) -> int:
        """What everything that this transaction has written carries."""
        return max(self._micros, 1 + self._loaded_stamp)

    async def flush(self, *collections: Collection[Any]) -> None:
        """Write now what would be written at the commit, to learn of its failure before all else is written."""
        for collection in collections:
            await self._flush(collection)

    async def commit(self) -> None:
        """Write everything that changed and commit. Without a change the transaction is given back."""
        written = False
        rung: set[str] = set()
        stamp = self.stamp
        for collection, entries in self._entries.items():
            for entry in entries.values():
                if entry.flushed_at is not None and entry.flushed_at != stamp and entry.current is entry.server:
                    entry.current = _Version(entry.current.document) if entry.current is not _ABSENT else _ABSENT
                if entry.flushed_at is not None or entry.current is not entry.server:
                    written = True
                    if entry.current is not _ABSENT and collection.is_urgent(entry.current.document, self.now):
                        rung.add(collection.name)
            await self._flush(collection)
        if self._session is None:
            return
        session, self._session = self._session, None
        try:
            await (commit(session) if written else session.abort_transaction())
        finally:
            await session.end_session()
        if self._committed is not None:
            self._committed(rung)

    async def abort(self) -> None:
        """Give everything back. Safe to call at any moment, also after commit."""
        if self._session is None:
            return
        session, self._session = self._session, None
        try:
            if session.in_transaction:
                await session.abort_transaction()
        finally:
            await session.end_session()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._n += 1
        return self._n

    def _change(self, entry: _Entry, version: _Version) -> None:
        self._journal.append((entry, entry.current))
        entry.current = version

    async def _load_all(self, collection: Collection[Any], ids_: AbstractSet[str]) -> None:
        """Load documents that are not known yet, with one query."""
        where: Raw = {"_id": next(iter(ids_))} if len(ids_) == 1 else {"_id": {"$in": list(ids_)}}
        found = {raw["_id"]: raw for raw in await self._query(collection, where, limit=len(ids_))}
        for id_ in ids_:
            if id_ in found:
                self._remember(collection, found[id_])
            else:
                self._entries[collection][id_] = _Entry(_ABSENT)

    def _remember(self, collection: Collection[D], raw: Raw) -> D | None:
        id_ = raw["_id"]
        entry = self._entries[collection].get(id_)
        if entry is None:
            entry = self._entries[collection][id_] = _Entry(self._load(collection, raw))
        elif entry.current is _UNKNOWN:
            entry.current = entry.server = self._load(collection, raw)
        return cast("D | None", entry.current.document)

    def _load(self, collection: Collection[Any], raw: Raw) -> _Version:
        self._loaded_stamp = max(self._loaded_stamp, raw.pop("_stamp", 0))
        return _Version(collection.from_raw(raw))

    async def _query(
        self,
        collection: Collection[Any],
        where: Mapping[str, Any],
        sort: Mapping[str, int] | None = None,
        *,
        limit: int,
    ) -> list[Raw]:
        cursor = self._database[collection.name].find(where, session=await self._transaction(), batch_size=limit + 1)
        if sort:
            cursor = cursor.sort(list(sort.items()))
        return await cursor.limit(limit).to_list(None)

    async def _transaction(self) -> Session | None:
        if self._session is None and not self._read_only:
            self._session = await self._mongo.begin()
        return self._session

    async def _flush_for_query(self, collection: Collection[Any]) -> None:
        """Flush, but first load what would be overwritten unseen: a later rollback must be able to put it back."""
        unseen = {id_: entry for id_, entry in self._entries[collection].items() if entry.server is _UNKNOWN}
        if unseen:
            where = {"_id": {"$in": list(unseen)}}
            raws = {raw["_id"]: raw for raw in await self._query(collection, where, limit=len(unseen))}
            for id_, entry in unseen.items():
                entry.server = self._load(collection, raws[id_]) if id_ in raws else _ABSENT
                self._journal = [(e, entry.server if e is entry and v is _UNKNOWN else v) for e, v in self._journal]
        await self._flush(collection)

    async def _flush(self, collection: Collection[Any]) -> None:
        stamp = self.stamp
        dirty = [(id_, entry) for id_, entry in self._entries[collection].items() if entry.current is not entry.server]
        if not dirty:
            return
        if self._read_only:
            raise RuntimeError(f"a query wrote to {collection.name}")
        writes = [_write(collection, id_, entry, stamp) for id_, entry in dirty]
        database = self._database[collection.name]
        done = await database.bulk_write(writes, ordered=False, session=await self._transaction())
        if done.matched_count + done.upserted_count < sum(isinstance(write, ReplaceOne) for write in writes):
            raise OutdatedError(collection.name)
        for _, entry in dirty:
            entry.server = entry.current
            entry.flushed_at = stamp
            entry.assumed_stamp = None


def _write(
    collection: Collection[Any], id_: str, entry: _Entry, stamp: int
) -> InsertOne[Raw] | ReplaceOne[Raw] | DeleteOne:
    """The one write that makes the server's version the current one."""
    if entry.current is _ABSENT:
        return DeleteOne({"_id": id_})
    raw = collection.to_raw(entry.current.document, stamp)
    if entry.server is _ABSENT:
        return InsertOne(raw)
    if entry.assumed_stamp is not None:
        return ReplaceOne({"_id": id_, "_stamp": entry.assumed_stamp}, raw)
    return ReplaceOne({"_id": id_}, raw, upsert=entry.server is _UNKNOWN)
