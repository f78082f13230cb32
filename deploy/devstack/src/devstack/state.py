"""What is known about a stack from outside: the state file in its data directory, kept by the supervisor.

The file is there while the stack runs, and after its supervisor was killed; then it tells whom to clean up.
"""

import json
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from devstack.errors import StackError
from devstack.process import Identity, is_alive, send, wait_gone
from devstack.settings import Settings

KILL_SECONDS = 10  # for the kernel to take a killed process apart, on a machine under load


@dataclass(frozen=True, slots=True)
class PartState:
    """One part, as `status` shows it."""

    name: str
    state: Literal["waiting", "starting", "ready", "dead", "stopped"]
    restarts: int
    process: Identity | None


@dataclass(frozen=True, slots=True)
class StackState:
    """A stack, running or left over."""

    supervisor: Identity
    state: Literal["starting", "up", "stopping"]
    settings: Settings
    parts: tuple[PartState, ...]

    @property
    def runs(self) -> bool:
        """Whether its supervisor is alive. If not, these are leftovers."""
        return is_alive(self.supervisor)

    def part(self, name: str) -> PartState:
        """One part by its process name; raises StackError if the stack has none of that name."""
        for part in self.parts:
            if part.name == name:
                return part
        raise StackError(f"the stack has no {name!r}; it has {', '.join(part.name for part in self.parts)}")


def write(data: Path, state: StackState) -> None:
    """Replace the state file, in one step."""
    raw = {
        "supervisor": asdict(state.supervisor),
        "state": state.state,
        "settings": state.settings.to_json(),
        "parts": [asdict(part) for part in state.parts],
    }
    partial = data / "state.json.partial"
    partial.write_text(json.dumps(raw))
    partial.replace(data / "state.json")


def read(data: Path) -> StackState | None:
    """The stack of this data directory; None if it was stopped properly, or never started."""
    try:
        raw = json.loads((data / "state.json").read_text())
    except FileNotFoundError:
        return None
    return StackState(
        supervisor=Identity(**raw["supervisor"]),
        state=raw["state"],
        settings=Settings.from_json(raw["settings"]),
        parts=tuple(
            PartState(**{**part, "process": Identity(**part["process"]) if part["process"] else None})
            for part in raw["parts"]
        ),
    )


def running(data: Path) -> StackState:
    """The stack of this data directory. Raises StackError if none runs."""
    found = read(data)
    if not found or not found.runs:
        raise StackError(f"no stack runs in {data}: `devstack up` starts it")
    return found


def remove(data: Path) -> None:
    """The stack is gone, and so is everything it left."""
    for name in ("state.json", "state.json.partial", "control.sock"):
        (data / name).unlink(missing_ok=True)


def kill_stack(data: Path, grace_seconds: float = 0) -> bool:
    """End the stack of this directory, by force after the grace, and what is left of it. False if none was running."""
    running = read(data)
    if not running:
        return False
    was_running = running.runs
    if grace_seconds:
        send(running.supervisor, signal.SIGTERM)
    if not wait_gone(running.supervisor, grace_seconds):
        send(running.supervisor, signal.SIGKILL)
        wait_gone(running.supervisor, KILL_SECONDS)
    kill_leftovers(data)
    return was_running


def kill_leftovers(data: Path) -> list[str]:
    """Kill what a killed supervisor left behind, by pid and start time; the names of those that were still there.

    Nothing happens to a stack whose supervisor is alive. Raises StackError if a process cannot be killed.
    """
    state = read(data)
    if not state or state.runs:
        return []
    left = {part.name: part.process for part in state.parts if part.process and is_alive(part.process)}
    for process in left.values():
        send(process, signal.SIGKILL)
    for name, process in left.items():
        if not wait_gone(process, KILL_SECONDS):
            raise StackError(f"{name} (pid {process.pid}) is left over, and user {os.getuid()} cannot kill it")
    remove(data)
    return list(left)
