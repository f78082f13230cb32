"""The only module that imports a MongoDB driver: motor by default, PyMongo's async client by `MONGO_DRIVER=pymongo`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from bson.codec_options import CodecOptions
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import (
    AsyncMongoClient,
    CursorType,
    DeleteMany,
    DeleteOne,
    IndexModel,
    InsertOne,
    ReadPreference,
    ReplaceOne,
    UpdateOne,
)
from pymongo.asynchronous.client_session import AsyncClientSession as Session
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.results import BulkWriteResult
from pymongo.uri_parser import SCHEME, SRV_SCHEME, parse_uri
from pymongo.write_concern import WriteConcern

Raw = dict[str, Any]
Database = AsyncDatabase[Raw]
RawCollection = AsyncCollection[Raw]
Driver = Literal["motor", "pymongo"]

__all__ = [
    "BSONError", "Bulk", "BulkWriteError", "BulkWriteResult", "ConnectionFailure", "CursorType", "Database",
    "DeleteMany", "DeleteOne", "Driver", "DuplicateKeyError", "IndexModel", "InsertOne", "Mongo", "OperationFailure",
    "PyMongoError", "Raw", "RawCollection", "ReadConcern", "ReplaceOne", "Session", "UpdateOne", "WriteConcern",
]  # fmt: skip

_OPTIONS: Mapping[str, Any] = {
    "w": "majority",
    "journal": True,
    "readConcernLevel": "majority",
    "serverSelectionTimeoutMS": 5_000,
}
_DEADLINES: Mapping[str, Any] = {
    "connectTimeoutMS": 3_000,
    "heartbeatFrequencyMS": 3_000,  # a server that is silent is given up after these two, with all that waits for it
    "socketTimeoutMS": 10_000,  # and one that says it is well, and does not answer, after this
}
"""For a process that lives: nothing waits for MongoDB without an end."""


def is_url(text: str) -> bool:
    """Whether the drivers can read `text`; what they would say of it may repeat a part of the password."""
    if text.startswith(SRV_SCHEME):
        text = SCHEME + text.removeprefix(SRV_SCHEME)  # which they would look up
    try:
        parse_uri(text, warn=False)
    except (PyMongoError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Bulk:
    """Writes to one collection, in any order."""

    collection: RawCollection
    writes: Sequence[InsertOne[Raw] | ReplaceOne[Raw] | UpdateOne | DeleteOne]
    written: Callable[[BulkWriteResult], None]
    """Told how much they did, before the next bulk is written; it may refuse that."""


def _write_all(session: Any, bulks: Sequence[Bulk]) -> None:
    for bulk in bulks:
        collection: Any = bulk.collection
        bulk.written(collection.delegate.bulk_write(bulk.writes, ordered=False, session=session))


class Mongo:
    """A connection to one replica set, whichever driver is set. Belongs to the event loop that made it."""

    def __init__(
        self, url: str, driver: Driver = "motor", *, listeners: Sequence[Any] = (), patient: bool = False
    ) -> None:
        """Connect lazily: the first operation opens the first socket. `listeners` hear every command (PyMongo's).

        Whoever is `patient` waits for as long as the server takes, as for an index of a large collection.
        """
        self._motor = driver == "motor"
        make: Any = AsyncIOMotorClient if self._motor else AsyncMongoClient
        options = _OPTIONS if patient else {**_OPTIONS, **_DEADLINES}
        client: Any = make(url, tz_aware=True, event_listeners=list(listeners), **options)
        self.client = cast("AsyncMongoClient[Raw]", client)  # motor's client has the same methods

    def database(self, name: str) -> Database:
        """The database `name`, with times as aware UTC datetimes."""
        return self.client.get_database(name, codec_options=CodecOptions(tz_aware=True))

    async def begin(self) -> Session:
        """A session with a transaction of snapshot reads and majority writes."""
        started: Any = self.client.start_session()
        session: Session = (await started) if self._motor else started
        opened: Any = session.start_transaction(
            ReadConcern("snapshot"), WriteConcern("majority", j=True), ReadPreference.PRIMARY
        )
        if not self._motor:  # motor's call is no coroutine; PyMongo's, when not awaited, silently starts nothing
            await opened
        return session

    async def write(self, session: Session, bulks: Sequence[Bulk]) -> None:
        """Write to one collection after the other, in the transaction of `session`.

        Motor makes each of its calls in a thread of its own; here they make the way there and back once.

        Raises:
            PyMongoError: what MongoDB says to one of them, or what was `written` of it says; none after it is made.
        """
        if self._motor:
            await asyncio.to_thread(_write_all, cast("Any", session).delegate, bulks)
            return
        for bulk in bulks:
            bulk.written(await bulk.collection.bulk_write(bulk.writes, ordered=False, session=session))

    async def aggregate(
        self, collection: RawCollection, pipeline: Sequence[Raw], session: Session | None = None
    ) -> list[Raw]:
        """All rows of an aggregation."""
        cursor: Any = collection.aggregate(pipeline, session=session)
        return cast("list[Raw]", await (cursor if self._motor else await cursor).to_list(None))

    async def close(self) -> None:
        """Close every socket."""
        close: Any = self.client.close
        await (asyncio.to_thread(close) if self._motor else close())  # motor's blocks, for long if the server hangs
