"""The stack's clock: how far all its services and sandboxes are ahead of the machine's (`devstack clock +5m`).

Eight bytes in a file beside the stack's data, which each process maps (`chassis.clock.MovedClock`): it moves for all at
the same instant, and never back while the stack runs. Standard library only: `devstack token` must be quick.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import Final

from devstack.errors import StackError

VARIABLE: Final = "CLOCK_AHEAD_FILE"
AHEAD_MAX_SECONDS: Final = 366 * 86_400  # no promise lasts longer, and every date stays one that MongoDB can hold
_MICROS: Final = 1_000_000


def file_of(data: Path) -> Path:
    """Where it stands, of the stack with this data."""
    return data / "clock-ahead"


def with_clock(variables: Mapping[str, str], data: Path) -> Mapping[str, str]:
    """The variables, and which clock the stack with this data has."""
    return {**variables, VARIABLE: str(file_of(data))}


def reset(data: Path) -> None:
    """It is the machine's: before anything of the stack runs."""
    file_of(data).write_bytes(bytes(8))


def ahead_seconds(environ: Mapping[str, str]) -> float:
    """How far ahead of the machine's the clock is that these variables name; 0 if they name none."""
    if VARIABLE not in environ:
        return 0.0
    with _mapped(Path(environ[VARIABLE])) as ahead:
        return ahead[0] / _MICROS


def now(environ: Mapping[str, str] = os.environ) -> float:
    """Unix seconds by the clock that these variables name, or else by the machine's."""
    return time.time() + ahead_seconds(environ)


def advance(data: Path, seconds: float) -> float:
    """Let so much time pass for the stack with this data; how far ahead it is then.

    Raises StackError when time would go back, or further than a year ahead.
    """
    with _mapped(file_of(data)) as ahead:
        wanted = ahead[0] + round(seconds * _MICROS)
        if seconds < 0 or wanted > AHEAD_MAX_SECONDS * _MICROS:
            raise StackError("the clock goes forward only, at most a year ahead: `devstack down` sets it right again")
        ahead[0] = wanted
        return wanted / _MICROS


@contextmanager
def _mapped(file: Path) -> "Iterator[memoryview[int]]":
    """The microseconds in it, for one at a time."""
    with file.open("r+b") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        with mmap(opened.fileno(), 8) as mapped, memoryview(mapped) as whole, whole.cast("q") as ahead:
            yield ahead
