"""The only module that imports a MongoDB driver: motor by default, PyMongo's async client by `MONGO_DRIVER=pymongo`."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from bson.codec_options import CodecOptions
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, DeleteOne, IndexModel, InsertOne, ReadPreference, ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession as Session
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from chassis.backoff import back_off

Raw = dict[str, Any]
Database = AsyncDatabase[Raw]
RawCollection = AsyncCollection[Raw]
Driver = Literal["motor", "pymongo"]

__all__ = [
    "STORAGE_ERRORS", "Database", "DeleteOne", "Driver", "DuplicateKeyError", "IndexModel", "InsertOne", "Mongo",
    "OperationFailure", "PyMongoError", "Raw", "RawCollection", "ReadConcern", "ReplaceOne", "Session", "UpdateOne",
    "commit", "is_commit_unknown", "is_duplicate", "is_transient",
]  # fmt: skip

COMMIT_SECONDS = 5.0  # how long to go on asking whether a commit went through
_DUPLICATE_KEY = 11_000

STORAGE_ERRORS = (PyMongoError, BSONError, OverflowError)
"""What saving can raise. Only the first comes from the server; the driver refuses documents that BSON cannot hold."""

_OPTIONS: Mapping[str, Any] = {
    "w": "majority",
    "journal": True,
    "readConcernLevel": "majority",
    "serverSelectionTimeoutMS": 5_000,
}


class Mongo:
    """A connection to one replica set, whichever driver is set. Belongs to the event loop that made it."""

    def __init__(self, url: str, driver: Driver = "motor", *, listeners: Sequence[Any] = ()) -> None:
        """Connect lazily: the first operation opens the first socket. `listeners` hear every command (PyMongo's)."""
        self._motor = driver == "motor"
        make: Any = AsyncIOMotorClient if self._motor else AsyncMongoClient
        client: Any = make(url, tz_aware=True, event_listeners=list(listeners), **_OPTIONS)
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

    async def aggregate(
        self, collection: RawCollection, pipeline: Sequence[Raw], session: Session | None = None
    ) -> list[Raw]:
        """All rows of an aggregation."""
        cursor: Any = collection.aggregate(pipeline, session=session)
        return cast("list[Raw]", await (cursor if self._motor else await cursor).to_list(None))

    async def watch(self, database: Database, names: Sequence[str]) -> Any:
        """A change stream that tells of each transaction which wrote numbered rows to the collections `names`.

        Used as `async with await mongo.watch(...) as changes`. Only the row with `n` 1 is told of: as a doorbell, one
        change per transaction is enough.
        """
        first = {"operationType": {"$in": ["insert", "replace"]}, "ns.coll": {"$in": list(names)}, "fullDocument.n": 1}
        stream: Any = database.watch([{"$match": first}, {"$project": {"_id": 1}}])
        return stream if self._motor else await stream

    async def close(self) -> None:
        """Close every socket."""
        close: Any = self.client.close
        await (asyncio.to_thread(close) if self._motor else close())  # motor's blocks, for long if the server hangs


def is_transient(error: BaseException) -> bool:
    """Whether trying the whole transaction again can help: a conflict, an election, a lost connection."""
    if not isinstance(error, PyMongoError):
        return False
    labels = ("TransientTransactionError", "UnknownTransactionCommitResult")
    return any(map(error.has_error_label, labels)) or isinstance(error, ConnectionFailure)


def is_duplicate(error: BaseException) -> bool:
    """Whether a document with that id, or that unique value, was there first."""
    if isinstance(error, BulkWriteError):
        return any(wrong["code"] == _DUPLICATE_KEY for wrong in (error.details or {}).get("writeErrors", ()))
    return isinstance(error, DuplicateKeyError)


def is_commit_unknown(error: BaseException) -> bool:
    """Whether a commit failed in a way that does not tell whether it went through."""
    return isinstance(error, PyMongoError) and error.has_error_label("UnknownTransactionCommitResult")


async def commit(session: Session) -> None:
    """Commit; asks again for up to 5 s while the server does not say whether it did, which is safe.

    Raises:
        PyMongoError: it did not, or `is_commit_unknown`.
    """
    now = asyncio.get_running_loop().time
    began = now()
    failures = 0
    while True:
        try:
            return await session.commit_transaction()
        except PyMongoError as error:
            if not is_commit_unknown(error) or now() - began > COMMIT_SECONDS:
                raise
            failures += 1
            await back_off(failures)
