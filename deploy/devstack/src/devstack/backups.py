"""A service's database in a file, and back: what `mongodump` and `mongorestore` do for a real one."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from devstack.errors import StackError
from devstack.settings import SERVICES, package
from devstack.stack import Stack

AT_ONCE = 1_000  # documents written in one request
ANSWER_MILLISECONDS = 10_000

Raw = dict[str, Any]


def backup(stack: Stack, service: str, file: Path) -> tuple[int, str]:
    """Write every document of a service to `file`; returns how many, and the moment. It may run meanwhile.

    Raises StackError when MongoDB does not answer, or the file cannot be written.
    """
    part = file.with_name(f"{file.name}.part")
    moment = datetime.now(UTC).isoformat(timespec="seconds")  # before the snapshot: `remember` may begin too early
    try:
        with database_of(stack, service) as database, part.open("wb") as out:
            part.chmod(0o600)
            out.write(bson.encode({"service": service, "moment": moment}))
            number = 0
            with database.client.start_session(snapshot=True) as session:
                for name in _names(database):
                    for document in database[name].find({}, session=session):
                        out.write(bson.encode({"of": name, "document": document}))
                        number += 1
        part.replace(file)  # so that a file is whole, or is not there
    except (PyMongoError, OSError) as error:
        raise StackError(f"{service} is not backed up: {error}") from error
    return number, moment


def restore(stack: Stack, service: str, file: Path) -> tuple[int, str]:
    """Put what is in `file` in the place of all that a service has stored.

    Raises StackError when the service runs, the file is no backup of it, or MongoDB does not answer.
    """
    running = [part.name for part in stack.state().parts if part.process and part.name.startswith(f"{service}-")]
    if running:
        raise StackError(f"{', '.join(running)} would go on with what they know: `devstack stop {' '.join(running)}`")
    try:
        with file.open("rb") as written, database_of(stack, service) as database:
            rows: Iterator[Raw] = bson.decode_file_iter(written)
            head = next(rows, {})
            if head.get("service") != service:
                raise StackError(f"{file} is no backup of {service}")
            for name in _names(database):
                database[name].delete_many({})  # and not drop: its indexes stay
            number = _insert(database, rows)
    except (PyMongoError, OSError, bson.errors.BSONError) as error:
        raise StackError(f"{service} is not restored: {error}") from error
    return number, head["moment"]


def _names(database: Database[Raw]) -> list[str]:
    """The collections that hold state. Capped ones hold wake-ups, which nobody misses and nobody may delete."""
    return [one["name"] for one in database.list_collections() if not one.get("options", {}).get("capped")]


def _insert(database: Database[Raw], rows: Iterator[Raw]) -> int:
    number = 0
    part: dict[str, list[Raw]] = {}
    for row in rows:
        part.setdefault(row["of"], []).append(row["document"])
        number += 1
        if len(part[row["of"]]) == AT_ONCE:
            database[row["of"]].insert_many(part.pop(row["of"]))
    for name, documents in part.items():
        database[name].insert_many(documents)
    return number


@contextmanager
def database_of(stack: Stack, service: str) -> Iterator[Database[Raw]]:
    """What a service has stored. Raises StackError if there is no such service."""
    if service not in SERVICES:
        raise StackError(f"there is no service {service}: {', '.join(SERVICES)}")
    namespace = stack.state().settings.variables.get("NAMESPACE")
    name = f"{namespace}-{package(service)}" if namespace else package(service)
    client: MongoClient[Raw] = MongoClient(stack.mongo_url, serverSelectionTimeoutMS=ANSWER_MILLISECONDS)
    with client:
        yield client[name]
