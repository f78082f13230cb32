"""The examples of the API's document: what the demo asked and was answered.

`RECORD=FILE make demo && python docs/api_examples.py FILE` writes docs/api_examples.json from one evening of the demo:
of each operation the fullest exchange that is not too long, without what signs or admits.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("api_examples.json")
CHARACTERS_MAX: Final = 3_000
ITEMS_MAX: Final = 2
SECRET_NAMES: Final = frozenset({"auth", "channel_data", "user_data", "token", "byteplus_token", "shared_secret"})
SECRET_TEXT: Final = re.compile(r"[\w.~-]{64,}")
HIDDEN: Final = "…"

Example = Mapping[str, Any]


def examples() -> Mapping[str, Example]:
    """By operation, `request` and `answer`, each if it has one, and `status`."""
    known: Mapping[str, Example] = json.loads(FILE.read_text())
    return known


def show(operation: dict[str, Any], example: Example) -> None:
    """Put it into an operation of the document."""
    for body, of in ((operation.get("requestBody"), "request"), (operation["responses"][example["status"]], "answer")):
        if body and example.get(of) is not None:
            body["content"]["application/json"]["example"] = example[of]


def chosen(paths: Mapping[str, Mapping[str, Any]], exchanges: Sequence[Example]) -> dict[str, Example]:
    """Of each operation of a document, its exchange."""
    found: dict[str, Example] = {}
    for path, operations in paths.items():
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
        for method, operation in operations.items():
            of_it = [_shortened(one) for one in exchanges if _is_of(one, method, pattern, operation)]
            short = [one for one in of_it if len(json.dumps(one)) <= CHARACTERS_MAX]
            if short:
                found[operation["operationId"]] = max(short, key=lambda one: len(json.dumps(one)))
    return dict(sorted(found.items()))


def _is_of(one: Example, method: str, pattern: re.Pattern[str], operation: Mapping[str, Any]) -> bool:
    return (
        one["method"].lower() == method
        and pattern.fullmatch(one["path"]) is not None
        and str(one["status"]) in operation["responses"]
    )


def _shortened(one: Example) -> Example:
    """What an example says of an exchange."""
    of = {name: _plain(one[name]) for name in ("request", "answer") if one[name] is not None}
    return {"status": str(one["status"]), **of}


def _plain(value: Any, name: str = "") -> Any:
    """Without long lists, and without what signs or admits."""
    if isinstance(value, dict):
        return {key: _plain(of, key) for key, of in value.items()}
    if isinstance(value, list):
        return [_plain(of, name) for of in value[:ITEMS_MAX]]
    if isinstance(value, str):
        return HIDDEN if name in SECRET_NAMES else SECRET_TEXT.sub(HIDDEN, value)
    return value


if __name__ == "__main__":
    document = json.loads(Path(__file__).with_name("openapi.json").read_text())
    recorded = chosen(document["paths"], json.loads(Path(sys.argv[1]).read_text()))
    FILE.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")
