"""`python -m <service> migrate`: topics, collections, indexes, numbered migrations. A step of its own, before starting.

It creates what is missing and drops nothing; what differs from the code and cannot be mended is told, before anything
is done. Started twice at once, it is done once. Processes only check, and name the command that mends it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from chassis.clock import Clock, instant
from chassis.effects.model import EFFECTS
from chassis.http.denied import DENIED_TOKENS
from chassis.http.idempotency import IDEMPOTENCY_RECORDS
from chassis.kafka.inbox import INBOX
from chassis.kafka.parking import PARKED, PARKED_KEYS
from chassis.kafka.positions import POSITIONS
from chassis.outbox.model import OUTBOX
from chassis.outbox.relay import OUTBOX_PARKED
from chassis.runtime import renamed
from chassis.runtime.leader_election import LEASES
from chassis.runtime.parked_work import DISCARDED
from chassis.runtime.wakeup import WAKEUPS
from chassis.service import Migration, Service
from chassis.storage.collection import Collection, Index
from chassis.storage.mongo import Database, DuplicateKeyError, IndexModel, OperationFailure, Raw
from chassis.timers.model import TIMERS

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
    *(IDEMPOTENCY_RECORDS, DENIED_TOKENS, INBOX, POSITIONS, PARKED, PARKED_KEYS),
    *(OUTBOX, OUTBOX_PARKED, TIMERS, EFFECTS, DISCARDED, WAKEUPS, LEASES, MIGRATIONS),
)
"""The chassis' collections, which every service has beside its own."""


class NotMigrated(Exception):
    """The servers do not have what the code needs."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Say everything that is wrong at once."""
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that `migrate` does."""

    does: str
    """In words, for `migrate --plan` and the log."""
    do: Callable[[], Awaitable[None]]


async def plan(database: Database, service: Service, clock: Clock) -> list[Step]:
    """What `migrate` does, in order; empty when all is there. Looking changes nothing.

    Raises:
        NotMigrated: what is there differs in a way that only a person can mend; nothing should be done before that.
    """
    return [*await _collection_steps(database, service), *await _migration_steps(database, service, clock)]


async def create_collections(database: Database, service: Service) -> None:
    """Make the collections and indexes that are missing.

    Raises:
        NotMigrated: an index exists with other options, or is unique and the documents there are not.
    """
    await take(await _collection_steps(database, service))


async def run_migrations(database: Database, service: Service, clock: Clock) -> None:
    """Make the numbered migrations that were not made yet, in order."""
    await take(await _migration_steps(database, service, clock))


async def take(steps: Iterable[Step]) -> None:
    """Do `steps`, each with a line in the log."""
    for step in steps:
        _log.info("migration step", does=step.does)
        await step.do()


async def _collection_steps(database: Database, service: Service) -> list[Step]:
    existing = set(await database.list_collection_names())
    problems: list[str] = []
    steps: list[Step] = []
    for collection in _collections(service):
        name = collection.name
        if name not in existing:
            steps.append(Step(f"make collection {name}", partial(_create, database, collection)))
        found = await database[name].index_information() if name in existing else {}
        problems += [problem for index in collection.indexes if (problem := _differs(collection, index, found))]
        for index in collection.indexes:
            if index.name not in found:
                steps.append(Step(f"make index {index.name} of {name}", partial(_index, database, name, index)))
            elif found[index.name].get("expireAfterSeconds") != index.expire_after_seconds:
                does = f"let index {index.name} of {name} expire after {index.expire_after_seconds} s"
                steps.append(Step(does, partial(_set_expiry, database, name, index)))
        _tell_unknown(collection, found)
    if problems:
        raise NotMigrated(problems)
    return steps


async def _migration_steps(database: Database, service: Service, clock: Clock) -> list[Step]:
    return [
        Step(f"run migration {id_} ({migration.name})", partial(_migrate, database, id_, migration, clock))
        for id_, migration in (await _open_migrations(database, service)).items()
    ]


async def _migrate(database: Database, id_: str, migration: Migration, clock: Clock) -> None:
    await migration.run(database)
    now = clock.micros()
    made = MIGRATIONS.to_raw(Migrated(id_, migration.name, instant(now)), now)
    await database[MIGRATIONS.name].insert_one(made)


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
    return problems + [f"migration {id_} ({migration.name}) was not made" for id_, migration in not_made.items()]


def _collections(service: Service) -> tuple[Collection[Any], ...]:
    return (*OWN, *service.collections)


async def _create(database: Database, collection: Collection[Any]) -> None:
    try:
        await database.command({"create": collection.name, **collection.options})
    except OperationFailure as failure:
        if failure.code != NAMESPACE_EXISTS:  # another `migrate` was faster
            raise


async def _index(database: Database, name: str, index: Index) -> None:
    try:
        await database[name].create_indexes([_model(index)])
    except DuplicateKeyError as twice:
        at = ", ".join((twice.details or {}).get("keyPattern", {}))
        equal = f"documents of {name} are equal in {at}, which shall be unique"
        raise NotMigrated([f"{equal}: mend them by hand, then migrate again"]) from twice


async def _set_expiry(database: Database, name: str, index: Index) -> None:
    change = {"name": index.name, "expireAfterSeconds": index.expire_after_seconds}
    await database.command({"collMod": name, "index": change})


async def _open_migrations(database: Database, service: Service) -> dict[str, Migration]:
    """Those that were not made, by id, in order: the chassis' own first."""
    made = {raw["_id"] for raw in await database[MIGRATIONS.name].find({}, {"_id": 1}).to_list(None)}
    ordered = sorted(service.migrations, key=lambda migration: migration.number)
    every = {f"chassis-{one.number}": one for one in renamed.MIGRATIONS} | {str(one.number): one for one in ordered}
    return {id_: migration for id_, migration in every.items() if id_ not in made}


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


def _tell_unknown(collection: Collection[Any], found: Mapping[str, Any]) -> None:
    unknown = found.keys() - {index.name for index in collection.indexes} - {"_id_"}
    if unknown:
        _log.warning(
            "indexes unknown to the code; drop them by hand",
            collection=collection.name,
            indexes=sorted(unknown),
        )
