"""For tests of what each may see: the names of the fields in an answer, and tables of them.

    seen["GET /goals/{goal_id} of a show: stranger"] |= names_of(response.json())
    assert difference(seen, table(TABLE)) == []

Ids that are keys stand for each other: `pairs.{id}.agreed`; `[]` stands for each of a list: `levels[].title`.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter

_ID = re.compile("[0-9a-f]{24}")

Seen = Mapping[str, set[str]]
"""What is read, and by whom (`what: reader`), and the names of what is seen of it."""


def names_of(data: Any, name: str = "") -> set[str]:
    """The names of all that is in it; what is empty has a name too."""
    match data:
        case dict() if data:
            return {one for key, value in data.items() for one in names_of(value, _inside(name, key))}
        case list() if any(isinstance(item, dict) for item in data):
            return {one for item in data for one in names_of(item, f"{name}[]")}
        case _:
            return {name} if name else set()


def names_in(answer: Any) -> set[str]:
    """The names of all that an answer of this type can have; what is free in form has one."""
    schema = TypeAdapter(answer).json_schema(mode="serialization")
    return _names_in(schema, "", schema.get("$defs", {}))


def values_in(data: Any) -> Iterator[Any]:
    """Everything that is in it: keys and what they lead to."""
    match data:
        case dict():
            for key, value in data.items():
                yield key
                yield from values_in(value)
        case list():
            for item in data:
                yield from values_in(item)
        case _:
            yield data


def all_told_by(data: Any) -> set[Any]:
    """Every text and number that can be read from it, also out of cursors and of ids that are made of others."""
    values = {value for value in values_in(data) if isinstance(value, str | int) and not isinstance(value, bool)}
    return values | {part for value in values if isinstance(value, str) for part in _parts(value)}


def table(text: str) -> dict[str, set[str]]:
    """`what: reader, reader` and, indented, the fields that they see, for each paragraph."""
    seen: dict[str, set[str]] = {}
    for block in text.strip().split("\n\n"):
        head, *lines = block.splitlines()
        what, _, readers = head.rpartition(": ")
        for reader in readers.split(", "):
            if (row := f"{what}: {reader}") in seen:
                raise ValueError(f"stands here twice: {row}")
            seen[row] = set(" ".join(lines).split())
    return seen


def drawn(seen: Seen) -> list[str]:
    """One line for each reader of each thing."""
    return [f"{what}: {' '.join(sorted(fields))}" for what, fields in sorted(seen.items())]


def difference(seen: Seen, expected: Seen) -> list[str]:
    """What is seen and not expected, or expected and not seen, by row; nothing, when the table is right."""
    rows = sorted(seen.keys() | expected.keys())
    more = {row: seen.get(row, set()) - expected.get(row, set()) for row in rows}
    less = {row: expected.get(row, set()) - seen.get(row, set()) for row in rows}
    return [
        *(f"seen, and not in the table: {row}: {' '.join(sorted(more[row]))}" for row in rows if more[row]),
        *(f"in the table, and not seen: {row}: {' '.join(sorted(less[row]))}" for row in rows if less[row]),
    ]


def _parts(text: str) -> Iterator[str]:
    for part in re.split("[:-]", text):
        yield part
        try:
            place = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except ValueError:
            continue
        yield from (one for value in values_in(place) for one in str(value).split(":"))


def _inside(name: str, key: str) -> str:
    return f"{name}.{'{id}' if _ID.fullmatch(key) else key}".lstrip(".")


def _names_in(schema: Mapping[str, Any], name: str, defs: Mapping[str, Any]) -> set[str]:
    if "$ref" in schema:
        return _names_in(defs[schema["$ref"].rpartition("/")[2]], name, defs)
    if either := schema.get("oneOf", schema.get("anyOf")):
        parts = [one for one in either if one.get("type") != "null"]
        return {one for part in parts for one in _names_in(part, name, defs)}
    if "properties" in schema:
        parts = schema["properties"].items()
        return {one for key, part in parts for one in _names_in(part, _inside(name, key), defs)}
    if schema.get("type") == "array":
        inner = _names_in(schema.get("items", {}), f"{name}[]", defs)
        return {name} if inner == {f"{name}[]"} else inner
    if isinstance(schema.get("additionalProperties"), dict):
        return _names_in(schema["additionalProperties"], f"{name}.{{id}}", defs)
    return {name}
