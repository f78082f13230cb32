"""What may change in a released schema: an optional field may be added, and nothing else (SPEC §9)."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

WORDING = frozenset({"$defs", "description", "title", "default", "examples", "x-draft", "x-known-values"})
"""Keywords that change nothing on the wire (`$defs` are read where they are referred to)."""


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """List what a reader or writer of `old` would trip over in `new`, a line each with the path of the field.

    Both ways: a message written by either side must be valid for the other. So a wider enum, a looser limit and a
    required field that became optional are breaks as much as their opposites.
    """
    return list(_breaks(_plain(old, old), _plain(new, new), "data"))


def _plain(schema: Schema, root: Schema) -> Schema:
    """Return the schema without wording, and with its references resolved."""
    if "$ref" in schema:
        return _plain(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    return {word: _plain_value(word, value, root) for word, value in schema.items() if word not in WORDING}


def _plain_value(word: str, value: object, root: Schema) -> object:
    if word == "properties" and isinstance(value, dict):  # names of fields, not keywords: a field may be a `title`
        return {name: _plain(field, root) for name, field in value.items()}
    if isinstance(value, dict):
        return _plain(value, root)
    if isinstance(value, list):
        return [_plain(item, root) if isinstance(item, dict) else item for item in value]
    return value


def _breaks(old: Schema, new: Schema, at: str) -> Iterator[str]:
    for word in sorted(old.keys() | new.keys()):
        before, after = old.get(word), new.get(word)
        match word:
            case "properties":
                yield from _breaks_of_fields(before or {}, after or {}, at)
            case "required":
                yield from (f"{at}.{name} is required now" for name in _only(after, before))
                yield from (f"{at}.{name} is no longer required" for name in _only(before, after))
            case "items" if before and after:
                yield from _breaks(before, after, f"{at}[]")
            case "anyOf" if before and after and len(before) == len(after):
                for one, other in zip(before, after, strict=True):
                    yield from _breaks(one, other, at)
            case "enum" if before and after and set(before) == set(after):
                pass  # its order means nothing
            case _:
                if before != after:
                    yield f"{at}: {word} was {before!r}, is {after!r}"


def _breaks_of_fields(old: Schema, new: Schema, at: str) -> Iterator[str]:
    for name, field in old.items():
        if name in new:
            yield from _breaks(field, new[name], f"{at}.{name}")
        else:
            yield f"{at}.{name} was removed"


def _only(these: list[str] | None, those: list[str] | None) -> list[str]:
    return sorted(set(these or ()) - set(those or ()))
