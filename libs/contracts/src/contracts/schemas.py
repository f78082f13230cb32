"""JSON Schema of every event: `python -m contracts.schemas` writes them, `--check` only compares.

Exit 1 if a file is stale (with `--check`), or if a released event changed in a way that breaks its readers or writers
(always; nothing is written then). With `--base DIR` the released schemas are those of DIR, say of the main branch, so
that a change is caught although its files were already written.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts import REGISTRY, Event
from contracts.compatibility import Schema, incompatibilities

SCHEMAS: Final = Path(__file__).parents[2] / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_of(event: type[Event]) -> Schema:
    """Describe the data of one event, and how it travels."""
    return {
        "$schema": DIALECT,
        **event.model_json_schema(),
        "x-type": event.TYPE,
        "x-topic": event.TOPIC,
        "x-key": event.KEY,
        "x-subject": event.SUBJECT,
        "x-draft": event.DRAFT,
    }


def all_schemas() -> dict[str, Schema]:
    """Describe every event, by type."""
    return {type_: schema_of(event) for type_, event in sorted(REGISTRY.items())}


def read(folder: Path) -> dict[str, Schema]:
    """Read the schemas that were written into a folder, by type."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def broken(released: Mapping[str, Schema], current: Mapping[str, Schema]) -> list[str]:
    """List what a released event promised and does not keep any more. Drafts promise nothing."""
    lines: list[str] = []
    for type_, old in released.items():
        new = current.get(type_)
        if old["x-draft"]:
            continue
        if new is None:
            lines.append(f"{type_} was removed")
        elif new["x-draft"]:
            lines.append(f"{type_} is a draft again")
        else:
            lines.extend(f"{type_}: {line}" for line in incompatibilities(old, new))
    return lines


def stale(written: Mapping[str, Schema], current: Mapping[str, Schema]) -> list[str]:
    """List the types whose file is missing, left over, or not what the class says."""
    return sorted(type_ for type_ in written.keys() | current.keys() if written.get(type_) != current.get(type_))


def write(folder: Path, types: list[str], current: Mapping[str, Schema]) -> None:
    """Bring the files of these types up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    for type_ in types:
        path = folder / f"{type_}.json"
        if type_ in current:
            path.write_text(json.dumps(current[type_], indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            path.unlink()


def main(arguments: list[str] | None = None) -> int:
    """Write or check the schemas; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m contracts.schemas", description="JSON Schemas of the events")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    parser.add_argument("--dir", type=Path, default=SCHEMAS, help="where the schemas are kept")
    parser.add_argument("--base", type=Path, help="the released schemas to compare with (default: --dir)")
    options = parser.parse_args(arguments)
    current, written = all_schemas(), read(options.dir)

    if lines := broken(read(options.base) if options.base else written, current):
        return _fail("a released event is never edited; add an optional field, or a new version beside it:", lines)
    outdated = stale(written, current)
    if options.check and outdated:
        return _fail("stale schemas; run `python -m contracts.schemas` and commit:", outdated)
    write(options.dir, outdated, current)
    return 0


def _fail(what: str, lines: list[str]) -> int:
    sys.stderr.write("\n  ".join([what, *lines]) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
