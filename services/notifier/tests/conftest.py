"""The recorded events, which together tell one scenario: an invitation, its exclusive, and what went wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import contracts
from contracts import Event

RECORDED = Path(contracts.__file__).parents[2] / "tests" / "recorded"


@pytest.fixture(scope="session")
def an() -> Callable[..., Event]:
    """The recorded event of this class, with some fields changed."""

    def make(of: type[Event], **changes: Any) -> Event:
        data = json.loads((RECORDED / f"{of.TYPE}.json").read_text())["data"]
        return of.model_validate_json(json.dumps(data)).model_copy(update=changes)

    return make
