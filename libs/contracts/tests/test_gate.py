"""The gate, seen to refuse: each break is planted in a copy of the classes, and the copy's own command must name it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from contracts.schemas import HOME

BILLING = {
    "consumer": "billing",
    "contact": "billing@example.org",
    "reads": {"goal.ended.v1": ["outcome", "metadata.agreed"], "goal.lapsed.v1": ["reason"]},
}


class Tree(NamedTuple):
    """A copy of this library, with nothing of its history."""

    home: Path

    def edit(self, module: str, old: str, new: str) -> None:
        path = self.home / "src" / "contracts" / f"{module}.py"
        text = path.read_text()
        assert text.count(old) >= 1, f"{module} has no {old!r} any more"
        path.write_text(text.replace(old, new))

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "contracts.schemas", *arguments],
            env={**os.environ, "PYTHONPATH": str(self.home / "src")},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    for folder in ("src", "schemas", "released", "consumers"):
        shutil.copytree(HOME / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "consumers" / "billing.json").write_text(json.dumps(BILLING))
    return Tree(tmp_path)


LAPSE = "    reason: Open[LapseReason]\n"
GONE = '\ndel REGISTRY["goal.lapsed.v1"]\n'


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        pytest.param(
            [("goals", LAPSE, "    why: Open[LapseReason]\n")],
            [
                "goal.lapsed.v1 is released, and this change breaks it:",
                "data.reason was removed (renamed to data.why?)",
                "data.why is required now",
            ],
            id="renamed field",
        ),
        pytest.param(
            [("goals", LAPSE, f"{LAPSE}    weather: Token\n")],
            ["data.weather is required now"],
            id="new required field",
        ),
        pytest.param([("goals", "    ended_at: Instant\n", "")], ["data.ended_at was removed"], id="removed field"),
        pytest.param(
            [("goals", "    ended_at: Instant\n", "    ended_at: Count\n")],
            ["data.ended_at: type was 'string', is 'integer'"],
            id="changed type",
        ),
        pytest.param(
            [
                (
                    "goals",
                    'type="goal.lapsed.v1", topic="goals", key="session_id"',
                    'type="goal.lapsed.v1", topic="goals", key="goal_id"',
                )
            ],
            ["the field that is its key was 'session_id', is 'goal_id'"],
            id="changed key",
        ),
        pytest.param(
            [("goals", 'type="goal.lapsed.v1", topic="goals"', 'type="goal.lapsed.v1", topic="shop"')],
            ["its topic was 'goals', is 'shop'"],
            id="changed topic",
        ),
        pytest.param([("__init__", "__all__ =", f"{GONE}__all__ =")], ["it was removed"], id="dropped event"),
        pytest.param(
            [
                (
                    "goals",
                    'subject="goal_id"):\n    """What an ended',
                    'subject="goal_id", draft=True):\n    """What an ended',
                )
            ],
            ["it is a draft again"],
            id="a draft again",
        ),
        pytest.param(
            [("goals", '"agreed", "refused", "timed_out"]', '"agreed", "refused"]')],
            ["data.outcome may not be 'timed_out' any more"],
            id="narrowed enum",
        ),
        pytest.param(
            [("goals", '"agreed", "refused", "timed_out"]', '"agreed", "refused", "timed_out", "rained_off"]')],
            ["data.outcome may be 'rained_off' now, which its readers do not know"],
            id="widened enum",
        ),
        pytest.param(
            [("goals", '"no_exclusive", "session_ended", "given_up"]', '"no_exclusive", "session_ended"]')],
            ["data.reason: 'given_up' is no known value any more"],
            id="narrowed open set",
        ),
        pytest.param(
            [("headers", '"ce_source": {', '"ce_origin": {')],
            ["envelope.v1 is released", "data.ce_source was removed"],
            id="renamed header",
        ),
    ],
)
def test_a_break_is_refused_and_nothing_is_written(
    tree: Tree, edits: list[tuple[str, str, str]], says: list[str]
) -> None:
    for edit in edits:
        tree.edit(*edit)
    before = {path: path.read_bytes() for path in tree.home.glob("*/**/*.json")}

    code, told = tree.run()  # it writes nothing, and `--check` asks first what is asked here

    assert code == 1
    for line in says:
        assert line in told
    assert {path: path.read_bytes() for path in tree.home.glob("*/**/*.json")} == before


def test_a_dropped_event_whose_schema_was_deleted_as_well_is_refused(tree: Tree) -> None:
    tree.edit("__init__", "__all__ =", f"{GONE}__all__ =")
    (tree.home / "schemas" / "goal.lapsed.v1.json").unlink()

    code, told = tree.run()

    assert (code, "goal.lapsed.v1" in told, "it was removed" in told) == (1, True, True)


def test_a_refusal_says_whom_it_would_break_and_whom_to_roll_out_first(tree: Tree) -> None:
    tree.edit("goals", "    agreed: Instant | None = None\n", "")

    _, told = tree.run("--check")

    about_ended = told.partition("goal.ended.v1 is released")[2].partition("is released")[0]
    assert "data.metadata.agreed was removed   <- read by billing" in about_ended
    assert "declare goal.ended.v2 beside it" in about_ended
    assert "roll out first who consumes it: billing" in about_ended
    assert "docs/adding-an-event.md" in about_ended


def test_an_optional_field_and_a_word_of_an_open_set_pass_once_they_are_generated(tree: Tree) -> None:
    tree.edit("goals", LAPSE, f"{LAPSE}    weather: Token | None = None\n")
    tree.edit(
        "goals", '"no_exclusive", "session_ended", "given_up"]', '"no_exclusive", "session_ended", "given_up", "rain"]'
    )

    assert "GoalLapsedV1.weather" in tree.run()[1], "nobody says what it means"
    tree.edit("descriptions", "MEANINGS: Final = {\n", 'MEANINGS: Final = {\n    "weather": "How it was.",\n')
    assert tree.run("--check")[0] == 1, "stale"
    assert tree.run() == (0, "")
    assert tree.run("--check") == (0, "")
    assert len(list((tree.home / "released" / "goal.lapsed.v1").glob("*.json"))) == 1 + len(
        list((HOME / "released" / "goal.lapsed.v1").glob("*.json"))
    )
