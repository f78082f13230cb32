"""Another name for what is stored: what numbered migrations copy (ADR 0008).

While the release before may be running, its names are believed and written, too; the next one copies again and
believes the new ones. So a copy can be made as often as one likes.
"""

from collections.abc import Iterable
from typing import Any

from chassis.storage.collection import Collection
from chassis.storage.mongo import Database


async def copy_fields(database: Database, collections: Iterable[Collection[Any]]) -> None:
    """Let documents have under their fields' names what stands under the former ones."""
    for collection in collections:
        for name, former in collection.formerly.items():
            differs = {former: {"$exists": True}, "$expr": {"$ne": [f"${name}", f"${former}"]}}
            await database[collection.name].update_many(differs, [{"$set": {name: f"${former}"}}])


async def copy_documents(database: Database, former: str, name: str) -> None:
    """Let collection `name` have the documents of `former` that it lacks."""
    lacking = {"into": name, "on": "_id", "whenMatched": "keepExisting", "whenNotMatched": "insert"}
    await database.command({"aggregate": former, "pipeline": [{"$merge": lacking}], "cursor": {}})
