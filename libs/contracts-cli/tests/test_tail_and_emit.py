"""`contracts tail` and `contracts emit` on a real broker, and what they refuse."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts import attributes_of, event_of
from contracts_cli.emit import COUNT_MAX, made, message_of
from contracts_cli.tail import moment

SESSION = "b" * 24
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
async def contracts(servers: Any, namespace: str) -> Run:
    """The command, on topics of its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka_bootstrap)
    await admin.start()
    topics = [NewTopic(f"{namespace}-{topic}", num_partitions=3, replication_factor=1) for topic in ("goals", "escrow")]
    await admin.create_topics(topics)
    await admin.close()
    environ = {**os.environ, "KAFKA_BOOTSTRAP": servers.kafka_bootstrap, "NAMESPACE": namespace}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = (str(Path(sys.executable).parent / "contracts"), *arguments)
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)

    return run


async def test_what_was_emitted_is_seen_by_type_by_session_and_since(contracts: Run) -> None:
    sent = contracts("emit", "goal.ended.v1", "--set", f"session_id={SESSION}", "--set", "outcome=refused")
    assert (sent.returncode, sent.stderr) == (0, "")
    assert contracts("emit", "goal.lapsed.v1", "--count", "20").returncode == 0
    assert contracts("emit", "escrow.settled.v1", "--set", f"session_id={SESSION}").returncode == 0

    def seen(*arguments: str) -> list[Any]:
        shown = contracts("tail", "--to-now", "--json", *arguments)
        assert shown.returncode == 0, shown.stderr
        return [json.loads(line) for line in shown.stdout.splitlines()]

    everything = seen("--since", "1h")
    assert len(everything) == len({told["headers"]["ce_id"] for told in everything}) == 22
    assert {told["headers"]["ce_type"] for told in seen("--since", "1h", "--type", "goal.*")} == {
        "goal.ended.v1",
        "goal.lapsed.v1",
    }
    ended, settled = seen("--since", "1h", "--session", SESSION)
    assert (ended["data"]["outcome"], ended["key"], settled["topic"]) == ("refused", SESSION, "escrow")
    assert seen("--since", (datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []
    assert seen() == []


async def test_people_read_a_line_for_each_and_why_one_cannot_be_read(
    contracts: Run, servers: Any, namespace: str
) -> None:
    assert contracts("emit", "goal.lapsed.v1").returncode == 0
    async with AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap) as producer:
        await producer.send_and_wait(f"{namespace}-goals", b"\x1b[2J no JSON", key=b"k", headers=[("ce_type", b"odd")])

    shown = contracts("tail", "--to-now", "--since", "1h")

    lapsed, odd = shown.stdout.splitlines()
    assert "goal.lapsed.v1" in lapsed
    assert "✗" not in lapsed
    assert "odd" in odd
    assert "✗ ce_specversion is missing" in odd
    assert "\x1b" not in odd


async def test_what_would_not_be_valid_is_not_sent(contracts: Run) -> None:
    for assignment, why in (
        ("session_id=no", "goal.lapsed.v1 would not be valid: session_id: String should match"),
        ("weather=fine", "there is no field weather"),
        ("context.duration=1", "there is no field context.duration"),
    ):
        told = contracts("emit", "goal.lapsed.v1", "--set", assignment)
        assert (told.returncode, why in told.stderr) == (1, True), told.stderr
    assert contracts("emit", "goal.dreamt.v1").returncode == 2
    assert contracts("tail", "--to-now", "--since", "1h").stdout == ""


def test_it_does_not_write_to_another_machine_unless_told(contracts: Run) -> None:
    told = contracts("emit", "goal.lapsed.v1", "--bootstrap", "kafka.example.org:9092")

    assert (told.returncode, told.stderr) == (
        1,
        "contracts: kafka.example.org:9092 is not this machine; give --anywhere if you mean it\n",
    )


def test_the_rest_is_answered_without_a_broker(contracts: Run) -> None:
    assert "goal.ended.v1" in contracts("list").stdout
    assert json.loads(contracts("example", "goal.ended.v1").stdout)["topic"] == "goals"
    assert contracts("show", "goal.dreamt.v1").returncode == 2


async def test_where_there_is_nothing_to_read_it_says_so(contracts: Run) -> None:
    elsewhere = contracts("tail", "--namespace", "nobody", "--to-now")
    nobody = contracts("tail", "--bootstrap", "127.0.0.1:1", "--to-now")

    assert (elsewhere.returncode, "none of our topics" in elsewhere.stderr) == (1, True)
    assert nobody.returncode == 1
    assert "Traceback" not in nobody.stderr


def test_a_moment_is_a_while_ago_or_an_instant_with_its_offset() -> None:
    ago = moment("10m")

    assert datetime.now(UTC) - ago >= timedelta(minutes=10)
    assert moment("2026-11-21T20:00:00Z") == datetime(2026, 11, 21, 20, tzinfo=UTC)
    for wrong in ("yesterday", "2026-11-21T20:00:00", "-5m"):
        with pytest.raises(argparse.ArgumentTypeError):
            moment(wrong)


def test_an_emitted_message_is_what_its_owner_would_send() -> None:
    event = made("goal.ended.v1", [(["context", "duration"], 60)])
    message = message_of(event)
    attributes = attributes_of(message.headers)

    assert event_of(attributes, message.value, message.key) == event
    assert attributes.source == "/footlights/goals"
    assert message_of(event).headers != message.headers
    assert COUNT_MAX > 1_000
