"""Migrations of several services: `python -m devstack.migrations PACKAGE…` is `python -m PACKAGE migrate` for each.

Most of what one takes is a second of processor time to load what all services have in common. So that is loaded once.
"""

import os
import runpy
import sys
import tempfile
from importlib import import_module
from typing import IO

from devstack.process import die_with

COMMON = "chassis.runtime.cli"


def main(packages: list[str]) -> int:
    """Run them. The exit status is 0 if all came to an end; the first one that fails ends the others, and is told."""
    import_module(COMMON)
    running = dict(_begin(package) for package in packages)
    while running:
        pid, status = os.wait()
        package, said = running.pop(pid)
        if status:
            said.seek(0)
            print(f"`python -m {package} migrate` failed:", said.read().strip(), sep="\n")
            return 1
    return 0


def _begin(package: str) -> tuple[int, tuple[str, IO[str]]]:
    """Start one in a process of its own, which ends with this one; what it says goes to a file."""
    said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - read when the process has ended
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid, (package, said)
    die_with(parent)()
    for stream in (1, 2):
        os.dup2(said.fileno(), stream)
    sys.argv = [package, "migrate"]
    runpy.run_module(package, run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
