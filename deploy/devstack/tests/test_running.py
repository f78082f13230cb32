"""What a running stack promises."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import psutil
import pytest
from pymongo import AsyncMongoClient

from devstack.process import FILES_MAX
from devstack.settings import BASE_VARIABLES
from devstack.stack import Stack
from devstack.tokens import DEMO_KEYS

Devstack = Callable[..., subprocess.CompletedProcess[str]]

USER = "0123456789abcdef01234567"
SERVERS = ("mongod", "kafka", "soketi", "nginx")


def test_a_second_up_with_the_same_settings_is_content(stack: Stack, devstack: Devstack) -> None:
    before = stack.status()["processes"]

    again = devstack("up", "--data", stack.data, "--only", *SERVERS, STEP_SECONDS="7")

    assert again.returncode == 0, again.stderr
    assert stack.status()["processes"] == before


def test_a_second_up_with_other_settings_says_what_differs(stack: Stack, devstack: Devstack) -> None:
    again = devstack("up", "--data", stack.data, "--only", "mongod", STEP_SECONDS="8", LOG_LEVEL="DEBUG")

    assert again.returncode == 1
    assert "parts: mongod, kafka, soketi, nginx run, mongod are wanted" in again.stderr
    assert "STEP_SECONDS: '7' runs, '8' is wanted" in again.stderr
    assert "LOG_LEVEL: (not set) runs, 'DEBUG' is wanted" in again.stderr


def test_a_second_up_does_not_move_the_ports(stack: Stack, devstack: Devstack) -> None:
    again = devstack("up", "--data", stack.data, "--only", *SERVERS, "--port-base", "19000", STEP_SECONDS="7")

    assert again.returncode == 1
    assert "port base" in again.stderr


def test_status_lists_every_listening_socket_and_all_are_on_loopback(stack: Stack, devstack: Devstack) -> None:
    status = json.loads(devstack("status", "--data", stack.data, "--json").stdout)

    listed = {listener for process in status["processes"] for listener in process["listens"]}
    family = psutil.Process(status["supervisor"]).children(recursive=True)
    found = {
        ":".join(map(str, tuple(connection.laddr)))
        for process in (psutil.Process(status["supervisor"]), *family)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listed == found
    assert len(listed) == 6  # mongod, Kafka's two, soketi's two, the gateway
    assert all(listener.startswith("127.0.0.1:") for listener in listed)
    assert sorted(child.pid for child in family) == sorted(process["pid"] for process in status["processes"])


def test_status_says_where_everything_is(stack: Stack, devstack: Devstack) -> None:
    status = json.loads(devstack("status", "--data", stack.data, "--json").stdout)

    assert status["gateway"].startswith("http://127.0.0.1:")
    assert status["mongo_url"].startswith("mongodb://127.0.0.1:")
    assert {"host", "port", "app_id", "key", "secret"} == set(status["pusher"])
    assert all(process["state"] == "ready" for process in status["processes"])
    for line in (status["gateway"], status["mongo_url"], status["kafka_bootstrap"]):
        assert line in devstack("status", "--data", stack.data).stdout


@pytest.mark.parametrize("name", ["soketi", "nginx", "mongod"])
def test_a_part_that_dies_is_started_again_and_said_so(stack: Stack, devstack: Devstack, name: str) -> None:
    before = stack.state().part(name)
    pid = stack.process(name).pid

    stack.kill(name)

    stack.wait_ready(name, after=pid)
    assert stack.state().part(name).restarts == before.restarts + 1
    assert f"{name} died (by SIGKILL)" in devstack("logs", "supervisor", "--data", stack.data).stdout


def test_a_part_can_be_stopped_and_started(stack: Stack) -> None:
    stack.stop_part("soketi")
    assert stack.state().part("soketi").state == "stopped"
    assert stack.state().part("soketi").process is None

    stack.start_part("soketi")

    assert stack.state().part("soketi").state == "ready"


def test_what_is_given_to_one_process_is_not_given_to_the_next(stack: Stack) -> None:
    stack.restart_part("soketi", {"FAULT_PLAN": "demo"})
    process = stack.process("soketi")
    assert psutil.Process(process.pid).environ()["FAULT_PLAN"] == "demo"

    stack.kill("soketi")
    stack.wait_ready("soketi", after=process.pid)

    assert "FAULT_PLAN" not in psutil.Process(stack.process("soketi").pid).environ()


def test_a_server_is_told_nothing_of_the_environment_of_up_but_what_any_process_needs(stack: Stack) -> None:
    """What a service is told is `tests/test_variables.py`."""
    told = {"soketi": {"NODE_PATH", "AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE"}}

    for name in SERVERS:
        environ = psutil.Process(stack.process(name).pid).environ()
        assert environ.keys() - BASE_VARIABLES == told.get(name, set())
        assert environ["PATH"]


def test_who_may_open_few_files_has_servers_that_may_open_many(tmp_path: Path, devstack: Devstack) -> None:
    up = ("bash", "-c", 'ulimit -Sn 512 && exec "$@"', "bash", sys.executable, "-m", "devstack", "up")
    subprocess.run((*up, "--data", tmp_path, "--only", "mongod"), check=True, capture_output=True, timeout=120)
    try:
        mongod = psutil.Process(Stack(tmp_path, only=("mongod",)).process("mongod").pid)
        soft, hard = mongod.rlimit(psutil.RLIMIT_NOFILE)
    finally:
        devstack("down", "--data", tmp_path)

    assert soft == (FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX))


async def test_mongod_is_a_replica_set_that_soon_frees_frozen_locks_and_what_is_deleted(stack: Stack) -> None:
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(stack.mongo_url)

    async with client:
        wanted: dict[str, Any] = {"transactionLifetimeLimitSeconds": 5, "minSnapshotHistoryWindowInSeconds": 5}
        parameters = await client.admin.command("getParameter", 1, **wanted)

        assert {name: parameters[name] for name in wanted} == wanted
        assert (await client.admin.command("hello"))["setName"] == "footlights"


def test_topics_shows_none_on_a_fresh_broker_and_none_is_made_by_asking(stack: Stack, devstack: Devstack) -> None:
    shown = devstack("topics", "--data", stack.data)

    assert (shown.returncode, shown.stdout) == (0, "")


def test_a_token_is_what_spec_2_says_and_nothing_else_is_printed(stack: Stack, devstack: Devstack) -> None:
    made = devstack("token", "--data", stack.data, "--user", USER, "--scope", "CREATOR", "--scope", "OPS")

    key = next(iter(json.loads(DEMO_KEYS).values()))
    claims = jwt.decode(made.stdout.strip(), key["key"], ["HS256"], audience="footlights", issuer="footlights")
    assert claims["sub"] == USER
    assert claims["scopes"] == ["CREATOR", "OPS"]
    assert {"iat", "nbf", "exp", "jti", "version"} < set(claims)
    assert set(claims["metadata"]) == {"fingerprint", "flavor", "original"}
    assert set(claims["metadata"]["original"]) == {"iat", "method"}
    assert made.stdout.count("\n") == 1
    assert made.stderr == ""


def test_a_token_costs_less_than_300_ms(stack: Stack) -> None:
    command = (Path(sys.executable).parent / "devstack", "token", "--data", stack.data, "--user", USER)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    subprocess.run(command, check=True, capture_output=True)

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time: it waits for nothing, and other tests may have the processors.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


@pytest.mark.parametrize("keys", ["{", "{}", "[]", '{"a": {}}', '{"a": {"alg": "RS256", "key": "k"}}'])
def test_a_key_that_signs_no_token_is_refused_in_one_line(tmp_path: Path, devstack: Devstack, keys: str) -> None:
    made = devstack("token", "--data", tmp_path, "--user", USER, JWT_KEYS=keys)

    assert (made.returncode, made.stdout, made.stderr.count("\n")) == (1, "", 1)
    assert made.stderr.startswith("devstack: ")


def test_another_pusher_is_refused_in_one_line_that_shows_no_secret(tmp_path: Path, devstack: Devstack) -> None:
    made = devstack("up", "--data", tmp_path, PUSHER_KEYS='{"mine": "hush"}', PUSHER_HOST="api-eu.pusher.com")

    assert (made.returncode, made.stdout) == (1, "")
    assert len(made.stderr.splitlines()) == 1
    assert "PUSHER_HOST, PUSHER_KEYS" in made.stderr
    assert "hush" not in made.stderr


def test_a_token_for_nobody_is_refused_in_one_line(devstack: Devstack) -> None:
    made = devstack("token", "--user", "me")

    assert made.returncode == 1
    assert made.stdout == ""
    assert made.stderr == "devstack: --user must be 24 lower-case hex digits, not 'me'\n"
