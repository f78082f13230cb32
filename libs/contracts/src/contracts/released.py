"""The record of what was released: every state of every released schema, each in a file named for what it says.

`released/<type>/<digest>.json` is a schema as it was published, `released/index.txt` lists them all. `make generate`
adds to the record and never takes away. So a checkout without history (an archive, a shallow clone) knows what was
promised, and a state can neither be edited (its name is its digest) nor deleted (the index lacks a file) by oversight.
Where git has the history of the schemas, the gate reads them from there too: who edits record and index alike is found.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from contracts.compatibility import Schema, plain

INDEX: Final = "index.txt"
DIGEST_LENGTH: Final = 12
FIRST_MAJOR: Final = 2
"""Promises begin with contracts 2.0.0: its changelog says what was changed once, before anybody outside consumed."""

_VERSION: Final = re.compile(r'^version = "(\d+)\.', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class State:
    """One released schema as it was; two that differ in wording alone are the same state."""

    type: str
    digest: str
    schema: Schema

    @property
    def name(self) -> str:
        """Where it stands in the record."""
        return f"{self.type}/{self.digest}.json"


def state_of(schema: Schema) -> State:
    """The state that a schema is in."""
    said = json.dumps(plain(schema), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return State(schema["x-type"], sha256(said.encode()).hexdigest()[:DIGEST_LENGTH], schema)


def states_of(schemas: Iterable[Schema]) -> dict[str, State]:
    """The states of those schemas that are released, by name. Drafts promise nothing."""
    return {state.name: state for state in (state_of(schema) for schema in schemas if not schema["x-draft"])}


def read_record(folder: Path) -> dict[str, State]:
    """Read the record, by name."""
    states = (state_of(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("*/*.json")))
    return {state.name: state for state in states}


def damages(folder: Path) -> list[str]:
    """What somebody has edited or deleted in the record, a line each."""
    listed = _indexed(folder)
    there = {path.relative_to(folder).as_posix(): path for path in folder.glob("*/*.json")}
    edited = (name for name, path in there.items() if state_of(json.loads(path.read_text("utf-8"))).name != name)
    return [
        *(f"{name} is in {INDEX}, but its file is gone" for name in sorted(listed - there.keys())),
        *(f"{name} is not in {INDEX}" for name in sorted(there.keys() - listed)),
        *(f"{name} was edited: its name is the digest of what it said" for name in sorted(edited)),
    ]


def add_to_record(folder: Path, states: Mapping[str, State]) -> None:
    """Add what the record does not have yet."""
    for name in sorted(states.keys() - _indexed(folder)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written(states[name].schema), encoding="utf-8")
    names = sorted(states.keys() | _indexed(folder))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def written(schema: Schema) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _indexed(folder: Path) -> set[str]:
    index = folder / INDEX
    return set(index.read_text(encoding="utf-8").splitlines()) if index.exists() else set()


def history(schemas: Path) -> dict[str, State] | None:
    """Every released state that git knows of the files in `schemas`; None where there is no git, or no repository.

    What a shallow clone lacks is not there; the record has it.
    """
    project = schemas.parent / "pyproject.toml"
    try:
        commits = _git(schemas, "log", "--format=%H", "--full-history", "--", ".").split()
    except (OSError, subprocess.CalledProcessError):
        return None
    blobs: dict[str, None] = {}
    for commit in commits:
        version = _VERSION.search(_git(schemas, "show", f"{commit}:./../{project.name}"))
        if version and int(version[1]) >= FIRST_MAJOR:
            listed = _git(schemas, "ls-tree", commit, "./").splitlines()
            blobs |= dict.fromkeys(line.split()[2] for line in listed if line.endswith(".json"))
    return states_of(_blobs(schemas, list(blobs)))


def _blobs(folder: Path, ids: Sequence[str]) -> Iterator[Schema]:
    """Read many files of any commits at once."""
    command = ["git", "-C", str(folder), "cat-file", "--batch"]
    told = subprocess.run(command, input="\n".join(ids).encode(), capture_output=True, check=True).stdout  # noqa: S603 - git alone
    while told:
        head, _, rest = told.partition(b"\n")
        size = int(head.split()[2])
        yield json.loads(rest[:size])
        told = rest[size + 1 :]


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - git alone
