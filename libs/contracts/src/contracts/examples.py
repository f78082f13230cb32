"""The recorded messages: one of each event, as it was on Kafka, never edited. The wheel carries them."""

import json
from pathlib import Path
from typing import Any, Final

_HERE: Final = Path(__file__).parent
FOLDERS: Final = (_HERE / "wire" / "examples", _HERE.parents[1] / "tests" / "recorded")
"""In an installed wheel, and in a checkout."""


def example(type_: str) -> dict[str, Any]:
    """The recorded message of a type: topic, key, headers and data.

    Raises:
        KeyError: none is recorded.
    """
    for folder in FOLDERS:
        path = folder / f"{type_}.json"
        if path.exists():
            read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return read
    raise KeyError(type_)
