"""What the API documents say is for who calls the services: they cite nothing that a client developer does not have."""

import importlib
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chassis.http import create_app
from chassis.service import Service
from chassis_testing.service import ServiceHarness
from devstack import services
from devstack.settings import Settings, package

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

NAMES = services.chosen(Settings(Path("/nowhere"), 20_000))

ROOT = Path(__file__).parents[2]
_INTERNAL = re.compile(r"SPEC\b|§|\bseeds?\b|\bADR\b|docs/|\.py\b")


def citations(document: Any, where: str = "") -> Iterator[str]:
    """Every text of a document that cites what is ours alone, with its place."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from citations(value, f"{where}/{name}")
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from citations(value, f"{where}/{number}")
    elif isinstance(document, str) and _INTERNAL.search(document):
        yield f"{where}: {document}"


def named_paths() -> Iterator[tuple[str, bool]]:
    """The paths in README's table of what works, as patterns of documented ones, and whether they are said to work."""
    table = (ROOT / "README.md").read_text().partition("| | works | not yet |")[2].partition("\n\n")[0]
    for row in table.strip().splitlines()[1:]:
        _, _, works, not_yet, _ = row.split("|")
        for cell, there in ((works, True), (not_yet, False)):
            for path in re.findall(r"`(?:[A-Z]+ )?(/[^`]+)`", cell):
                yield re.sub(r"\\\{\w+\\\}|…", r"[^/]+", re.escape(path)), there


async def test_readme_says_of_paths_that_they_work_or_not_yet_and_so_it_is(harness_of: HarnessOf) -> None:
    paths: set[str] = set()
    for name in NAMES:
        service: Service = importlib.import_module(f"{package(name)}.service").SERVICE
        harness = await harness_of(service)
        paths |= create_app(service, harness.runtime, harness.settings).openapi()["paths"].keys()

    said = list(named_paths())

    assert {there for _, there in said} >= {True}  # perhaps nothing with a path is missing any more
    assert [path for path, there in said if any(re.fullmatch(path, one) for one in paths) is not there] == []


@pytest.mark.parametrize("name", NAMES)
async def test_an_api_document_cites_nothing_that_its_readers_do_not_have(name: str, harness_of: HarnessOf) -> None:
    service: Service = importlib.import_module(f"{package(name)}.service").SERVICE
    harness = await harness_of(service)

    document = create_app(service, harness.runtime, harness.settings).openapi()

    assert document["paths"]
    assert list(citations(document)) == []


def test_a_citation_is_found_wherever_it_stands() -> None:
    document = {"paths": {"/goals": {"post": {"tags": ["a", "see SPEC §3"], "description": "as the seed has it"}}}}

    assert list(citations(document)) == [
        "/paths//goals/post/tags/1: see SPEC §3",
        "/paths//goals/post/description: as the seed has it",
    ]
