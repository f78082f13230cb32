"""What may change in a released schema: an optional field may be added, and nothing else (SPEC §9)."""

from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

WORDING: Final = frozenset({"$defs", "$schema", "description", "title", "default", "examples", "x-draft"})
"""Keywords that change nothing on the wire (`$defs` are read where they are referred to)."""

TRAVEL: Final = {
    "x-type": "its type",
    "x-topic": "its topic",
    "x-key": "the field that is its key",
    "x-subject": "the field that is its subject",
}
"""How an event travels, in words."""


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """List what a reader or writer of `old` would trip over in `new`, a line each with the path of the field.

    Both ways: a message written by either side must be valid for the other. So a wider enum, a looser limit and a
    required field that became optional are breaks as much as their opposites. Open sets may grow, not shrink: what was
    told once is read again.
    """
    return list(_breaks(plain(old), plain(new), "data"))


def plain(schema: Schema) -> Schema:
    """Return the schema without wording, and with its references resolved: what counts on the wire."""
    return _plain(schema, schema)


def _plain(schema: Schema, root: Schema) -> Schema:
    if "$ref" in schema:
        return _plain(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    return {word: _plain_value(word, value, root) for word, value in schema.items() if word not in WORDING}


def _plain_value(word: str, value: object, root: Schema) -> object:
    if word == "properties" and isinstance(value, dict):  # names of fields, not keywords: a field may be a `title`
        return {name: _plain(field, root) for name, field in value.items()}
    if isinstance(value, dict):
        return _plain(value, root)
    if isinstance(value, list):
        if word in {"required", "x-known-values"}:
            return sorted(value)
        return [_plain(item, root) if isinstance(item, dict) else item for item in value]
    return value


def _breaks(old: Schema, new: Schema, at: str) -> Iterator[str]:
    yield from _breaks_of_values(old, new, at)
    for word in sorted((old.keys() | new.keys()) - {"enum", "const"}):
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
            case "x-known-values" if before and after:
                yield from (f"{at}: {word!r} is no known value any more" for word in _only(before, after))
            case _ if word in TRAVEL and before != after:
                yield f"{TRAVEL[word]} was {before!r}, is {after!r}"
            case _:
                if before != after:
                    yield f"{at}: {word} was {before!r}, is {after!r}"


def _breaks_of_values(old: Schema, new: Schema, at: str) -> Iterator[str]:
    """A closed set: `enum`, or `const` for a set of one."""
    before, after = _values(old), _values(new)
    if before is None or after is None:
        if before != after:
            yield f"{at} was {_any_of(before)}, is {_any_of(after)}"
        return
    yield from (f"{at} may not be {value!r} any more" for value in before if value not in after)
    yield from (f"{at} may be {value!r} now, which its readers do not know" for value in after if value not in before)


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _any_of(values: list[Any] | None) -> str:
    return "no closed set" if values is None else f"one of {values!r}"


def _breaks_of_fields(old: Schema, new: Schema, at: str) -> Iterator[str]:
    for name, field in old.items():
        if name in new:
            yield from _breaks(field, new[name], f"{at}.{name}")
        else:
            alike = [f"{at}.{other}" for other in new if other not in old and new[other] == field]
            yield f"{at}.{name} was removed" + (f" (renamed to {alike[0]}?)" if alike else "")


def _only(these: list[str] | None, those: list[str] | None) -> list[str]:
    return sorted(set(these or ()) - set(those or ()))
