"""The one place that makes ids."""

import hashlib

from bson import ObjectId


def new_id() -> str:
    """A fresh id: 24 lower-case hex digits (SPEC §1)."""
    return str(ObjectId())


def derived_id(*cause: str) -> str:
    """The id that follows from `cause`: the same cause always gives the same id, so nothing happens twice (SPEC §9)."""
    return hashlib.sha256(":".join(cause).encode()).hexdigest()[:24]
