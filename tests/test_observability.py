"""Alerts and boards name what exists, do what they must, and are those of their tables."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client import REGISTRY

from chassis.runtime import metrics
from devstack import tools
from devstack.settings import SERVICES, package

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "observability"
OUTSIDE = {"service", "role", "instance", "le"}
"""Labels that each metric has, that Prometheus adds, that a histogram has."""


@pytest.fixture
def observability(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("observability")


@pytest.fixture(scope="module")
def labels() -> Mapping[str, set[str]]:
    """Every metric of every service, as it is called outside, and its labels."""
    for service in SERVICES:
        importlib.import_module(f"{package(service)}.service")
    known = {}
    for collector, names in list(REGISTRY._collector_to_names.items()):  # noqa: SLF001 - it tells of metrics that have no samples yet
        for name in names:
            known[f"{metrics.PREFIX}{name}"] = set(getattr(collector, "_labelnames", ()))
    return known


def expressions(observability: ModuleType) -> Iterator[tuple[str, str]]:
    for alert in observability.ALERTS:
        yield alert.name, alert.expression
        yield alert.name, alert.tried_with
    for name, board in observability.boards().items():
        for panel in board["panels"]:
            yield f"{name}: {panel['title']}", panel["targets"][0]["expr"]


def test_what_is_generated_is_fresh() -> None:
    told = subprocess.run(
        [sys.executable, "deploy/observability/observability.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (told.returncode, told.stdout) == (0, "")


def test_every_metric_that_is_named_exists_with_the_labels_that_are_asked_for(
    observability: ModuleType, labels: Mapping[str, set[str]]
) -> None:
    for where, expression in expressions(observability):
        named = re.findall(r"footlights_\w+", expression)
        assert named or "process_" in expression, where
        assert [name for name in named if name not in labels] == [], where
        asked = {name for group in re.findall(r"by \(([^)]*)\)", expression) for name in group.split(", ")}
        asked |= set(re.findall(r"[{,] *(\w+)(?:=~|=|!=)\"", expression))
        has = set().union(*(labels[name] for name in named)) | OUTSIDE
        assert asked - has == set(), where


def test_each_board_has_a_place_for_each_of_its_panels(observability: ModuleType) -> None:
    assert set(observability.SERVICES) == set(SERVICES)
    for board in observability.boards().values():
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(set(places)) == len(places)
        assert len({panel["title"] for panel in board["panels"]}) == len(places)


def test_each_alarm_has_its_row_in_the_runbook_and_each_row_its_alarm(observability: ModuleType) -> None:
    written = re.findall(r"^\| \*\*(\w+)\*\*: ", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)

    assert sorted(written) == sorted(alert.name for alert in observability.ALERTS)


@pytest.fixture(scope="module")
def promtool() -> str:
    return tools.promtool(print)


def test_each_rule_goes_off_when_it_must_and_only_then(promtool: str) -> None:
    for words in (
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ):
        told = subprocess.run((promtool, *words), cwd=FOLDER, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stdout + told.stderr


def test_a_rule_that_never_goes_off_is_found(promtool: str, tmp_path: Path) -> None:
    rules: Any = json.loads((FOLDER / "alerts.yml").read_text().partition("\n")[2])
    rules["groups"][0]["rules"][0]["expr"] = "max by (service) (footlights_parked_messages) > 1000"
    (tmp_path / "alerts.yml").write_text(json.dumps(rules))
    (tmp_path / "alerts_test.yml").write_text((FOLDER / "alerts_test.yml").read_text())

    told = subprocess.run(
        (promtool, "test", "rules", "alerts_test.yml"), cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert told.returncode != 0
    assert "ParkedMessages" in told.stdout + told.stderr
