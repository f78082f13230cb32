"""What of the chassis is stored under another name than by the release before (ADR 0008)."""

from chassis.http.idempotency import FORMER_RECORDS, IDEMPOTENCY_RECORDS
from chassis.kafka.parking import PARKED, PARKED_KEYS
from chassis.kafka.positions import POSITIONS
from chassis.service import Migration
from chassis.storage.mongo import Database
from chassis.storage.renaming import copy_documents, copy_fields

FORMER = (FORMER_RECORDS,)
"""Collections in which the release before must find what this one writes."""


async def former_collections(database: Database) -> set[str]:
    """Those of them that are there: the release before may be running on this database."""
    return {former.name for former in FORMER}.intersection(await database.list_collection_names())


async def _copy(database: Database) -> None:
    await copy_fields(database, (POSITIONS, PARKED, PARKED_KEYS))
    await copy_documents(database, FORMER_RECORDS.name, IDEMPOTENCY_RECORDS.name)


MIGRATIONS = (Migration(1, "positions, what is parked and idempotency records under their new names", _copy),)
"""Made before a service's own, and remembered as `chassis-1` and so on."""
