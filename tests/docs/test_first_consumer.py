"""docs/first-consumer.md, done literally: its program against a real broker, its day as an outsider in a branch."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.examples import example

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-consumer.md").read_text()
SUCCEEDED, REVERSED = example("payment.succeeded.v1"), example("payment.reversed.v1")
STREAMER = SUCCEEDED["data"]["streamer_id"]
PAID, BACK = SUCCEEDED["data"]["amount_diamonds"], REVERSED["data"]["amount_diamonds"]
SECONDS = 60


def blocks(language: str) -> list[str]:
    """The blocks of one language, but for those that the page excuses."""
    found = re.findall(rf"(-->\n)?^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for excused, text in found if not excused]


@pytest.fixture
async def producer(servers: Any) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap) as started:
        yield started


@pytest.fixture
async def topic(servers: Any, namespace: str) -> str:
    name = f"{namespace}-escrow"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=1)])
    await admin.close()
    return name


@contextmanager
def billing(program: Path, kafka_bootstrap: str, topic: str) -> Iterator[Path]:
    """The program while the block runs, and where it says what it has; then it is killed."""
    said = program.with_suffix(f".{time.monotonic_ns()}.log")
    environ = {"KAFKA_BOOTSTRAP": kafka_bootstrap, "TOPIC": topic, "BOOKS": str(program.with_suffix(".sqlite"))}
    with said.open("w") as out:
        running = subprocess.Popen(
            [sys.executable, str(program)], cwd=ROOT, env={**os.environ, **environ}, stdout=out, stderr=out
        )
    try:
        yield said
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def until_it_says(said: Path, what: str) -> None:
    until = time.monotonic() + SECONDS
    while what not in said.read_text():
        assert time.monotonic() < until, f"it never said {what}, but:\n{said.read_text()}"
        time.sleep(0.05)


async def tell(producer: AIOKafkaProducer, topic: str, *messages: Sequence[object]) -> None:
    for record, event_id in messages:
        assert isinstance(record, dict)
        headers = {**record["headers"], "ce_id": event_id}
        await producer.send_and_wait(
            topic,
            json.dumps(record["data"]).encode(),
            key=record["key"].encode(),
            headers=[(name, str(value).encode()) for name, value in headers.items()],
        )


async def test_the_program_counts_each_payment_once_though_it_is_killed(
    servers: Any, topic: str, producer: AIOKafkaProducer, tmp_path: Path
) -> None:
    program = tmp_path / "billing.py"
    (text,) = blocks("python")
    program.write_text(text)
    held = example("escrow.held.v1")
    tomorrow = {**held, "headers": {**held["headers"], "ce_type": "escrow.dreamt.v1"}}

    await tell(producer, topic, (SUCCEEDED, "1"), (held, "2"), (tomorrow, "3"), (SUCCEEDED, "1"), (SUCCEEDED, "4"))
    with billing(program, servers.kafka_bootstrap, topic) as said:
        until_it_says(said, f"('{STREAMER}', {2 * PAID})")
    await tell(producer, topic, (SUCCEEDED, "4"), (REVERSED, "5"), (REVERSED, "5"), (SUCCEEDED, "6"))
    with billing(program, servers.kafka_bootstrap, topic) as said:
        until_it_says(said, f"('{STREAMER}', {3 * PAID - BACK})")


def test_an_outsider_is_kept_whole_and_named_by_the_gate(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(checkout)], check=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PYTHONPATH": str(checkout / "libs" / "contracts" / "src"), "PATH": path}
    typed, answers = blocks("sh"), blocks("text")

    for commands, answer, status in zip(typed, answers, (0, 1), strict=True):
        done = subprocess.run(
            ["bash", "-c", commands],
            cwd=checkout,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        said, place = done.stdout, 0
        assert done.returncode == status, said
        for line in answer.splitlines():
            found = re.compile(re.escape(line).replace("…", ".*")).search(said, place)
            assert found, f"{line!r} was not said, but:\n{said}"
            place = found.end()
