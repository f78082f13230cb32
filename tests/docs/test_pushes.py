"""docs/pushes.md shows each push of the notifier's table, to each of its audiences, and pushes.d.ts has its type."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

from contracts.sessions import AuthorizationReason
from notifier.domain.table import TABLE

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(DOCS))
    yield importlib.import_module("pushes_page")
    sys.modules.pop("push_types", None)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.handler_name)
def test_each_audience_of_each_push_has_an_example(page: ModuleType, row: Any) -> None:
    shown = [frozenset(json.loads(one.data)) for case in page.cases(row) for one in case.shown]
    reached = {
        index
        for of, edits in page.VARIANTS.get(row.push, [("", {})])
        for index, view in enumerate(row.views)
        if view.to(page.event_of(row.event.TYPE, edits)[0])
    }

    assert reached == set(range(len(row.views)))
    assert all({"event_id", "at", "seq"} <= fields for fields in shown)


def test_every_way_to_be_authorized_is_shown_where_it_is_pushed(page: ModuleType) -> None:
    (row,) = page.by_name()["stream.authorized"]
    shown = {one.channels for case in page.cases(row) for one in case.shown}

    for reason in get_args(AuthorizationReason):
        if reason != "ticket":  # depends on what is on: see further_cases
            event, _ = page.event_of(row.event.TYPE, {"reason": reason})
            channels = [channel.name for channel in row.to(event)]
            written = tuple(
                name.replace(event.streamer_id, "{streamer}").replace(event.viewer_id, "{viewer}") for name in channels
            )
            assert written in shown, reason


def test_no_id_is_left_in_a_channel_of_the_page() -> None:
    channels = re.findall(r"`((?:private|presence)-[^`]+)`", (DOCS / "pushes.md").read_text())

    assert channels
    assert [channel for channel in channels if re.search(r"[0-9a-f]{24}", channel)] == []


def test_every_field_of_every_example_is_in_the_types(page: ModuleType) -> None:
    written = (DOCS / "pushes.d.ts").read_text()
    for name, rows in page.by_name().items():
        title = "".join(word.title() for word in name.split("."))
        body = re.search(rf"^export interface {title} extends Head {{\n(.*?)^}}", written, re.DOTALL | re.MULTILINE)
        assert body, name
        typed = set(re.findall(r"^ +(\w+)\??:", body[1], re.MULTILINE)) | {"event_id", "at", "seq"}
        for row in rows:
            fields = {field for view in row.views for path in view.fields for field in re.findall(r"\w+", path)}
            assert fields <= typed, name
            assert all(set(json.loads(one.data)) <= typed for case in page.cases(row) for one in case.shown)
