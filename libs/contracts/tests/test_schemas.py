"""The committed schemas are what the classes say, and the check that keeps them so has been seen to fail."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts import REGISTRY
from contracts.schemas import SCHEMAS, main

ENDED, DRAFT = "goal.ended.v1", "rtc.snapshot_changed.v1"
Plant = Callable[[str, Callable[[dict[str, Any]], object]], None]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    assert main(["--dir", str(tmp_path)]) == 0
    return tmp_path


@pytest.fixture
def plant(written: Path) -> Plant:
    """Change one written schema, as if the class had been different when it was released."""

    def change(type_: str, edit: Callable[[dict[str, Any]], object]) -> None:
        path = written / f"{type_}.json"
        schema = json.loads(path.read_text())
        edit(schema)
        path.write_text(json.dumps(schema))

    return change


def test_the_committed_schemas_are_those_of_the_classes() -> None:
    assert main(["--check"]) == 0
    assert {path.stem for path in SCHEMAS.glob("*.json")} == REGISTRY.keys()


def test_what_was_written_is_not_stale(written: Path) -> None:
    assert main(["--check", "--dir", str(written)]) == 0


def test_a_stale_file_fails_the_check_and_is_mended_by_writing(
    written: Path, plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(ENDED, lambda schema: schema.update(description="An older sentence."))
    (written / "goal.created.v1.json").unlink()

    assert main(["--check", "--dir", str(written)]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["  goal.created.v1", "  goal.ended.v1"]

    assert main(["--dir", str(written)]) == 0
    assert main(["--check", "--dir", str(written)]) == 0


def test_a_field_that_was_added_as_optional_is_only_stale(
    written: Path, plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant("goal.extended.v1", lambda schema: schema["properties"].pop("payment_id"))

    assert main(["--check", "--dir", str(written)]) == 1
    assert "stale" in capsys.readouterr().err
    assert main(["--dir", str(written)]) == 0


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda schema: schema["properties"].update(gone={"type": "string"}), "data.gone was removed"),
        (lambda schema: schema["required"].remove("ended_at"), "data.ended_at is required now"),
        (lambda schema: schema["properties"]["progress"].update(type="number"), "data.progress: type was"),
        (lambda schema: schema["properties"]["outcome"]["enum"].remove("agreed"), "data.outcome: enum was"),
        (lambda schema: schema["$defs"]["Context"]["required"].append("session_id"), "data.context.session_id is no"),
        (lambda schema: schema.update({"x-key": "goal_id"}), "data: x-key was 'goal_id', is 'session_id'"),
    ],
)
def test_a_released_event_that_changed_otherwise_fails_and_nothing_is_written(
    written: Path,
    plant: Plant,
    capsys: pytest.CaptureFixture[str],
    edit: Callable[[dict[str, Any]], object],
    line: str,
) -> None:
    plant(ENDED, edit)
    before = (written / f"{ENDED}.json").read_text()

    for arguments in (["--check", "--dir", str(written)], ["--dir", str(written)]):
        assert main(arguments) == 1
        assert f"{ENDED}: {line}" in capsys.readouterr().err
    assert (written / f"{ENDED}.json").read_text() == before


def test_a_change_is_caught_against_the_base_although_its_files_were_written(
    written: Path, plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(ENDED, lambda schema: schema["required"].remove("ended_at"))

    assert main(["--check"]) == 0
    assert main(["--check", "--base", str(written)]) == 1
    assert f"{ENDED}: data.ended_at is required now" in capsys.readouterr().err


def test_a_released_event_can_neither_go_nor_become_a_draft_again(
    written: Path, plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(DRAFT, lambda schema: schema.update({"x-draft": False}))
    (written / "goal.won.v1.json").write_text((written / f"{ENDED}.json").read_text())

    assert main(["--check", "--dir", str(written)]) == 1
    refusal = capsys.readouterr().err
    assert "goal.won.v1 was removed" in refusal
    assert f"{DRAFT} is a draft again" in refusal


def test_a_draft_may_change_and_go(written: Path, plant: Plant) -> None:
    plant(DRAFT, lambda schema: schema["properties"].update(gone={"type": "string"}))
    (written / "goal.won.v1.json").write_text((written / f"{DRAFT}.json").read_text())

    assert main(["--dir", str(written)]) == 0
    assert not (written / "goal.won.v1.json").exists()


def test_the_command_exits_with_what_it_found(written: Path, plant: Plant) -> None:
    command = [sys.executable, "-m", "contracts.schemas", "--check", "--dir", str(written)]
    assert subprocess.run(command, check=False).returncode == 0

    plant(ENDED, lambda schema: schema["required"].remove("ended_at"))

    failed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "a released event is never edited" in failed.stderr
