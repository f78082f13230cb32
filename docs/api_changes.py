"""Which changes of the API document break a client that was made for the one before.

A client sends what it knew, and reads what it knew: what it may send must stay allowed, what it may rely on must stay
there. `python docs/api_changes.py BEFORE AFTER` compares two files, and exits 1 if something breaks.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_SEEN_MAX = 12  # schemas within schemas; ours are half as deep


def refused(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What breaks; nothing, where the first number of the version says that this is another API."""
    if _major(before) != _major(after):
        return []
    return list(breaks(before, after))


def breaks(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What a client of `before` meets in `after` and cannot know."""
    for path, operations in before["paths"].items():
        for method, old in operations.items():
            new = after["paths"].get(path, {}).get(method)
            if new is None:
                yield f"{method.upper()} {path} is gone"
                continue
            where = old["operationId"]
            if new["operationId"] != where:
                yield f"{where} is called {new['operationId']}"
            yield from _parameters(where, old, new, before, after)
            yield from _bodies(where, old, new, before, after)
            yield from _answers(where, old, new, before, after)


def _parameters(where: str, old: Any, new: Any, before: Any, after: Any) -> Iterator[str]:
    olds = {(one["in"], one["name"]): one for one in old.get("parameters", ())}
    news = {(one["in"], one["name"]): one for one in new.get("parameters", ())}
    for key, one in olds.items():
        if key not in news:
            yield f"{where}: parameter {key[1]} is gone"
        else:
            yield from _sent(f"{where}: {key[1]}", one["schema"], news[key]["schema"], before, after)
    for key, one in news.items():
        if one.get("required") and not olds.get(key, {}).get("required"):
            yield f"{where}: parameter {key[1]} is needed"


def _bodies(where: str, old: Any, new: Any, before: Any, after: Any) -> Iterator[str]:
    olds, news = old.get("requestBody", {}), new.get("requestBody", {})
    if news.get("required") and not olds.get("required"):
        yield f"{where}: a body is needed"
    for media, one in olds.get("content", {}).items():
        if media not in news.get("content", {}):
            yield f"{where}: no body of {media} is taken"
        else:
            yield from _sent(f"{where}: body", one["schema"], news["content"][media]["schema"], before, after)


def _answers(where: str, old: Any, new: Any, before: Any, after: Any) -> Iterator[str]:
    for status, one in old["responses"].items():
        if not status.startswith("2"):
            continue
        if status not in new["responses"]:
            yield f"{where}: does not answer {status}"
            continue
        for media, of in one.get("content", {}).items():
            there = new["responses"][status].get("content", {}).get(media)
            if there is None:
                yield f"{where}: {status} is no {media}"
            else:
                yield from _read(f"{where}: {status}", of["schema"], there["schema"], before, after)


def _sent(where: str, old: Any, new: Any, before: Any, after: Any, depth: int = 0) -> Iterator[str]:
    """What a client may send must stay allowed."""
    old, new = _resolved(old, before), _resolved(new, after)
    yield from _type(where, old, new)
    lost = [one for one in old.get("enum", ()) if one not in new.get("enum", old["enum"])]
    if lost:
        yield f"{where}: takes no {', '.join(map(str, lost))}"
    needed = set(new.get("required", ())) - set(old.get("required", ()))
    for name in sorted(needed):
        yield f"{where}.{name} is needed"
    yield from _inside(_sent, where, old, new, before, after, depth)


def _read(where: str, old: Any, new: Any, before: Any, after: Any, depth: int = 0) -> Iterator[str]:
    """What a client may rely on must stay there."""
    old, new = _resolved(old, before), _resolved(new, after)
    if not old.keys() - {"title", "description"}:
        return  # nothing was promised
    if _is_any_object(old) and all(one.get("type") == "object" for one in _alternatives(new, after)):
        return  # who reads an object of whatever form reads one of these forms
    yield from _type(where, old, new)
    for name in sorted(set(old.get("required", ())) - set(new.get("required", ())) - (old.keys() - new.keys())):
        if name in new.get("properties", {}):
            yield f"{where}.{name} may be missing"
    yield from _inside(_read, where, old, new, before, after, depth)


def _inside(rule: Any, where: str, old: Any, new: Any, before: Any, after: Any, depth: int) -> Iterator[str]:
    if depth > _SEEN_MAX:
        return
    for name, one in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            yield f"{where}.{name} is gone"
        else:
            yield from rule(f"{where}.{name}", one, new["properties"][name], before, after, depth + 1)
    if "items" in old and "items" in new:
        yield from rule(f"{where}[]", old["items"], new["items"], before, after, depth + 1)
    for word in ("anyOf", "oneOf"):
        for one, other in zip(old.get(word, ()), new.get(word, ()), strict=False):
            yield from rule(where, one, other, before, after, depth + 1)


def _is_any_object(schema: Any) -> bool:
    return schema.get("type") == "object" and schema.get("additionalProperties") is True and "properties" not in schema


def _alternatives(schema: Any, document: Any) -> list[Any]:
    """What a value may be one of."""
    found = next((schema[word] for word in ("anyOf", "oneOf") if word in schema), [schema])
    return [_resolved(one, document) for one in found]


def _type(where: str, old: Any, new: Any) -> Iterator[str]:
    olds, news = _types(old), _types(new)
    if olds != news:
        yield f"{where}: was {olds}, is {news}"


def _types(schema: Any) -> str:
    """What kind of value it is, in words."""
    word = next((word for word in ("anyOf", "oneOf") if word in schema), None)
    if word is not None:
        return " or ".join(str(one.get("type", one.get("$ref", "anything"))).rpartition("/")[2] for one in schema[word])
    return str(schema.get("type", "anything"))


def _resolved(schema: Any, document: Any) -> Any:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _major(document: Mapping[str, Any]) -> str:
    return str(document["info"]["version"]).partition(".")[0]


def main(arguments: Sequence[str]) -> int:
    """Compare two files; the exit code is 1 if something breaks."""
    before, after = (json.loads(Path(name).read_text(encoding="utf-8")) for name in arguments)
    found = refused(before, after)
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
