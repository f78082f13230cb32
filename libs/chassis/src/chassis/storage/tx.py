"""Tx: one MongoDB transaction, one reading of the clock, one identity map, one outbox. The only object passed around.

Loads go through the identity map (absence is remembered too), writes wait in it and go out as one bulk write per
collection. Nobody calls commit but the edge. A savepoint drops what one handler did and keeps the rest.

What is saved over a document changes the fields of its class: those that a newer release has added stay. A document
that cannot be read says so to whoever asks for it, and only then: others in the transaction are not concerned.

Every Tx has a stamp, later than the clock's reading and than every stamp it loaded. Documents and outbox rows carry it,
so outbox rows in stamp order are in causal order, even between machines whose clocks differ.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar, cast

from pydantic_settings import BaseSettings

from chassis import ids
from chassis.cause import Cause
from chassis.clock import instant
from chassis.decision import At, Call, Cancel, Decision, derived_id
from chassis.effects.model import EFFECTS, stored_effect
from chassis.outbox.model import OUTBOX, OutboxRow, row_of
from chassis.outbox.model import row as outbox_row
from chassis.storage.collection import Collection, D, Ref, UnreadableError
from chassis.storage.documents import Documents, Stamps
from chassis.storage.identity_map import ABSENT, UNKNOWN, Entry, Version
from chassis.storage.mongo import Database, Mongo, PyMongoError, Raw
from chassis.timers.model import TIMERS, stored_timer
from contracts import Event

C = TypeVar("C", bound=BaseSettings)
P = TypeVar("P")

FIND_LIMIT = 10_000  # more than any slice or page; a query that could return more must page


class TooManyFound(Exception):
    """A query that nobody has bounded finds too much; what were left out might be what matters."""

    def __init__(self, collection: str) -> None:
        """Name the collection."""
        super().__init__(f"more than {FIND_LIMIT} documents of {collection}")


class Savepoint:
    """A moment to which a Tx can go back."""

    __slots__ = ("absent", "afterwards", "cause", "length", "n", "said")

    def __init__(
        self, length: int, absent: int, afterwards: int, n: int, cause: Cause, said: dict[tuple[str, str, str], int]
    ) -> None:
        self.length = length
        self.absent = absent
        self.afterwards = afterwards
        self.n = n
        self.cause = cause
        self.said = said


class Tx:
    """One attempt at one unit of work. See the module's docstring."""

    def __init__(  # noqa: PLR0913 - made in one place, `Runtime.begin`
        self,
        mongo: Mongo,
        database: Database,
        *,
        service: str,
        micros: int,
        machine_micros: int,
        cause: Cause,
        settings: Mapping[type[BaseSettings], BaseSettings],
        read_only: bool = False,
        committed: Callable[[Iterable[str]], None] | None = None,
        seen: Stamps | None = None,
        of_process: dict[type[Any], Any] | None = None,
    ) -> None:
        """Open lazily: the first load or write starts the transaction; a read-only Tx never does."""
        self.now = instant(micros)
        self.machine_now = instant(machine_micros)
        """As `now`, but on a local stack whose clock was moved: for what a vendor has stamped by its own clock."""
        self.cause = cause
        self._documents = Documents(mongo, database, micros, seen or Stamps(), read_only=read_only)
        self._service = service
        self._settings = settings
        self._committed = committed
        self._of_process = {} if of_process is None else of_process
        self._absent: list[Ref] = []
        self._afterwards: list[Callable[[], None]] = []
        self._n = 0
        self._said: dict[str | None, dict[tuple[str, str, str], int]] = {}
        """How many events of a type, key and subject were published, by the origin of their cause."""

    # -- reading ---------------------------------------------------------------------------------------------------

    async def get(self, collection: Collection[D], id_: str) -> D | None:
        """The document `id_`, or None.

        Raises:
            UnreadableError: it does not fit its class. So do `get_many`, `find` and `find_one`.
        """
        entry = self._documents.entries[collection].get(id_)
        if entry is None or entry.current is UNKNOWN:
            await self._documents.load(collection, {id_})
            entry = self._documents.entries[collection][id_]
        if entry.current is ABSENT and entry.server is ABSENT:
            self._absent.append(collection.ref(id_))
        return cast("D | None", entry.current.document)

    async def get_many(self, collection: Collection[D], ids_: Iterable[str]) -> dict[str, D]:
        """Those of the documents `ids_` that exist, by id, with one query for what is not loaded yet."""
        wanted = list(dict.fromkeys(ids_))
        entries = self._documents.entries[collection]
        missing = {id_ for id_ in wanted if id_ not in entries or entries[id_].current is UNKNOWN}
        if missing:
            await self._documents.load(collection, missing)
        return {id_: entries[id_].current.document for id_ in wanted if entries[id_].current.document is not None}

    async def split(
        self, collection: Collection[D], ids_: Iterable[str]
    ) -> tuple[dict[str, D], dict[str, UnreadableError]]:
        """As `get_many`, for many works at once: also which of them cannot be read, and why."""
        wanted = list(dict.fromkeys(ids_))
        await self.prefetch(collection.ref(id_) for id_ in wanted)
        versions = {id_: self._documents.entries[collection][id_].current for id_ in wanted}
        unreadable = {id_: version.unreadable for id_, version in versions.items() if version.unreadable is not None}
        readable = {id_: version.document for id_, version in versions.items() if id_ not in unreadable}
        return {id_: document for id_, document in readable.items() if document is not None}, unreadable

    async def prefetch(self, refs: Iterable[Ref]) -> None:
        """Load all `refs` with one query per collection; what does not exist is remembered as absent."""
        missing: dict[Collection[Any], set[str]] = defaultdict(set)
        for ref in refs:
            entry = self._documents.entries[ref.collection].get(ref.id)
            if entry is None or entry.current is UNKNOWN:
                missing[ref.collection].add(ref.id)
        for collection, ids_ in missing.items():
            await self._documents.load(collection, ids_)

    def assume_unchanged(self, collection: Collection[D], document: D, stamp: int) -> None:
        """Take `document` for loaded, as the transaction with this `stamp` left it, and spare the look.

        Writing it raises StaleDocumentError if anybody has written it since; only reading it proves nothing.
        """
        self._documents.loaded_stamp = max(self._documents.loaded_stamp, stamp)
        self._documents.entries[collection][document.id] = Entry(Version(document), stamp)

    def assume_absent(self, ref: Ref) -> None:
        """Take a document for one that does not exist; writing it raises a duplicate's error if it does."""
        self._documents.entries[ref.collection].setdefault(ref.id, Entry(ABSENT))

    async def find(
        self,
        collection: Collection[D],
        where: Mapping[str, Any],
        *,
        sort: Mapping[str, int] | None = None,
        limit: int | None = None,
        unreadable: dict[str, UnreadableError] | None = None,
    ) -> list[D]:
        """The documents that match, this transaction's own changes included; at most `limit`. Needs an index.

        Those that do not fit their class go into `unreadable`, if that is given, by id.

        Raises:
            TooManyFound: there are over 10 000, and no `limit` says that fewer will do.
        """
        await self._documents.flush_for_query(collection)
        found = []
        raws = await self._documents.query(collection, where, sort, limit=limit or FIND_LIMIT + 1)
        if limit is None and len(raws) > FIND_LIMIT:
            raise TooManyFound(collection.name)
        for raw in raws:
            version = self._documents.remember(collection, raw).current
            if unreadable is not None and version.unreadable is not None:
                unreadable[raw["_id"]] = version.unreadable
            elif version.document is not None:
                found.append(cast("D", version.document))
        return found

    async def find_one(
        self, collection: Collection[D], where: Mapping[str, Any], *, sort: Mapping[str, int] | None = None
    ) -> D | None:
        """The first document that matches, or None."""
        found = await self.find(collection, where, sort=sort, limit=1)
        return found[0] if found else None

    async def aggregate(self, collection: Collection[Any], pipeline: Sequence[Raw]) -> list[Raw]:
        """Rows of an aggregation, this transaction's own changes included."""
        await self._documents.flush_for_query(collection)
        return await self._documents.aggregate(collection, pipeline)

    async def begin_snapshot(self) -> None:
        """Let everything that is read from here on be of one moment, in a read-only Tx too."""
        await self._documents.begin_snapshot()

    def settings(self, cls: type[C]) -> C:
        """The service's settings."""
        return cast("C", self._settings[cls])

    def of_process(self, cls: type[P]) -> P:
        """The one `cls` of this process, made when it is first asked for: a cache, which may be lost at any moment."""
        kept = self._of_process.get(cls)
        if kept is None:
            kept = self._of_process[cls] = cls()
        return cast("P", kept)

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(self, collection: Collection[D], document: D) -> None:
        """Save `document`, whether it was there or not. Saved unchanged, it conflicts with other writers too."""
        entry = self._documents.entry(collection, document.id, UNKNOWN)
        self._documents.change(entry, entry.current.saved(document))

    def insert(self, collection: Collection[D], document: D) -> None:
        """Save a new `document` without looking first; the commit fails if there already is one."""
        entry = self._documents.entry(collection, document.id, ABSENT)
        self._documents.change(entry, entry.current.saved(document))

    def delete(self, collection: Collection[Any], id_: str) -> None:
        """Remove the document `id_`, if there is one."""
        entry = self._documents.entry(collection, id_, UNKNOWN)
        self._documents.change(entry, ABSENT)

    def apply(self, collection: Collection[D], decision: Decision[D]) -> None:
        """Save a decision: its state and everything that follows from it."""
        if decision.state is not None:
            self.put(collection, decision.state)
        self.apply_consequences(decision)

    def apply_consequences(self, decision: Decision[Any]) -> None:
        """Publish, set, cancel and call what follows from a decision, without saving its state."""
        for event in decision.events:
            self.emit(event)
        for timer in decision.timers:
            self.set_timer(timer) if isinstance(timer, At) else self.cancel_timer(timer)
        for call in decision.effects:
            self.schedule_effect(call)

    def emit(self, event: Event) -> None:
        """Publish `event` if and when this transaction commits."""
        id_, n = self._id_of(event), self._next()
        row = row_of(event, id_=id_, n=n, source=self._service, now=self.now, cause=self.cause)
        self.insert(OUTBOX, row)

    def publish_raw(self, topic: str, key: str, value: bytes, headers: Mapping[str, bytes]) -> None:
        """Publish bytes as they are, if and when this transaction commits: a message of somebody else's."""
        self.insert(OUTBOX, outbox_row(ids.new_id(), self._next(), topic, key, value, headers))

    def set_timer(self, at: At) -> None:
        """Set a timer, or set it anew."""
        self.put(TIMERS, stored_timer(at, self._lasting_cause()))

    def cancel_timer(self, cancel: Cancel) -> None:
        """Cancel a timer; one that is not set is no error."""
        self.delete(TIMERS, cancel.id)

    def schedule_effect(self, call: Call, *, new: bool = False) -> None:
        """Make a vendor call after this transaction commits, in place of one with its id unless that is known `new`."""
        save = self.insert if new else self.put
        save(EFFECTS, stored_effect(call, self._next(), self.now, self._lasting_cause()))

    def after_commit(self, do: Callable[[], None]) -> None:
        """Do this once what was written here is committed: for metrics, which no other attempt is to count again.

        It may be left out: when nobody knows whether the commit has come to pass, or the process dies.
        """
        self._afterwards.append(do)

    # -- the edge's side -------------------------------------------------------------------------------------------

    def savepoint(self) -> Savepoint:
        """Remember this moment."""
        said = dict(self._said.get(self.cause.origin, {}))
        lengths = len(self._documents.journal), len(self._absent), len(self._afterwards)
        return Savepoint(*lengths, self._n, self.cause, said)

    def rollback(self, savepoint: Savepoint) -> None:
        """Drop every change since `savepoint`; what was loaded since stays loaded."""
        for entry, version in reversed(self._documents.journal[savepoint.length :]):
            entry.current = version
        del self._documents.journal[savepoint.length :]
        del self._afterwards[savepoint.afterwards :]
        self._n = savepoint.n
        self._said.pop(self.cause.origin, None)
        self._said[savepoint.cause.origin] = dict(savepoint.said)
        self.cause = savepoint.cause

    def published_keys(self, since: Savepoint) -> set[str]:
        """The partition keys of the events that this transaction publishes since then."""
        changed = (entry.current.document for entry, _ in self._documents.journal[since.length :])
        return {row.key for row in changed if isinstance(row, OutboxRow)}

    def absent(self, since: Savepoint) -> Sequence[Ref]:
        """The documents that were asked for one by one since then, and were not there."""
        return self._absent[since.absent :]

    @contextmanager
    def loading_later(self) -> Iterator[None]:
        """Meanwhile nothing is loaded by its id: whoever asks for what is not known yet gets NotLoadedError."""
        self._documents.loads_later = True
        try:
            yield
        finally:
            self._documents.loads_later = False

    @property
    def stamp(self) -> int:
        """What everything that this transaction has written carries."""
        return self._documents.stamp

    async def flush(self, *collections: Collection[Any]) -> None:
        """Write now what would be written at the commit, to learn of its failure before all else is written."""
        await self._documents.flush(collections)

    async def commit(self) -> None:
        """Write everything that changed and commit. Without a change the transaction is given back."""
        notified = await self._documents.commit(self.now)
        if notified is not None and self._committed is not None:
            self._committed(notified)
        afterwards, self._afterwards = self._afterwards, []
        for do in afterwards:
            do()

    async def abort(self) -> None:
        """Give everything back. Safe to call at any moment, also after commit."""
        await self._documents.abort()

    async def abort_quietly(self) -> None:
        """Give everything back, if the server can still be reached; if not, it does so by itself after 5 s."""
        with suppress(PyMongoError):
            await self.abort()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _id_of(self, event: Event) -> str:
        """A fresh id, or the one that follows from the cause."""
        if self.cause.origin is None:
            return ids.new_id()
        said = self._said.setdefault(self.cause.origin, {})
        what = (event.TYPE, event.key, event.subject)
        said[what] = times = said.get(what, 0) + 1
        return derived_id(self.cause.origin, *what, str(times))

    def _lasting_cause(self) -> Cause:
        """The cause, for what will cause something itself: that has an origin, whatever this one has."""
        return self.cause if self.cause.origin else replace(self.cause, origin=ids.new_id())

    def _next(self) -> int:
        self._n += 1
        return self._n
