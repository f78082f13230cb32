"""Processes by identity. A pid alone may meanwhile belong to somebody else; pid and start time together do not."""

import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
FILES_MAX = 65_536  # mongod asks for 64 000; with the 1 024 of an ordinary user it dies of many collections
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


def freeze(process: Identity, seconds: float) -> bool:
    """Stop this very process, and return once each of its threads stands. False if one still runs after so long."""
    send(process, signal.SIGSTOP)
    deadline = time.monotonic() + seconds
    while is_alive(process) and any(state not in "TtZX" for state in _thread_states(process.pid)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def _thread_states(pid: int) -> list[str]:
    states = []
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            states.append(stat.read_text().rpartition(")")[2].split()[0])
    return states


def wait_gone(process: Identity, seconds: float) -> bool:
    """Wait until the process is gone. False if it still runs after so many seconds."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def allow_many_files() -> None:
    """Let this process, and what it starts, have as many files open as the system allows, up to `FILES_MAX`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
