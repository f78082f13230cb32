"""`python -m <service> migrate`: topics, collections, indexes, numbered migrations. A step of its own, before starting.

It creates what is missing and drops nothing; what differs from the code and cannot be mended is told. Processes only
check, and name the command that mends it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from chassis.bell import KNOCKS
from chassis.clock import Clock, instant
from chassis.collection import Collection, Index
from chassis.http.denied import DENIED_TOKENS
from chassis.http.idempotency import ANSWERS
from chassis.lease import LEASES
from chassis.mongo import Database, DuplicateKeyError, IndexModel, OperationFailure, Raw
from chassis.outbox import OUTBOX
from chassis.parking import PARKED, PARKED_KEYS
from chassis.pending import EFFECTS, TIMERS
from chassis.positions import INBOX, POSITIONS
from chassis.relay import OUTBOX_PARKED
from chassis.service import Migration, Service

NAMESPACE_EXISTS = 48

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Migrated:
    """A numbered migration that was made."""

    id: str
    name: str
    at: datetime


MIGRATIONS = Collection("migrations", Migrated)

OWN: tuple[Collection[Any], ...] = (
    *(ANSWERS, DENIED_TOKENS, INBOX, POSITIONS, PARKED, PARKED_KEYS),
    *(OUTBOX, OUTBOX_PARKED, TIMERS, EFFECTS, KNOCKS, LEASES, MIGRATIONS),
)
"""The chassis' collections, which every service has beside its own."""


class NotMigrated(Exception):
    """The servers do not have what the code needs."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Say everything that is wrong at once."""
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


async def create_collections(database: Database, service: Service) -> None:
    """Make the collections and indexes that are missing.

    Raises:
        NotMigrated: an index exists with other options, or is unique and the documents there are not.
    """
    existing = set(await database.list_collection_names())
    for collection in _collections(service):
        if collection.name not in existing:
            await _create(database, collection)
        found = await database[collection.name].index_information()
        problems = [problem for index in collection.indexes if (problem := _differs(collection, index, found))]
        if problems:
            raise NotMigrated(problems)
        await _set_expiry(database, collection, found)
        missing = [_model(index) for index in collection.indexes if index.name not in found]
        if missing:
            await _create_indexes(database, collection, missing)
        _tell_unknown(collection, found)


async def run_migrations(database: Database, service: Service, clock: Clock) -> None:
    """Make the numbered migrations that were not made yet, in order."""
    made = database[MIGRATIONS.name]
    for migration in await _open_migrations(database, service):
        _log.info("migration", number=migration.number, name=migration.name)
        await migration.run(database)
        now = clock.micros()
        await made.insert_one(MIGRATIONS.to_raw(Migrated(str(migration.number), migration.name, instant(now)), now))


async def check_collections(database: Database, service: Service) -> list[str]:
    """What is missing or differs, in words; empty when all is well."""
    existing = set(await database.list_collection_names())
    problems: list[str] = []
    for collection in _collections(service):
        if collection.name not in existing:
            problems.append(f"collection {collection.name} does not exist")
            continue
        found = await database[collection.name].index_information() if collection.indexes else {}
        for index in collection.indexes:
            if index.name not in found:
                problems.append(f"collection {collection.name} has no index {index.name}")
            elif problem := _differs(collection, index, found):
                problems.append(problem)
    not_made = await _open_migrations(database, service)
    return problems + [f"migration {migration.number} ({migration.name}) was not made" for migration in not_made]


def _collections(service: Service) -> tuple[Collection[Any], ...]:
    return (*OWN, *service.collections)


async def _create(database: Database, collection: Collection[Any]) -> None:
    try:
        await database.command({"create": collection.name, **collection.options})
    except OperationFailure as failure:
        if failure.code != NAMESPACE_EXISTS:  # another `migrate` was faster
            raise


async def _create_indexes(database: Database, collection: Collection[Any], models: Sequence[IndexModel]) -> None:
    try:
        await database[collection.name].create_indexes(models)
    except DuplicateKeyError as twice:
        at = ", ".join((twice.details or {}).get("keyPattern", {}))
        equal = f"documents of {collection.name} are equal in {at}, which shall be unique"
        raise NotMigrated([f"{equal}: mend them by hand, then migrate again"]) from twice


async def _open_migrations(database: Database, service: Service) -> list[Migration]:
    made = {raw["_id"] for raw in await database[MIGRATIONS.name].find({}, {"_id": 1}).to_list(None)}
    return sorted((m for m in service.migrations if str(m.number) not in made), key=lambda migration: migration.number)


def _model(index: Index) -> IndexModel:
    options: Raw = {"name": index.name, "unique": index.unique}
    if index.where is not None:
        options["partialFilterExpression"] = dict(index.where)
    if index.expire_after_seconds is not None:
        options["expireAfterSeconds"] = index.expire_after_seconds
    return IndexModel(list(index.keys.items()), **options)


def _differs(collection: Collection[Any], index: Index, found: Mapping[str, Any]) -> str | None:
    """What cannot be changed in place: uniqueness, and which documents are in it."""
    there = found.get(index.name)
    if there is None:
        return None
    same = bool(there.get("unique")) == index.unique
    same &= dict(there.get("partialFilterExpression", {})) == dict(index.where or {})
    same &= ("expireAfterSeconds" in there) == (index.expire_after_seconds is not None)
    if same:
        return None
    return f"index {index.name} of {collection.name} has other options: drop it by hand, then migrate again"


async def _set_expiry(database: Database, collection: Collection[Any], found: Mapping[str, Any]) -> None:
    for index in collection.indexes:
        there = found.get(index.name)
        if there is not None and there.get("expireAfterSeconds") != index.expire_after_seconds:
            change = {"name": index.name, "expireAfterSeconds": index.expire_after_seconds}
            await database.command({"collMod": collection.name, "index": change})


def _tell_unknown(collection: Collection[Any], found: Mapping[str, Any]) -> None:
    unknown = found.keys() - {index.name for index in collection.indexes} - {"_id_"}
    if unknown:
        _log.warning(
            "indexes unknown to the code; drop them by hand",
            collection=collection.name,
            indexes=sorted(unknown),
        )
