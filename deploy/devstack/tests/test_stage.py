"""The stage's server: what it gives to whom, and that it takes no more than it can hold."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devstack.carried import LISTENERS_MAX, WAITING_MAX, Carried
from devstack.downloads import checked_modules
from devstack.stack import Stack
from devstack.stage import PAGES

WAIT_SECONDS = 90.0  # a busy machine
NOBODY = "127.0.0.1:9"  # no Kafka answers there


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, plain_environ: Mapping[str, str]) -> Iterator[httpx.Client]:
    """The stage and the gateway alone."""
    with (
        Stack(tmp_path_factory.mktemp("stage"), only=("stage", "nginx"), environ=plain_environ) as running,
        httpx.Client(base_url=running.gateway, trust_env=False) as http,
    ):
        yield http


def test_the_page_may_speak_to_its_stack_alone_and_runs_nothing_that_stands_in_it(stage: httpx.Client) -> None:
    page = stage.get("/stage", follow_redirects=True)

    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    connects = policy["connect-src"].split(" ")
    assert page.status_code == HTTPStatus.OK
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert connects[0] == "'self'"
    assert [origin.rpartition(":")[0] for origin in connects[1:]] == ["ws://127.0.0.1"]
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("stage.js", "text/javascript"), ("stage.css", "text/css"), ("pusher.js", "text/javascript")],
)
def test_it_serves_its_files(stage: httpx.Client, name: str, content_type: str) -> None:
    answer = stage.get(f"/stage/{name}")

    assert answer.status_code == HTTPStatus.OK
    assert answer.headers["content-type"].startswith(content_type)


def test_what_the_page_runs_is_as_its_types_say(tmp_path: Path) -> None:
    """Of all that stands there TypeScript complains about what is planted, and of nothing else."""
    shutil.copytree(PAGES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "planted.js").write_text('import { find } from "./dom.js";\nfind(1);\nnothing();\n')

    tsc = checked_modules() / "typescript" / "bin" / "tsc"
    command = ("node", tsc, "--project", tmp_path / "jsconfig.json", "--pretty", "false")
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)

    complaints = [line.partition(": ")[0] for line in said.stdout.splitlines() if not line.startswith(" ")]
    assert complaints == ["planted.js(2,6)", "planted.js(3,1)"], said.stdout


@pytest.mark.parametrize(
    "path", ["nothing.js", "jsconfig.json", "../README.md", "..%2f..%2fREADME.md", "%2fetc%2fpasswd"]
)
def test_it_serves_no_other_files(stage: httpx.Client, path: str) -> None:
    assert stage.get(f"/stage/{path}").status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST)


def test_a_name_that_leads_to_this_machine_is_another_site(stage: httpx.Client) -> None:
    for host in ("elsewhere.example", "127.0.0.1.elsewhere.example:80"):
        assert stage.get("/stage/", headers={"Host": host}).status_code == HTTPStatus.MISDIRECTED_REQUEST


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ('{"scopes": [], "diamonds": 0}', "application/json", 201),
        ('{"scopes": ["CREATOR"], "diamonds": 0}', "application/json", 201),
        ('{"scopes": [], "diamonds": 0}', "text/plain", 415),
        ('{"scopes": ["OPS"], "diamonds": 0}', "application/json", 422),
        ('{"scopes": [["CREATOR"]], "diamonds": 0}', "application/json", 422),
        ('{"scopes": [], "diamonds": 100001}', "application/json", 422),
        ('{"scopes": [], "diamonds": -1}', "application/json", 422),
        ('{"scopes": [], "diamonds": true}', "application/json", 422),
        ('{"scopes": []}', "application/json", 422),
        ("[]", "application/json", 422),
        ("{", "application/json", 422),
        (" " * 5_000, "application/json", 413),
        ('{"scopes": [], "diamonds": 1}', "application/json", 502),  # escrow does not run here
    ],
)
def test_it_makes_whom_there_can_be(stage: httpx.Client, body: str, content_type: str, status: int) -> None:
    answer = stage.post("/stage/people", content=body, headers={"Content-Type": content_type})

    assert answer.status_code == status
    if status == HTTPStatus.CREATED:
        assert answer.json().keys() == {"user_id", "token"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"seconds": 60}', 200),
        ('{"seconds": 0}', 422),
        ('{"seconds": -60}', 422),
        ('{"seconds": 3601}', 422),
        ('{"seconds": 1.5}', 422),
        ('{"seconds": true}', 422),
        ('{"seconds": 60, "more": 1}', 422),
        ("[]", 422),
        ("{", 422),
    ],
)
def test_it_lets_time_pass_forward_and_an_hour_at_most(stage: httpx.Client, body: str, status: int) -> None:
    before = stage.get("/stage/clock").json()["ahead_seconds"]

    answer = stage.post("/stage/clock", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status
    passed = stage.get("/stage/clock").json()["ahead_seconds"] - before
    assert passed == (60 if status == HTTPStatus.OK else 0)


def test_a_form_of_another_site_lets_no_time_pass(stage: httpx.Client) -> None:
    answer = stage.post("/stage/clock", content='{"seconds": 60}', headers={"Content-Type": "text/plain"})

    assert answer.status_code == HTTPStatus.UNSUPPORTED_MEDIA_TYPE


async def test_what_kafka_carries_is_told_as_it_comes_without_what_is_in_it_and_goes_on_after_an_outage(
    tmp_path: Path, plain_environ: Mapping[str, str]
) -> None:
    with Stack(tmp_path, only=("kafka", "stage"), environ=plain_environ) as running:
        admin = AIOKafkaAdminClient(bootstrap_servers=running.kafka_bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic("goals", 2, 1)])
        await admin.close()
        async with (
            httpx.AsyncClient(base_url=running.url("stage"), trust_env=False, timeout=WAIT_SECONDS) as http,
            http.stream("GET", "/stage/events") as stream,
        ):
            lines = stream.aiter_lines()
            await reads(lines, "event: listening")
            await carry(running, b"secret")
            told = json.loads((await reads(lines, 'data: {"type"')).removeprefix("data: "))

            before = running.process("kafka").pid
            running.kill("kafka")
            running.wait_ready("kafka", after=before, seconds=WAIT_SECONDS)
            await carry(running, b"again")
            await reads(lines, 'data: {"type"')

    assert told.pop("at_ms") > 0
    assert told == {"type": "goal.ended.v1", "subject": "it", "request": "why", "topic": "goals", "key": "session"}


async def reads(lines: AsyncIterator[str], start: str) -> str:
    """The next line that begins so."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for line in lines:
            if line.startswith(start):
                return line
    raise AssertionError(f"the stream ended before {start!r}")


