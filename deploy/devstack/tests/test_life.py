"""Starting and stopping, also the hard way: whatever happens, nothing is left."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from devstack import state
from devstack.errors import StackError
from devstack.process import Identity, identity_of, is_alive, wait_gone
from devstack.settings import Settings, decided_port_base
from devstack.stack import Stack

Devstack = Callable[..., subprocess.CompletedProcess[str]]

DEADLINE_SECONDS = 120


@pytest.fixture
def data(tmp_path: Path, devstack: Devstack) -> Iterator[Path]:
    """A data directory; whatever a test starts there is stopped."""
    yield tmp_path / "data"
    devstack("down", "--data", tmp_path / "data")


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def holders(data: Path) -> set[int]:
    """The processes that have a file of this directory open: every part its log, the supervisor the directory."""
    found = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if descriptor.readlink().is_relative_to(data):
                found.add(int(descriptor.parts[2]))
    return found


def nothing_is_left(data: Path) -> bool:
    """No process, no state, no socket, no lock."""
    if holders(data) or (data / "state.json").exists() or (data / "control.sock").exists():
        return False
    directory = os.open(data, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(directory)
    return True


def family(data: Path) -> list[Identity]:
    now = state.read(data)
    assert now
    return [now.supervisor, *(part.process for part in now.parts if part.process)]


def test_down_leaves_nothing_and_may_be_repeated(data: Path, devstack: Devstack) -> None:
    assert devstack("up", "--data", data, "--only", "mongod", "soketi").returncode == 0

    first, second = devstack("down", "--data", data), devstack("down", "--data", data)

    assert (first.returncode, first.stdout) == (0, "The stack is down.\n")
    assert (second.returncode, second.stdout) == (0, "No stack was running.\n")
    assert nothing_is_left(data)


def test_up_holds_no_file_descriptor_of_its_caller(data: Path, plain_environ: Mapping[str, str]) -> None:
    ours, theirs = os.pipe()
    command = (sys.executable, "-m", "devstack", "up", "--data", str(data), "--only", "soketi")
    subprocess.run(command, env=plain_environ, pass_fds=[theirs], stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)

    os.set_blocking(ours, False)
    told = b""
    while chunk := os.read(ours, 4096):  # would raise BlockingIOError if somebody still held the other end
        told += chunk
    os.close(ours)

    assert b"The stack is up" in told


def test_up_after_kill_9_of_the_supervisor_starts_afresh(data: Path, devstack: Devstack) -> None:
    assert devstack("up", "--data", data, "--only", "mongod", "soketi").returncode == 0
    supervisor, *children = family(data)

    os.kill(supervisor.pid, signal.SIGKILL)

    for child in children:
        assert wait_gone(child, DEADLINE_SECONDS), "a child outlived its supervisor"
    again = devstack("up", "--data", data, "--only", "mongod", "soketi")
    assert again.returncode == 0, again.stderr
    assert not {child.pid for child in family(data)} & {child.pid for child in children}


def test_down_after_kill_9_of_the_supervisor_cleans_up(data: Path, devstack: Devstack) -> None:
    assert devstack("up", "--data", data, "--only", "soketi").returncode == 0
    supervisor, *children = family(data)
    os.kill(supervisor.pid, signal.SIGKILL)
    for child in children:
        assert wait_gone(child, DEADLINE_SECONDS)

    assert devstack("down", "--data", data).returncode == 0

    assert nothing_is_left(data)


def test_leftovers_are_known_by_pid_and_start_time(tmp_path: Path) -> None:
    with subprocess.Popen(("sleep", "60")) as left, subprocess.Popen(("sleep", "60")) as stranger:
        leftover, other = identity_of(left.pid), identity_of(stranger.pid)
        assert leftover
        assert other
        killed_supervisor = Identity(os.getpid(), 1)
        parts = (
            state.PartState("mongod", "ready", 0, leftover),
            state.PartState("kafka", "ready", 0, Identity(other.pid, other.started - 1)),  # the pid has a new owner
        )
        state.write(tmp_path, state.StackState(killed_supervisor, "up", Settings(tmp_path, 20_000), parts))

        assert state.kill_leftovers(tmp_path) == ["mongod"]

        assert not is_alive(leftover)
        assert is_alive(other)
        assert state.read(tmp_path) is None
        stranger.kill()


def _hear_interrupts() -> None:
    """A runner in the background of a shell ignores Ctrl-C, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_up_leaves_nothing(data: Path, plain_environ: Mapping[str, str], number: signal.Signals) -> None:
    command = (sys.executable, "-m", "devstack", "up", "--data", str(data), "--only", "mongod", "kafka")
    with subprocess.Popen(
        command,
        env=plain_environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509 - nothing of ours runs in threads here
    ) as up:
        until(lambda: (now := state.read(data)) and any(part.process for part in now.parts), "a part was started")

        up.send_signal(number)
        _, said = up.communicate(timeout=DEADLINE_SECONDS)

    if number is not signal.SIGKILL:
        assert up.returncode == 130
        assert said == b"devstack: interrupted\n"
        assert nothing_is_left(data)
    until(lambda: nothing_is_left(data), "the supervisor noticed")


