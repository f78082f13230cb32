"""Processes by identity. A pid alone may meanwhile belong to somebody else; pid and start time together do not."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded here: nothing may be imported between fork and exec


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that was alive once."""

    pid: int
    started: int
    """Clock ticks between boot and the start of the process, as the kernel counts them."""


def identity_of(pid: int) -> Identity | None:
    """Who has this pid now; None if nobody, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return None if state in "ZX" else Identity(pid, int(fields[18]))


def is_alive(process: Identity) -> bool:
    """Whether this very process still runs."""
    return identity_of(process.pid) == process


def send(process: Identity, number: signal.Signals) -> None:
    """Signal this very process; nothing happens if it is gone."""
    if is_alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def wait_gone(process: Identity, seconds: float) -> bool:
    """Wait until the process is gone. False if it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def die_with(parent: int) -> Callable[[], None]:
    """For `preexec_fn`: the kernel kills the child when the *thread* that forked it ends (a supervisor's main one)."""

    def in_child() -> None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return in_child


def listens(pid: int) -> list[str]:
    """`address:port` of every TCP socket this process listens on, sorted."""
    import psutil  # noqa: PLC0415 - `devstack token` must not pay for it

    try:
        sockets = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return []
    return sorted(f"{s.laddr.ip}:{s.laddr.port}" for s in sockets if s.status == psutil.CONN_LISTEN)
