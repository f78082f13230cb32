"""The part of requirements.txt that some members of the workspace need, with its hashes: what goes into an image.

    python deploy/requirements_of.py services/goals          # what it needs to run
    python deploy/requirements_of.py --members services/goals  # itself and the members that it needs, by folder
    python deploy/requirements_of.py --build services/goals  # what builds it

Standard library only: it runs before anything is installed. The lock says who asked for a requirement (`# via`).
"""

import argparse
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("libs/*", "services/*", "deploy/devstack", "demo")
PINNED = re.compile(r"^(?P<name>[a-z0-9][a-z0-9.-]*)==", re.MULTILINE)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def canonical(requirement: str) -> str:
    """The name of what is required, as the lock writes it."""
    found = NAME.match(requirement)
    if found is None:
        raise SystemExit(f"no requirement: {requirement!r}")
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def members() -> dict[str, tuple[str, dict[str, Any]]]:
    """Folder and pyproject of each member, by its name."""
    found = {}
    for folder in (folder for pattern in FOLDERS for folder in ROOT.glob(pattern)):
        if (folder / "pyproject.toml").exists():
            project = tomllib.loads((folder / "pyproject.toml").read_text())
            found[canonical(project["project"]["name"])] = (str(folder.relative_to(ROOT)), project)
    return found


def needed(folder: str) -> list[str]:
    """The member in this folder and all members that it needs, by name."""
    known = members()
    names = [name for name, (where, _) in known.items() if where == folder.rstrip("/")]
    if not names:
        raise SystemExit(f"{folder} is no member: {', '.join(sorted(where for where, _ in known.values()))}")
    for name in names:  # grows while it is walked
        names += [other for other in _requires(known[name][1]) if other in known and other not in names]
    return names


def locked(roots: Iterable[str]) -> list[str]:
    """Those requirements, and all that they ask for, as blocks of the lock. Raises SystemExit for one that it lacks."""
    blocks = _blocks((ROOT / "requirements.txt").read_text())
    wanted = set(roots)
    if missing := sorted(wanted - blocks.keys()):
        raise SystemExit(f"requirements.txt lacks {', '.join(missing)}: add it to requirements.in, then `make lock`")
    while more := {name for name, block in blocks.items() if name not in wanted and _asked_by(block) & wanted}:
        wanted |= more
    return [blocks[name] for name in sorted(wanted)]


def runtime(folder: str) -> list[str]:
    """What the member in this folder needs to run."""
    known = members()
    return locked({other for name in needed(folder) for other in _requires(known[name][1])} - known.keys())


def build(folder: str) -> list[str]:
    """What builds it and the members that it needs."""
    known = members()
    return locked(
        canonical(requirement) for name in needed(folder) for requirement in known[name][1]["build-system"]["requires"]
    )


def _requires(project: dict[str, Any]) -> list[str]:
    return [canonical(requirement) for requirement in project["project"].get("dependencies", ())]


def _blocks(lock: str) -> dict[str, str]:
    starts = [*PINNED.finditer(lock)]
    ends = [start.start() for start in starts[1:]] + [len(lock)]
    return {start["name"]: lock[start.start() : end] for start, end in zip(starts, ends, strict=True)}


def _asked_by(block: str) -> set[str]:
    via = block.partition("# via")[2]
    return set(re.findall(r"[A-Za-z0-9][A-Za-z0-9._-]*", via.replace("-r requirements.in", "")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("member", help="its folder, such as services/goals")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--members", action="store_true", help="folders of members instead")
    what.add_argument("--build", action="store_true", help="what builds it instead")
    asked = parser.parse_args()
    if asked.members:
        print("\n".join(members()[name][0] for name in needed(asked.member)))
    else:
        print("".join(build(asked.member) if asked.build else runtime(asked.member)), end="")
