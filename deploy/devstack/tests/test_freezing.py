"""A part that is frozen does nothing more, whatever its threads were doing."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from devstack.process import Identity, freeze, identity_of

WORK = """
import sys, threading
def work():
    n = 0
    while True:
        n += 1
for _ in range(7):
    threading.Thread(target=work, daemon=True).start()
print("works", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def worker() -> Iterator[Identity]:
    """A process of eight threads, all busy but one."""
    with subprocess.Popen((sys.executable, "-c", WORK), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"works\n"
        identity = identity_of(process.pid)
        assert identity is not None
        yield identity
        process.kill()


def test_nothing_of_a_frozen_process_runs_any_more(worker: Identity) -> None:
    assert freeze(worker, 10)

    threads = psutil.Process(worker.pid).threads()
    assert len(threads) == 8
    assert psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED
    assert psutil.Process(worker.pid).threads() == threads  # their processor times


def test_who_is_gone_needs_no_freezing(worker: Identity) -> None:
    psutil.Process(worker.pid).kill()
    psutil.Process(worker.pid).wait(10)

    assert freeze(worker, 10)