async def carry(stack: Stack, value: bytes) -> None:
    """Have an event on Kafka."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap)
    async with asyncio.timeout(WAIT_SECONDS), producer:
        headers = [("ce_type", b"goal.ended.v1"), ("ce_subject", b"it"), ("ce_correlationid", b"why")]
        await producer.send_and_wait("goals", value, b"session", headers=headers)


@pytest.mark.parametrize("said", [{}, {"DEVSTACK": ""}, {"DEVSTACK": "false"}])
def test_it_runs_on_a_local_stack_only(said: Mapping[str, str]) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "DEVSTACK"} | {**said}

    started = subprocess.run(
        (sys.executable, "-m", "devstack.stage", "0"),
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert started.returncode == 1
    assert "local stack only" in started.stderr


async def test_no_more_pages_listen_than_it_has_room_for() -> None:
    carried = Carried(NOBODY)
    with ExitStack() as pages:
        given = [pages.enter_context(carried.listener()) for _ in range(LISTENERS_MAX)]
        with carried.listener() as one_more:
            assert one_more is None

    assert None not in given
    with carried.listener() as again:
        assert again is not None


async def test_who_reads_too_slowly_is_cut_and_holds_no_more_than_the_bound() -> None:
    with Carried(NOBODY).listener() as listener:
        assert listener is not None
        for number in range(WAITING_MAX + 5):
            listener.tell(str(number).encode())

        assert [text async for text in listener] == []
