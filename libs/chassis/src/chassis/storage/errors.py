"""What MongoDB says when it does not do what it is told, and what that means; and the commit, which may not say."""

import asyncio

from chassis.runtime.backoff import back_off
from chassis.storage.mongo import BSONError, BulkWriteError, ConnectionFailure, DuplicateKeyError, PyMongoError, Session

COMMIT_SECONDS = 5.0  # how long to go on asking whether a commit went through
_DUPLICATE_KEY = 11_000

STORAGE_ERRORS = (PyMongoError, BSONError, OverflowError)
"""What saving can raise. Only the first comes from the server; the driver refuses documents that BSON cannot hold."""


class StaleDocumentError(PyMongoError):
    """A document is not what it was taken for. Trying again, this time looking, helps."""

    def __init__(self, collection: str) -> None:
        """Name the collection."""
        super().__init__(f"taken for something else: {collection}", ["TransientTransactionError"])


def is_transient(error: BaseException) -> bool:
    """Whether trying the whole transaction again can help: a conflict, an election, a lost connection."""
    if not isinstance(error, PyMongoError):
        return False
    labels = ("TransientTransactionError", "UnknownTransactionCommitResult")
    return any(map(error.has_error_label, labels)) or isinstance(error, ConnectionFailure)


def is_away(error: BaseException) -> bool:
    """Whether the server was not there to answer."""
    return isinstance(error, ConnectionFailure)


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
