"""The only module that imports a MongoDB driver: motor by default, PyMongo's async client by `MONGO_DRIVER=pymongo`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import AsyncMongoClient, DeleteOne, IndexModel, InsertOne, ReadPreference, ReplaceOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession as Session
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

Raw = dict[str, Any]
Database = AsyncDatabase[Raw]
RawCollection = AsyncCollection[Raw]
Driver = Literal["motor", "pymongo"]

__all__ = [
    "Database", "DeleteOne", "Driver", "DuplicateKeyError", "IndexModel", "InsertOne", "Mongo", "OperationFailure",
    "PyMongoError", "Raw", "RawCollection", "ReadConcern", "ReplaceOne", "Session", "UpdateOne", "is_transient",
]  # fmt: skip

_OPTIONS: Mapping[str, Any] = {
    "w": "majority",
    "journal": True,
    "readConcernLevel": "majority",
    "serverSelectionTimeoutMS": 5_000,
}


class Mongo:
    """A connection to one replica set, whichever driver is set. Belongs to the event loop that made it."""

    def __init__(self, url: str, driver: Driver = "motor") -> None:
        """Connect lazily: the first operation opens the first socket."""
        self._motor = driver == "motor"
        client: Any = (AsyncIOMotorClient if self._motor else AsyncMongoClient)(url, tz_aware=True, **_OPTIONS)
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
        closing: Any = self.client.close()
        if closing is not None:
            await closing


def is_transient(error: BaseException) -> bool:
    """Whether trying the whole transaction again can help: a conflict, an election, a lost connection."""
    if not isinstance(error, PyMongoError):
        return False
    return error.has_error_label("TransientTransactionError") or isinstance(error, ConnectionFailure)
