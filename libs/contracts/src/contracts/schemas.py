"""JSON Schema of every event and of the headers: `python -m contracts.schemas` writes them, `--check` only compares.

Exit 1 if a file is stale or a released state is not in the record (with `--check`), if something released changed in a
way that breaks its readers or writers, or if a field says nowhere what it means (always; nothing is written then).
Compared is with every state that was ever released: see `contracts.released`.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts import REGISTRY, Event
from contracts.compatibility import Schema
from contracts.descriptions import describe, undescribed
from contracts.gate import Gate
from contracts.headers import ENVELOPE, headers_schema
from contracts.released import add_to_record, damages, history, read_record, states_of, written

HOME: Final = Path(__file__).parents[2]
SCHEMAS: Final = HOME / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_of(event: type[Event]) -> Schema:
    """Describe the data of one event, field by field, and how it travels."""
    data = event.model_json_schema()
    classes = (one.__name__.removeprefix("_") for one in event.__mro__ if issubclass(one, Event))
    describe(data, {data["title"]: tuple(classes)})
    return {
        "$schema": DIALECT,
        **data,
        "x-type": event.TYPE,
        "x-topic": event.TOPIC,
        "x-key": event.KEY,
        "x-subject": event.SUBJECT,
        "x-draft": event.DRAFT,
    }


def all_schemas() -> dict[str, Schema]:
    """Describe every event by its type, and the headers that all of them have."""
    events = {type_: schema_of(event) for type_, event in sorted(REGISTRY.items())}
    return {ENVELOPE: {"$schema": DIALECT, **headers_schema()}, **events}


def read(folder: Path) -> dict[str, Schema]:
    """Read the schemas that were written into a folder, by type."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def stale(there: Mapping[str, Schema], current: Mapping[str, Schema]) -> list[str]:
    """List the types whose file is missing, left over, or not what the class says."""
    return sorted(type_ for type_ in there.keys() | current.keys() if there.get(type_) != current.get(type_))


def write(folder: Path, types: list[str], current: Mapping[str, Schema]) -> None:
    """Bring the files of these types up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    for type_ in types:
        path = folder / f"{type_}.json"
        if type_ in current:
            path.write_text(written(current[type_]), encoding="utf-8")
        else:
            path.unlink()


def main(arguments: list[str] | None = None) -> int:
    """Write or check the schemas and the record; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m contracts.schemas", description="JSON Schemas of the events")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    parser.add_argument("--home", type=Path, default=HOME, help="where schemas/, released/ and consumers/ are")
    options = parser.parse_args(arguments)
    folder, record = options.home / "schemas", options.home / "released"
    current, there, recorded = all_schemas(), read(folder), read_record(record)
    past = history(folder)
    promised = recorded | (past or {}) | states_of(there.values())

    if lines := damages(record):
        return _fail("the record of what was released is only added to (git checkout it):", lines)
    if refusal := Gate(options.home / "consumers").refusal(promised.values(), current) or _mute(current):
        sys.stderr.write(refusal)
        return 1
    outdated = stale(there, current)
    if options.check and outdated:
        return _fail("stale schemas; run `make generate` and commit:", outdated)
    released = promised | states_of(current.values())
    if options.check and released.keys() - recorded.keys():
        lines = sorted(released.keys() - recorded.keys())
        return _fail("released, and not in the record yet; run `make generate` and commit:", lines)
    if options.check:
        known = "no history here, the record alone" if past is None else f"{len(past)} of them in git's history too"
        sys.stdout.write(f"{len(current)} schemas keep what {len(recorded)} released states promised ({known})\n")
        return 0
    write(folder, outdated, current)
    add_to_record(record, released)
    return 0


def _mute(current: Mapping[str, Schema]) -> str:
    lines = undescribed(current.values())
    what = "nothing says what these fields mean; add a sentence for each to contracts/descriptions.py:"
    return "\n  ".join([what, *lines]) + "\n" if lines else ""


def _fail(what: str, lines: list[str]) -> int:
    sys.stderr.write("\n  ".join([what, *lines]) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