def test_a_stack_that_cannot_start_says_why_and_leaves_nothing(data: Path, devstack: Devstack) -> None:
    with decided_port_base(data, None) as base, socket.create_server(("127.0.0.1", base + 4)):  # soketi's place
        up = devstack("up", "--data", data, "--only", "mongod", "soketi")

    assert up.returncode == 1
    assert f"soketi cannot start: port {base + 4} is taken by another program" in up.stderr
    assert "Traceback" not in up.stderr
    assert nothing_is_left(data)


def test_a_service_that_cannot_migrate_says_why_and_the_others_do_not_wait(data: Path, devstack: Devstack) -> None:
    parts = ("mongod", "goals-api", "escrow-api")  # without Kafka, which goals would wait a minute for
    began = time.monotonic()

    up = devstack("up", "--data", data, "--only", *parts, INVITATION_REFUND_SECONDS="1")

    assert time.monotonic() - began < 50
    assert up.returncode == 1
    assert "`python -m escrow migrate` failed:" in up.stderr
    assert "INVITATION_REFUND_SECONDS (1) is below" in up.stderr
    assert "Traceback" not in up.stderr
    assert nothing_is_left(data)


def test_a_part_that_there_is_not_is_named_and_nothing_is_left(data: Path, devstack: Devstack) -> None:
    up = devstack("up", "--data", data, "--only", "soketi", "mongo")

    assert up.returncode == 1
    assert "there is no part mongo;" in up.stderr
    assert nothing_is_left(data)


def test_a_directory_that_can_be_none_is_not_a_stack_trace(tmp_path: Path, devstack: Devstack) -> None:
    (tmp_path / "file").touch()

    for command in ("up", "status", "down"):
        asked = devstack(command, "--data", tmp_path / "file")
        assert asked.returncode == 1
        assert asked.stderr.startswith("devstack: ")
        assert "Not a directory" in asked.stderr
        assert asked.stderr.count("\n") == 1


def test_two_ups_at_once_make_one_stack(data: Path, devstack: Devstack) -> None:
    with ThreadPoolExecutor(2) as both:
        ups = list(both.map(lambda _: devstack("up", "--data", data, "--only", "soketi"), range(2)))

    assert [up.returncode for up in ups] == [0, 0], [up.stderr for up in ups]
    assert len([up for up in ups if "already" in up.stdout]) == 1
    assert len(holders(data)) == 2  # one supervisor, one soketi


def test_a_tied_stack_ends_with_its_starter(data: Path, plain_environ: Mapping[str, str]) -> None:
    program = f"""if True:
        import sys
        from devstack.stack import Stack
        with Stack({str(data)!r}, only=("soketi",)):
            print("up", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        (sys.executable, "-c", program), env=plain_environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == b"up\n"

        starter.kill()

    until(lambda: nothing_is_left(data), "the supervisor noticed")


def test_a_data_directory_keeps_its_ports(tmp_path: Path) -> None:
    with decided_port_base(tmp_path, None) as base, decided_port_base(tmp_path, None) as again:
        assert again == base
    with decided_port_base(tmp_path, base) as again:
        assert again == base
    with pytest.raises(StackError, match=f"bound to port base {base}"), decided_port_base(tmp_path, base + 32):
        pass


def test_two_stacks_that_start_at_once_choose_different_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.shuffle", lambda _bases: None)

    with decided_port_base(tmp_path / "one", None) as one, decided_port_base(tmp_path / "other", None) as other:
        assert abs(one - other) >= 32


def test_ports_stay_below_those_of_outgoing_connections(tmp_path: Path) -> None:
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    with decided_port_base(tmp_path, None) as base:
        assert base + 32 <= ephemeral


def test_a_stack_that_does_not_run_is_not_a_stack_trace(data: Path, devstack: Devstack) -> None:
    for command in ("status", "topics"):
        asked = devstack(command, "--data", data)
        assert asked.returncode == 1
        assert asked.stderr == f"devstack: no stack runs in {data}: `devstack up` starts it\n"
    with pytest.raises(StackError, match="no stack runs"):
        Stack(data).state()
