"""Who reads what is held against what is published, and the command line that outsiders run in their own CI."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts import REGISTRY
from contracts.__main__ import main
from contracts.consumers import read_consumers, unkept
from contracts.schemas import HOME, all_schemas

READS: dict[str, list[str]] = {
    "goal.ended.v1": ["outcome", "metadata.agreed", "levels[].target"],
    "session.started.v1": ["prices.sd", "sources[].preset", "exclusive_to"],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "billing.json"


def write(file: Path, reads: dict[str, list[str]], **more: Any) -> str:
    file.write_text(json.dumps({"consumer": "billing", "contact": "billing@example.org", "reads": reads, **more}))
    return str(file)


def test_every_consumer_here_gets_what_it_reads() -> None:
    schemas = all_schemas()

    assert {consumer.name: unkept(consumer, schemas) for consumer in read_consumers(HOME / "consumers")} == {
        path.stem: [] for path in (HOME / "consumers").glob("*.json")
    }


def test_what_a_team_reads_is_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", write(file, READS)]) == 0
    assert "billing: all that it reads of 2 events is there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reads", "line"),
    [
        ({"goal.won.v1": ["outcome"]}, "goal.won.v1: there is no such event"),
        ({"goal.ended.v1": ["result"]}, "goal.ended.v1: there is no field result"),
        ({"goal.ended.v1": ["metadata.title"]}, "goal.ended.v1: there is no field metadata.title"),
        ({"goal.ended.v1": ["levels.target"]}, "goal.ended.v1: there is no field levels.target"),
        ({"goal.ended.v1": ["outcome[]"]}, "goal.ended.v1: there is no field outcome[]"),
        ({"goal.ended.v1": ["outcome.title"]}, "goal.ended.v1: there is no field outcome.title"),
    ],
)
def test_what_nobody_promises_is_named(
    file: Path, reads: dict[str, list[str]], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", write(file, READS | reads)]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == [f"  {line}"]


def test_a_file_that_says_something_else_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", write(file, READS, version=2)]) == 2
    assert "version" in capsys.readouterr().err
    assert main(["verify", str(file.with_name("none.json"))]) == 2


def test_every_event_is_listed_and_shown_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == sorted(REGISTRY)

    for type_ in REGISTRY:
        assert main(["show", type_]) == 0
        assert json.loads(capsys.readouterr().out)["x-type"] == type_
        assert main(["example", type_]) == 0
        assert json.loads(capsys.readouterr().out)["headers"]["ce_type"] == type_


@pytest.mark.parametrize("command", ["show", "example"])
def test_an_event_that_there_is_not_is_said(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "goal.won.v1"]) == 2
    assert "there is no goal.won.v1" in capsys.readouterr().err
