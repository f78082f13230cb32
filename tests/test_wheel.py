"""The wheel of the contracts, as an outside team gets it: schemas and examples are in it, and its command answers."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from contracts import REGISTRY
from contracts.headers import ENVELOPE

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    subprocess.run((*pip, "--wheel-dir", str(folder), str(ROOT / "libs" / "contracts")), check=True)
    (wheel,) = folder.glob("footlights_contracts-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_it_carries_every_schema_and_an_example_of_every_event(unpacked: Path) -> None:
    wire = unpacked / "contracts" / "wire"

    assert {path.stem for path in (wire / "schemas").iterdir()} == {*REGISTRY, ENVELOPE}
    assert {path.stem for path in (wire / "examples").iterdir()} == REGISTRY.keys()
    assert not (unpacked / "tests").exists()


def test_its_command_answers_where_there_is_no_checkout(unpacked: Path, tmp_path: Path) -> None:
    def contracts(*arguments: str) -> str:
        text = f"import sys; sys.path.insert(0, {str(unpacked)!r}); from contracts.__main__ import main; "
        command = (sys.executable, "-c", f"{text}sys.exit(main({list(arguments)!r}))")
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    assert json.loads(contracts("example", "goal.ended.v1"))["data"]["outcome"] == "agreed"
    assert json.loads(contracts("show", "goal.ended.v1"))["x-type"] == "goal.ended.v1"
    (tmp_path / "billing.json").write_text(
        json.dumps({"consumer": "billing", "contact": "b@example.org", "reads": {"goal.ended.v1": ["outcome"]}})
    )
    assert "is there" in contracts("verify", "billing.json")
