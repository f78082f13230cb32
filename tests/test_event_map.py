"""The event map in docs/, and who reads what, are those that the contracts, the tables and the sources give."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema_rs
import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types
from fastapi import APIRouter

from chassis.service import Service, on
from chassis.storage.tx import Tx
from contracts import GoalEndedV1, GoalLapsedV1

ROOT = Path(__file__).parents[1]
ASYNCAPI_SCHEMA = ROOT / "tests" / "docs" / "asyncapi-3.0.0.schema.json"

PLANTED = {
    "__init__.py": "",
    "handlers.py": """
from contracts import GoalEndedV1, GoalLapsedV1
from contracts.event import SessionEvent
from planted_service.domain import decide

Told = GoalEndedV1 | GoalLapsedV1

async def hear(event: GoalEndedV1, tx: object) -> None:
    context = event.context
    decide(event, [level.target for level in event.levels], context.duration)

async def both(event: Told, tx: object) -> None:
    whose(event)
    list(filter(lambda one: one, [event.kind]))

def whose(event: SessionEvent) -> str:
    return event.streamer_id

def nothing(timer: int) -> int:
    return timer.progress
""",
    "domain.py": """
from contracts import GoalEndedV1, Metadata

def decide(event: "GoalEndedV1 | None", targets: list[int], duration: int | None) -> None:
    agreed((event or event).metadata)

def agreed(metadata: Metadata) -> object:
    return metadata.agreed
""",
}


async def _hear(_event: GoalEndedV1 | GoalLapsedV1, _tx: Tx) -> None:
    """Does nothing."""


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return {name: importlib.import_module(name) for name in ("generate", "readers")}


def test_the_event_map_is_current() -> None:
    told = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert told.returncode == 0, told.stdout + told.stderr


def test_the_asyncapi_document_is_one_by_its_own_schema_and_a_slip_is_none() -> None:
    schema = jsonschema_rs.validator_for(json.loads(ASYNCAPI_SCHEMA.read_text()))
    document = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())

    schema.validate(document)
    document["channels"]["goals"]["adress"] = "goals"
    assert not schema.is_valid(document)


def test_every_message_of_the_asyncapi_document_has_an_example_that_is_valid(scripts: dict[str, ModuleType]) -> None:
    messages = scripts["generate"].asyncapi([])["components"]["messages"]

    for message in messages.values():
        envelope, own_type = message["headers"]["allOf"]
        payload, headers = (
            json.loads((ROOT / "docs" / schema["$ref"]).read_text()) for schema in (message["payload"], envelope)
        )
        for example in message["examples"]:
            for schema, told in ((payload, "payload"), (headers, "headers"), (own_type, "headers")):
                jsonschema_rs.validator_for(schema, validate_formats=True).validate(example[told])
    assert all(message["examples"] for message in messages.values())


def test_a_draft_is_relied_on_by_its_own_service_alone(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (on(GoalLapsedV1, _hear), on(GoalEndedV1, _hear))
    goals, other = (Service(name=name, router=APIRouter(), handlers=rows) for name in ("goals", "escrow"))
    relied: Any = scripts["generate"].drafts_relied_on

    assert relied([goals, other]) == []
    monkeypatch.setattr(GoalLapsedV1, "DRAFT", True)
    assert relied([goals, other]) == ["\n  goal.lapsed.v1: escrow"]


def test_what_a_service_reads_is_found_wherever_it_asks_for_it(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "planted_service"
    package.mkdir()
    for name, text in PLANTED.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = (on(GoalEndedV1, _hear), on(GoalLapsedV1, _hear))

    reads = scripts["readers"].reads_of(Service(name="planted-service", router=APIRouter(), handlers=rows))

    assert reads == {
        "goal.ended.v1": [
            "context.duration",
            "kind",
            "levels[].target",
            "metadata.agreed",
            "session_id",
            "streamer_id",
        ],
        "goal.lapsed.v1": ["kind", "session_id", "streamer_id"],
    }
