"""Fault points: places where a test makes this process die, freeze, stall or fail. They do nothing unless told to.

`FAULT_PLAN` is JSON, one entry per point; it is followed on a local stack only (`settings.py`):

    {"relay.after_publish": {"action": "kill", "nth": 3, "times": 1, "log": "/tmp/hits"}}

`action` is `kill` (SIGKILL), `stop` (SIGSTOP, until somebody sends SIGCONT), `raise` (FaultError) or `{"delay": 0.5}`
(block the whole process for so many seconds). It is taken at the `nth` pass (default 1) and at later ones, until it was
taken `times` times (default 1). With `"of": "goal.proposed.v1"` only passes count that come with such a thing, an event
type, the name of a timer, or the name or id of an effect: so what a process does in the background leaves it alone. A
point that is hit first writes its name as a line of `log`, which outlives the process: so a test can show that the
point was really hit, and a process started again with the same plan knows that it has died already. Without a `log`,
passes and hits are counted in this process only.

The points, those that say what they come with marked by a star:

    edge.after_commit         a command is committed, its answer not sent
    relay.after_publish*      the broker has acknowledged events, their rows are still in the outbox
    consumer.in_transaction*  a batch is handled, its transaction not committed
    consumer.after_commit*    a batch's transaction is committed, its offsets not sent to Kafka
    consumer.after_claim      partitions are marked as this process's, nothing is handled yet
    parking.after_count       a try of parked messages is counted, the try itself not begun
    timers.in_run*            a slice of timers is committed, the next one not begun
    effects.after_vendor*     a vendor has answered, the answer is not recorded
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SAYING = frozenset(
    {
        "relay.after_publish",
        "consumer.in_transaction",
        "consumer.after_commit",
        "timers.in_run",
        "effects.after_vendor",
    }
)
"""Points that say what they come with."""

POINTS = SAYING | {"edge.after_commit", "consumer.after_claim", "parking.after_count"}


class FaultError(Exception):
    """A fault that was planned."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at one point, and when."""

    action: str
    nth: int = 1
    times: int = 1
    delay_seconds: float = 0.0
    log: Path | None = None
    of: str | None = None
    """What a pass must come with to count; anything, if None."""


@dataclass(slots=True)
class _State:
    """The plan of this process and how often each point was passed and hit."""

    plan: dict[str, Fault] = field(default_factory=dict)
    passes: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)


_state = _State()


def fault_point(name: str, of: Iterable[str] = ()) -> None:
    """Be a place called `name`, with these things in hand, where a fault may be planned.

    Costs one look-up when none is, and `of` is not looked at.

    Raises:
        FaultError: that was the plan.
    """
    if name in _state.plan:
        fault = _state.plan[name]
        if fault.of is None or fault.of in of:
            _pass(name, fault)


def plan_faults(plan: str | None) -> None:
    """Replace the plan of this process by the JSON text `plan`; None or an empty one plans nothing.

    Raises:
        ValueError: it is not a plan, names a point that does not exist, or waits for what a point never says.
    """
    given: dict[str, dict[str, Any]] = json.loads(plan) if plan else {}
    if unknown := given.keys() - POINTS:
        raise ValueError(f"FAULT_PLAN names {', '.join(sorted(unknown))}; there are {', '.join(sorted(POINTS))}")
    if silent := {name for name, entry in given.items() if entry.get("of")} - SAYING:
        raise ValueError(f"FAULT_PLAN has an `of` at {', '.join(sorted(silent))}, which says nothing of that kind")
    _state.plan = {name: _fault(entry) for name, entry in given.items()}
    _state.passes.clear()
    _state.hits.clear()


def _fault(entry: dict[str, Any]) -> Fault:
    action = entry["action"]
    delay_seconds = action["delay"] if isinstance(action, dict) else 0.0
    name = "delay" if isinstance(action, dict) else action
    if name not in ("kill", "stop", "raise", "delay"):
        raise ValueError(f"FAULT_PLAN asks for {name!r}; there are kill, stop, raise and {{'delay': seconds}}")
    log = entry.get("log")
    path = Path(log) if log else None
    return Fault(name, entry.get("nth", 1), entry.get("times", 1), delay_seconds, path, entry.get("of"))


def _pass(name: str, fault: Fault) -> None:
    _state.passes[name] += 1
    if _state.passes[name] < fault.nth or _hits(name, fault) >= fault.times:
        return
    _state.hits[name] += 1
    if fault.log is not None:
        _append(fault.log, name)
    if fault.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault.action == "delay":
        time.sleep(fault.delay_seconds)
    else:
        raise FaultError(name)


def _hits(name: str, fault: Fault) -> int:
    """How often the point was hit, by this process or an earlier one."""
    if fault.log is None:
        return _state.hits[name]
    return fault.log.read_text().splitlines().count(name) if fault.log.exists() else 0


def _append(log: Path, name: str) -> None:
    """Write one line and wait until it is on disk: the next thing that happens may be the end."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, f"{name}\n".encode())
        os.fsync(file)
    finally:
        os.close(file)
