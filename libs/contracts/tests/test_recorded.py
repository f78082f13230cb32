"""Recordings are added once and never edited: what was ever published must always read back."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts import REGISTRY, attributes_of, event_of, to_message

RECORDED = Path(__file__).parent / "recorded"


def recorded(type_: str) -> Any:
    return json.loads((RECORDED / f"{type_}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("type_", sorted(REGISTRY))
def test_a_recorded_message_reads_back_and_is_written_the_same(type_: str) -> None:
    record = recorded(type_)
    attributes = attributes_of([(name, value.encode()) for name, value in record["headers"].items()])

    event = event_of(attributes, json.dumps(record["data"]).encode(), record["key"].encode())

    message = to_message(event, attributes)
    assert type(event) is REGISTRY[type_]
    assert message.topic == record["topic"]
    assert message.key.decode() == record["key"]
    assert {name: value.decode() for name, value in message.headers} == record["headers"]
    assert json.loads(message.value) == record["data"]


def test_there_is_no_recording_of_an_event_that_is_gone() -> None:
    assert {path.stem for path in RECORDED.glob("*.json")} == REGISTRY.keys()
