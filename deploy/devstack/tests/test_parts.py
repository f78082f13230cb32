"""Single parts of a running stack: stopped, started, counted, and asked by the command line."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pymongo
import pytest

from devstack import listening, services
from devstack.calling import call
from devstack.errors import StackError
from devstack.settings import MORE_WORKERS_MAX, PORTS, Settings
from devstack.stack import Stack

Devstack = Callable[..., subprocess.CompletedProcess[str]]

DEADLINE_SECONDS = 120
USER, STREAMER = "0123456789abcdef01234567", "76543210fedcba9876543210"


@pytest.fixture(scope="module")
def escrow(tmp_path_factory: pytest.TempPathFactory, plain_environ: Mapping[str, str]) -> Iterator[Stack]:
    """One service with two workers, and what it needs."""
    only = ("mongod", "kafka", "escrow-api", "escrow-worker")
    environ = {**plain_environ, "LEASE_SECONDS": "7", "RELEASE": "today"}
    with Stack(tmp_path_factory.mktemp("escrow"), only=only, environ=environ, workers={"escrow": 2}) as running:
        yield running


def wait_for_state(stack: Stack, name: str, *states: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while stack.state().part(name).state not in states:
        assert time.monotonic() < deadline, f"{name} never was {states}"
        time.sleep(0.02)


# -- stop, start, restart ----------------------------------------------------------------------------------------------


def test_parts_are_stopped_started_and_restarted_by_name(stack: Stack, devstack: Devstack) -> None:
    stopped = devstack("stop", "soketi", "nginx", "--data", stack.data)
    assert (stopped.returncode, stopped.stdout) == (0, "soketi is stopped\nnginx is stopped\n")

    started = devstack("start", "soketi", "nginx", "--data", stack.data)
    pids = {name: stack.process(name).pid for name in ("soketi", "nginx")}
    assert started.stdout == f"soketi is ready, pid {pids['soketi']}\nnginx is ready, pid {pids['nginx']}\n"

    assert devstack("restart", "nginx", "--data", stack.data).returncode == 0
    assert stack.process("nginx").pid != pids["nginx"]


def test_a_part_that_there_is_not_is_named_with_those_there_are(stack: Stack, devstack: Devstack) -> None:
    asked = devstack("restart", "mongo", "--data", stack.data)

    said = "devstack: the stack has no 'mongo'; it has mongod, kafka, soketi, nginx\n"
    assert (asked.returncode, asked.stderr) == (1, said)


def test_a_part_that_cannot_start_is_tried_again_until_it_runs(stack: Stack) -> None:
    stack.stop_part("soketi")
    taken = socket.create_server(("127.0.0.1", stack.settings.port("soketi")))
    with taken, pytest.raises(StackError, match="taken by another program"):
        stack.start_part("soketi")

    stack.wait_ready("soketi")


def test_what_is_stopped_while_it_is_tried_again_stays_stopped(stack: Stack) -> None:
    stack.stop_part("soketi")
    with socket.create_server(("127.0.0.1", stack.settings.port("soketi"))), pytest.raises(StackError):
        stack.start_part("soketi")

    stack.stop_part("soketi")

    assert stack.state().part("soketi").state == "stopped"
    assert stack.state().part("soketi").process is None
    stack.start_part("soketi")


def test_a_part_does_not_wait_for_the_command_of_another(escrow: Stack) -> None:
    escrow.stop_part("mongod")
    with ThreadPoolExecutor(1) as other:
        waits_for_mongod = other.submit(escrow.restart_part, "escrow-worker")
        wait_for_state(escrow, "escrow-worker", "starting", "dead")

        escrow.start_part("mongod")

        with suppress(StackError):  # it may have given up at its start, and is tried again
            waits_for_mongod.result(DEADLINE_SECONDS)
    escrow.wait_ready("escrow-worker", seconds=DEADLINE_SECONDS)


# -- workers -----------------------------------------------------------------------------------------------------------


def test_further_workers_are_parts_with_ports_of_their_own(escrow: Stack, devstack: Devstack) -> None:
    shown = devstack("status", "--data", escrow.data).stdout

    listeners = [listener for process in escrow.status()["processes"] for listener in process["listens"]]
    assert all(f"\n{name} " in shown for name in ("escrow-worker", "escrow-worker-2"))
    assert len(listeners) == len(set(listeners))


def test_other_numbers_of_workers_are_other_settings(escrow: Stack) -> None:
    other = Settings(escrow.data, escrow.settings.port_base, escrow.settings.only, escrow.settings.variables)

    assert escrow.settings.differences(other) == ["workers of escrow: 2 run, 1 are wanted"]


def test_every_worker_has_a_port_within_the_block() -> None:
    most = Settings(Path("/nowhere"), 20_000, workers={"goals": MORE_WORKERS_MAX + 1})

    ports = [most.port(name) for name in (*PORTS, *most.more_workers)]

    assert sorted(ports) == list(range(20_000, 20_031))  # the last one of the block is held while a stack starts


def test_together_the_api_is_the_first_worker_and_its_service_has_one_process_less() -> None:
    apart = Settings(Path("/nowhere"), 20_000, workers={"goals": 2})

    parts = {part.name: part.argv[-1] for part in services.services(replace(apart, together=True))}

    assert parts == {f"{name}-api": "all" for name in services.chosen(apart)} | {"goals-worker-2": "worker"}
    assert apart.differences(replace(apart, together=True)) == [
        "api and worker: apart they run, together they are wanted"
    ]


def test_together_what_the_api_commits_is_published(tmp_path: Path, plain_environ: Mapping[str, str]) -> None:
    only = ("mongod", "kafka", "escrow-api")
    with Stack(tmp_path, only=only, environ=plain_environ, together=True) as running:
        names = [part.name for part in running.state().parts]
        call(running.data, "escrow-api", USER, ["OPS"], ("POST", f"/wallets/{USER}/credit", '{"amount_diamonds": 1}'))
        with pymongo.MongoClient[dict[str, Any]](running.mongo_url) as client:
            outbox, deadline = client["escrow"]["outbox"], time.monotonic() + DEADLINE_SECONDS
            while outbox.count_documents({}):
                assert time.monotonic() < deadline, "not published"
                time.sleep(0.05)
            kept = client["escrow"]["transfers"].count_documents({})

    assert names == ["mongod", "kafka", "escrow-api"]
    assert kept == 1


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ("goals=15", f"a stack has ports for {MORE_WORKERS_MAX} more processes, not 14"),
        ("mongod=2", "no mongod runs here; what runs: goals, escrow"),
        ("shop=2", "no shop runs here"),
        ("goals=0", "'goals=0' is not like goals=2"),
        ("goals", "'goals' is not like goals=2"),
    ],
)
def test_workers_that_cannot_be_are_refused_before_anything_starts(
    tmp_path: Path, devstack: Devstack, workers: str, said: str
) -> None:
    only = ("goals-worker", "escrow-worker")

    up = devstack("up", "--data", tmp_path, "--only", *only, "--workers", workers)

    assert up.returncode != 0
    assert said in up.stderr
    assert "Traceback" not in up.stderr


# -- exec, listen, help ------------------------------------------------------------------------------------------------


def test_exec_runs_a_service_with_the_environment_of_the_stack(escrow: Stack, devstack: Devstack) -> None:
    known = psutil.Process(escrow.process("escrow-api").pid).environ()
    told = escrow.environment_of("escrow")

    parked = devstack("exec", "--data", escrow.data, "escrow", "parked", LEASE_SECONDS="99")

    assert (parked.returncode, parked.stdout, parked.stderr) == (0, "", "")
    assert told["LEASE_SECONDS"] == "7"
    assert {name: known[name] for name in told} == told


def test_exec_ends_as_what_it_runs_ended(escrow: Stack, devstack: Devstack) -> None:
    assert devstack("exec", "--data", escrow.data, "escrow", "no-such-command").returncode != 0
    assert devstack("exec", "--data", escrow.data, "all", "no-such-command").returncode != 0


def test_exec_all_runs_each_service(escrow: Stack, devstack: Devstack) -> None:
    parked = devstack("exec", "--data", escrow.data, "all", "parked")

    assert (parked.returncode, parked.stdout, parked.stderr) == (0, "", "")


def test_exec_of_no_service_names_those_there_are(escrow: Stack, devstack: Devstack) -> None:
    asked = devstack("exec", "--data", escrow.data, "wallet", "parked")

    assert (asked.returncode, asked.stderr) == (1, "devstack: there is no service 'wallet' here; there are: escrow\n")


def test_call_asks_with_a_token_and_shows_status_and_answer(escrow: Stack, devstack: Devstack) -> None:
    def call(*words: str) -> str:
        return devstack("call", "--data", escrow.data, "--part", "escrow-api", *words).stdout

    nobody = call("GET", "/wallets/me")
    wallet = call("--user", USER, "GET", "/wallets/me")
    credited = call("--user", USER, "--scope", "OPS", "POST", f"/wallets/{USER}/credit", '{"amount_diamonds": 5}')

    assert nobody.startswith("401 {")
    assert wallet.startswith("200 {")
    assert USER in wallet
    assert credited.startswith("201 {")


def test_call_past_the_gateway_reaches_every_part_that_speaks_http(escrow: Stack, devstack: Devstack) -> None:
    ready = devstack("call", "--data", escrow.data, "--part", "escrow-worker-2", "GET", "/readyz")
    stranger = devstack("call", "--data", escrow.data, "--part", "wallet", "GET", "/")
    mongod = devstack("call", "--data", escrow.data, "--part", "kafka", "GET", "/")

    assert ready.stdout.startswith("200 {")
    assert stranger.stderr.startswith("devstack: the stack has no 'wallet'; it has mongod,")
    assert (mongod.returncode, mongod.stderr.count("\n")) == (1, 1)


def test_a_client_listens_at_home_and_in_the_streams_it_watches() -> None:
    assert listening.channels(USER, [STREAMER]) == [
        f"private-user@{USER}",
        f"presence-stream@{STREAMER}",
        f"presence-stream-viewer@{STREAMER}.preview.{USER}",
    ]
    assert listening.channels(USER, [USER]) == [
        f"private-user@{USER}",
        f"presence-stream@{USER}",
        f"private-stream@{USER}",
    ]


def test_a_channel_that_is_refused_ends_the_listener_with_the_reason(stack: Stack, devstack: Devstack) -> None:
    """The gateway has nobody behind it here: every channel is refused."""
    heard = devstack("listen", "--data", stack.data, "--user", USER, "--json")

    assert heard.returncode == 1
    assert {json.loads(line)["heard"] for line in heard.stdout.splitlines()} <= {"connected", "refused"}
    assert heard.stderr == f"devstack: private-user@{USER} is not this user's to hear (502)\n"


@pytest.mark.parametrize(
    "words",
    [
        ("stop", "kafka"),
        ("start", "kafka"),
        ("restart", "kafka"),
        ("exec", "escrow", "parked"),
        ("listen", "--user", USER),
        ("call", "GET", "/"),
        ("clock",),
        ("clock", "+5m"),
    ],
)
def test_without_a_stack_each_says_so_in_one_line(tmp_path: Path, devstack: Devstack, words: tuple[str, ...]) -> None:
    asked = devstack(words[0], "--data", tmp_path, *words[1:])

    assert asked.returncode == 1
    assert asked.stderr == f"devstack: no stack runs in {tmp_path}: `devstack up` starts it\n"


def test_help_names_every_command_and_version_the_version(devstack: Devstack) -> None:
    told = devstack("--help").stdout

    for command in (
        "up",
        "down",
        "status",
        "clock",
        "logs",
        "topics",
        "tail",
        "emit",
        "follow",
        "doctor",
        "stop",
        "start",
        "restart",
        "exec",
        "call",
        "token",
        "listen",
    ):
        assert f"\n    {command} " in told
        assert devstack(command, "--help").returncode == 0
    assert devstack("--version").stdout.startswith("devstack ")
