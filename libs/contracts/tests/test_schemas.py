"""The committed schemas are what the classes say, and the record has all that was ever released."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts import REGISTRY
from contracts.headers import ENVELOPE
from contracts.released import INDEX, history, read_record, state_of
from contracts.schemas import HOME, SCHEMAS, all_schemas, main

ENDED, EXTENDED = "goal.ended.v1", "goal.extended.v1"
Plant = Callable[[str, Callable[[dict[str, Any]], object]], None]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    assert main(["--home", str(tmp_path)]) == 0
    return tmp_path


@pytest.fixture
def plant(home: Path) -> Plant:
    """Change one written schema and nothing else, as if the class had been different when it was written."""

    def change(type_: str, edit: Callable[[dict[str, Any]], object]) -> None:
        path = home / "schemas" / f"{type_}.json"
        schema = json.loads(path.read_text())
        edit(schema)
        path.write_text(json.dumps(schema))

    return change


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_committed_schemas_are_those_of_the_classes_and_the_record_has_them() -> None:
    assert main(["--check"]) == 0
    assert {path.stem for path in SCHEMAS.glob("*.json")} == {*REGISTRY, ENVELOPE}


def test_what_was_written_is_neither_stale_nor_missing_in_the_record(home: Path) -> None:
    assert main(["--check", "--home", str(home)]) == 0


def test_a_stale_file_fails_the_check_and_is_mended_by_writing(
    home: Path, plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(ENDED, lambda schema: schema.update(description="An older sentence."))
    (home / "schemas" / "goal.created.v1.json").unlink()

    assert main(["--check", "--home", str(home)]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["  goal.created.v1", "  goal.ended.v1"]

    assert main(["--home", str(home)]) == 0
    assert main(["--check", "--home", str(home)]) == 0


def test_a_field_that_was_added_as_optional_is_only_stale_and_then_on_record(
    home: Path, plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(home / "released")
    plant(EXTENDED, lambda schema: schema["properties"].pop("payment_id"))
    before = state_of(json.loads((home / "schemas" / f"{EXTENDED}.json").read_text()))

    assert main(["--check", "--home", str(home)]) == 1
    assert "stale" in capsys.readouterr().err
    assert main(["--home", str(home)]) == 0
    record = read_record(home / "released")
    assert {before.name, state_of(all_schemas()[EXTENDED]).name} <= record.keys()
    assert main(["--check", "--home", str(home)]) == 0


def test_what_is_released_and_not_on_record_fails_the_check(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(home / "released")

    assert main(["--check", "--home", str(home)]) == 1
    assert "not in the record yet; run `make generate`" in capsys.readouterr().err


@pytest.mark.parametrize("deed", ["edit", "delete", "unlist"])
def test_the_record_is_neither_edited_nor_cut(home: Path, deed: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = state_of(all_schemas()[ENDED]).name
    path, index = home / "released" / name, home / "released" / INDEX
    match deed:
        case "edit":
            path.write_text(path.read_text().replace('"ended_at"', '"ended"'))
        case "delete":
            path.unlink()
        case _:
            index.write_text(index.read_text().replace(f"{name}\n", ""))
    before = files(home)

    for arguments in (["--check", "--home", str(home)], ["--home", str(home)]):
        assert main(arguments) == 1
        refusal = capsys.readouterr().err
        assert "the record of what was released is only added to" in refusal
        assert name in refusal
    assert files(home) == before


def test_the_order_and_the_wording_of_a_schema_make_no_new_state() -> None:
    schema = all_schemas()[ENDED]
    reworded = {**dict(reversed(schema.items())), "description": "Other words.", "required": schema["required"][::-1]}

    assert state_of(reworded).name == state_of(schema).name


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(home: Path) -> Path:
    """A repository in which goal.ended had a field that it does not have any more, before 2.0.0 another one."""
    git(home, "init", "-q")
    path = home / "schemas" / f"{ENDED}.json"
    released = path.read_text()
    for version, field in (("1.0.0", "forgotten"), ("2.1.0", "promised")):
        schema = json.loads(released)
        schema["properties"][field] = {"type": "string"}
        path.write_text(json.dumps(schema))
        (home / "pyproject.toml").write_text(f'[project]\nname = "contracts"\nversion = "{version}"\n')
        git(home, "add", "-A", "schemas", "pyproject.toml")
        git(home, "commit", "-qm", version)
    path.write_text(released)
    git(home, "add", "-A", "schemas")
    git(home, "commit", "-qm", "a promise is broken, and so that nobody sees it, without the record")
    return home


def test_a_promise_that_only_git_remembers_is_kept_too(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--home", str(repository)]) == 1

    refusal = capsys.readouterr().err
    assert "data.promised was removed" in refusal
    assert "forgotten" not in refusal, "promises begin with 2.0.0"


def test_a_shallow_clone_and_an_archive_know_what_the_record_knows(repository: Path, tmp_path_factory: Any) -> None:
    clone, archive = tmp_path_factory.mktemp("shallow") / "clone", tmp_path_factory.mktemp("archive")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "with its record")
    git(repository, "clone", "-q", "--depth", "1", repository.as_uri(), str(clone))
    shutil.copytree(repository, archive, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))

    for checkout in (clone, archive):
        assert read_record(checkout / "released") == read_record(repository / "released")
        assert main(["--check", "--home", str(checkout)]) == 0
    assert history(archive / "schemas") is None


def test_the_record_of_this_repository_has_what_its_history_has() -> None:
    known = history(SCHEMAS)

    assert known is None or known.keys() <= read_record(HOME / "released").keys()


def test_the_command_exits_with_what_it_found(home: Path, plant: Plant) -> None:
    command = [sys.executable, "-m", "contracts.schemas", "--check", "--home", str(home)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0

    plant(ENDED, lambda schema: schema["required"].remove("ended_at"))

    failed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "A released event is never edited" in failed.stderr
