"""`docs/origins.md`: every place that it names is in the code, and every row says where, when or why not."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("chassis", "contracts", "goals", "sessions", "escrow", "notifier", "rtc_control", "shop")

_PLACE = re.compile(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`")
_ROW = re.compile(r"^\| (?P<cells>.+) \|$", re.MULTILINE)


@cache
def rows() -> tuple[list[str], ...]:
    """The cells of every row, but those of heads and the lines under them."""
    text = (ROOT / "docs" / "origins.md").read_text()
    cells = [row["cells"].split(" | ") for row in _ROW.finditer(text)]
    return tuple(row for row in cells if row[0] != "in the notes")


def modules_of(name: str) -> Iterator[ModuleType]:
    """The longest beginning of a dotted name that is a module, and what stands in it if it is a folder."""
    for size in range(name.count(".") + 1, 0, -1):
        start = ".".join(name.split(".")[:size])
        try:
            module = importlib.import_module(start)
        except ModuleNotFoundError:
            continue
        yield module
        for inner in pkgutil.iter_modules(getattr(module, "__path__", ()) if size > 1 else (), f"{start}."):
            yield importlib.import_module(inner.name)
        return


def exists(name: str) -> bool:
    """Whether a module has this, or one of its classes this field. In a folder it may stand in any file."""
    return any(_has(module, name) for module in modules_of(name))


def _has(module: ModuleType, name: str) -> bool:
    found: Any = module
    for word in name.split("."):
        if word in module.__name__.split("."):
            continue
        fields = {**getattr(found, "model_fields", {}), **getattr(found, "__dataclass_fields__", {})}
        if not hasattr(found, word) and word not in fields:
            return False
        found = getattr(found, word, None)
    return True


def test_every_place_that_is_named_exists() -> None:
    places = {place for row in rows() for place in _PLACE.findall(row[-1])}

    assert len(places) > 50
    assert {place for place in places if not exists(place)} == set()


def test_every_row_says_where_it_is_or_when_it_comes_or_why_there_is_none() -> None:
    assert [row for row in rows() if not _PLACE.search(row[-1]) and not re.match(r"later: |none", row[-1])] == []


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("goals.handlers.deactivate_goal", True),
        ("goals.handlers.deactivate_gaol", False),
        ("goals.handles.deactivate_goal", False),
        ("contracts.GoalEndedV1.triggerer", True),
        ("contracts.GoalEndedV1.trigger", False),
        ("goals.domain.goal.Goal.kind", True),
        ("sessions.handlers.exclusive", True),
        ("sessions.handlers.extend_viewer", True),
    ],
)
def test_a_place_that_is_not_there_is_named(name: str, there: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    assert exists(name) is there
