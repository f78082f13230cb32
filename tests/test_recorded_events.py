"""What was recorded, as every released state of its schema would have carried it, is heard by today's consumers."""

import importlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from chassis.errors import NotYet, Refusal
from chassis.service import Service
from chassis_testing.service import ServiceHarness
from contracts import REGISTRY, Event, attributes_of, event_of
from contracts.examples import example
from contracts.released import State, read_record, state_of
from contracts.schemas import HOME, schema_of

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("services/*/src/*/service.py"))
EXPECTED = NotYet | Refusal
"""Who waits for what comes later, or has nothing that it is about, says so; nothing else may go wrong."""
HarnessOf = Callable[..., Awaitable[ServiceHarness]]


def told_in(state: State, data: dict[str, Any]) -> dict[str, Any]:
    """The data as a publisher of that state told it: without the fields that came later."""
    known: Any = state.schema
    told: dict[str, Any] = _known(known, data, known.get("$defs", {}))
    return told


def _known(schema: Any, value: Any, parts: Any) -> Any:
    if "$ref" in schema:
        schema = parts[schema["$ref"].removeprefix("#/$defs/")]
    if isinstance(value, dict):
        fields = schema["properties"]
        return {name: _known(fields[name], one, parts) for name, one in value.items() if name in fields}
    if isinstance(value, list) and "items" in schema:
        return [_known(schema["items"], one, parts) for one in value]
    return value


def states(type_: str) -> list[State]:
    """Every state that it was released in; a draft's own, as services may rely on it while it is one."""
    recorded = [state for state in read_record(HOME / "released").values() if state.type == type_]
    return recorded or [state_of(schema_of(REGISTRY[type_]))]


def messages(type_: str) -> list[Event]:
    """The recorded message in each of them, as it is read today."""
    record = example(type_)
    attributes = attributes_of([(name, value.encode()) for name, value in record["headers"].items()])
    read = []
    for state in states(type_):
        told = told_in(state, record["data"])
        jsonschema_rs.validator_for(state.schema, validate_formats=True).validate(told)
        read.append(event_of(attributes, json.dumps(told).encode(), record["key"].encode()))
    return read


@pytest.mark.parametrize("type_", sorted(REGISTRY))
def test_what_was_ever_released_is_read_today(type_: str) -> None:
    assert all(type(event) is REGISTRY[type_] for event in messages(type_))


@pytest.mark.parametrize("package", PACKAGES)
async def test_what_was_ever_released_is_handled_by_who_listens_to_it_today(
    package: str, harness_of: HarnessOf
) -> None:
    service: Service = importlib.import_module(f"{package}.service").SERVICE
    harness = await harness_of(service)
    heard = [event for type_ in sorted(REGISTRY) if harness.listens_to(REGISTRY[type_]) for event in messages(type_)]

    failures = await harness.try_handle(*heard, apart=True)

    assert heard
    assert {repr(failure) for failure in failures if not isinstance(failure, EXPECTED | None)} == set()
