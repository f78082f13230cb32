"""What the API documents say is for who calls the services: they cite nothing that a client developer does not have."""

import importlib
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chassis.http import create_app
from chassis.service import Service
from chassis.testing import Solo
from devstack import services
from devstack.settings import Settings, package

SoloOf = Callable[..., Awaitable[Solo]]

NAMES = services.chosen(Settings(Path("/nowhere"), 20_000))

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


@pytest.mark.parametrize("name", NAMES)
async def test_an_api_document_cites_nothing_that_its_readers_do_not_have(name: str, solo_of: SoloOf) -> None:
    service: Service = importlib.import_module(f"{package(name)}.service").SERVICE
    solo = await solo_of(service)

    document = create_app(service, solo.runtime, solo.settings).openapi()

    assert document["paths"]
    assert list(citations(document)) == []


def test_a_citation_is_found_wherever_it_stands() -> None:
    document = {"paths": {"/goals": {"post": {"tags": ["a", "see SPEC §3"], "description": "as the seed has it"}}}}

    assert list(citations(document)) == [
        "/paths//goals/post/tags/1: see SPEC §3",
        "/paths//goals/post/description: as the seed has it",
    ]
