"""docs/pushes.d.ts: what a client hears, as TypeScript: the events' schemas, cut down to what the pushes show."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pushes_page import by_name, event_of, further_cases, summary

from contracts.schemas import schema_of
from notifier.domain.table import Row
from notifier.handlers.pushes import AUTHORIZED

_HEAD: Final = """\
// Written by `{command}` from the notifier's table and the events' schemas; CI fails when it is stale.
// pushes.md says on which channels each is heard. Times are Unix seconds; ids are 24 hexadecimal digits.

/** What every push has. */
export interface Head {{
  /** The event that it tells of: a push that comes twice has the same. */
  event_id: string;
  /** When that was decided. */
  at: number;
  /** Rises on each channel, with gaps. */
  seq: number;
}}

/** In place of data that are too long for Pusher. */
export interface Elsewhere extends Head {{
  /** The path that answers with them. */
  fetch: string;
}}

/** A word of a set that may grow: act on one that you do not know as on none. */
export type Open<Known extends string> = Known | (string & Record<never, never>);
"""


def types(command: str) -> str:
    """The pushes as TypeScript: an interface for each, and the union of all by name."""
    names = by_name()
    interfaces = [_interface(name, rows) for name, rows in names.items()]
    union = [f'  | {{ name: "{name}"; data: {_type_name(name)} | Elsewhere }}' for name in names]
    every = ["/** Every push, told apart by its name. */", "export type Push =", *union]
    return "\n".join([_HEAD.format(command=command), *interfaces, "\n".join(every) + ";"]) + "\n"


def _type_name(push_name: str) -> str:
    return "".join(word.title() for word in push_name.split("."))


def _interface(name: str, rows: Sequence[Row[Any]]) -> str:
    """One push; a field that only some of its audiences see is optional."""
    of, views = rows[0].event, [view for row in rows for view in row.views]
    schema = schema_of(of)
    if name == AUTHORIZED:  # it follows from more than its event
        more = (json.loads(shown.data)["reason"] for case in further_cases() for shown in case.shown)
        known = schema["properties"]["reason"]["x-known-values"]
        known += [word for word in dict.fromkeys(more) if word not in known]
    everybody = set.intersection(*(set(view.fields) for view in views))
    anybody = dict.fromkeys(field for view in views for field in view.fields)
    body = _object(schema, schema, _tree(anybody), _tree(everybody), "  ")
    event, _ = event_of(of.TYPE, {})
    for field in views[0].more(event):
        body += _MORE[field]
    return f"/** {summary(of)} */\nexport interface {_type_name(name)} extends Head {{\n{body}}}\n"


_MORE: Final = {"exclusive": "  /** Whether the session is somebody's alone; not whose. */\n  exclusive: boolean;\n"}
"""What a row shows beside the event's fields."""

_JSON_TYPES: Final = {"integer": "number", "boolean": "boolean", "null": "null", "string": "string"}
Tree = dict[str, "Tree"]


def _tree(names: Iterable[str]) -> Tree:
    """`levels[].target` as levels → target."""
    tree: Tree = {}
    for name in names:
        node = tree
        for step in name.replace("[]", "").split("."):
            node = node.setdefault(step, {})
    return tree


def _object(part: Mapping[str, Any], root: Mapping[str, Any], shown: Tree, always: Tree, indent: str) -> str:
    lines = []
    for name, below in shown.items():
        said, is_required = part["properties"][name], name in part.get("required", ())
        if not is_required:  # what has its default is left out, so it is never null
            said = {**said, "anyOf": [one for one in said["anyOf"] if one != {"type": "null"}]}
        told = _type(said, root, below, always.get(name, below), indent)
        lines.append(f"{indent}/** {said['description']} */")
        lines.append(f"{indent}{name}{'' if is_required and name in always else '?'}: {told};")
    return "".join(f"{line}\n" for line in lines)


def _type(said: Mapping[str, Any], root: Mapping[str, Any], below: Tree, always: Tree, indent: str) -> str:
    if "$ref" in said:
        said = root["$defs"][said["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in said:
        return " | ".join(_type(choice, root, below, always, indent) for choice in said["anyOf"])
    if said.get("type") == "array":
        return f"Array<{_type(said['items'], root, below, always, indent)}>"
    if said.get("type") == "object":
        return f"{{\n{_object(said, root, below, always, indent + '  ')}{indent}}}"
    return _scalar(said)


def _scalar(said: Mapping[str, Any]) -> str:
    if "x-known-values" in said:
        return f"Open<{' | '.join(map(json.dumps, said['x-known-values']))}>"
    if "enum" in said or "const" in said:
        return " | ".join(map(json.dumps, said.get("enum", [said.get("const")])))
    if said.get("format") == "date-time":
        return "number"
    return _JSON_TYPES[said["type"]]
