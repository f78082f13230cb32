"""The checker against chance: schemas, edits of them and data are drawn, and a real validator says what is valid.

What the checker lets pass must be so: valid under the old is valid under the new, and back. And it must refuse each
single edit that is no new optional field.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.compatibility import incompatibilities

Schema = dict[str, Any]
NAMES = st.sampled_from(["a", "b", "title", "enum", "const", "items", "required", "properties"])  # keywords, too
WORDS = st.sampled_from(["one", "two", "three", "four"])


def leaves() -> st.SearchStrategy[Schema]:
    """What our events' fields are made of."""
    length = st.tuples(st.integers(0, 2), st.integers(3, 6))
    return st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "boolean", "const": False}),
        length.map(lambda of: {"type": "string", "minLength": of[0], "maxLength": of[1]}),
        length.map(lambda of: {"type": "integer", "minimum": of[0], "maximum": of[1]}),
        st.lists(WORDS, min_size=2, unique=True).map(lambda words: {"type": "string", "enum": words}),
        st.lists(WORDS, min_size=1, unique=True).map(
            lambda words: {"type": "string", "minLength": 1, "maxLength": 6, "x-known-values": words}
        ),
    )


@st.composite
def objects(draw: st.DrawFn, fields: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(NAMES, fields, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def containers(fields: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.one_of(
        objects(fields),
        fields.map(lambda of: {"type": "array", "items": of, "maxItems": 3}),
        fields.map(lambda of: {"anyOf": [of, {"type": "null"}]}),
    )


SCHEMAS = objects(st.recursive(leaves(), containers, max_leaves=6))


def data(schema: Schema) -> st.SearchStrategy[Any]:
    """What a writer of this schema may send: its own fields and no others."""
    if "anyOf" in schema:
        return st.one_of(*map(data, schema["anyOf"]))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "object":
        fields = {name: data(field) for name, field in schema["properties"].items()}
        optional = fields.keys() - schema.get("required", ())
        return st.fixed_dictionaries(
            {name: of for name, of in fields.items() if name not in optional},
            optional={name: of for name, of in fields.items() if name in optional},
        )
    return LEAF_DATA[schema["type"]](schema)


LEAF_DATA: dict[str, Callable[[Schema], st.SearchStrategy[Any]]] = {
    "array": lambda of: st.lists(data(of["items"]), max_size=of["maxItems"]),
    "string": lambda of: st.text("abc", min_size=of["minLength"], max_size=of["maxLength"]),
    "integer": lambda of: st.integers(of["minimum"], of["maximum"]),
    "null": lambda _: st.none(),
    "boolean": lambda _: st.booleans(),
}


def parts(schema: Schema) -> list[Schema]:
    """The schema and every schema within it, each to be edited in place."""
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    below += [schema["items"]] if schema.get("type") == "array" else []
    return [schema, *(part for one in below for part in parts(one))]


class Edit(NamedTuple):
    """A schema after one edit, and whether that was a promise kept."""

    schema: Schema
    kept: bool


def _required(part: Schema, name: str, *, wanted: bool) -> None:
    names = [one for one in part.get("required", []) if one != name] + ([name] if wanted else [])
    part.pop("required", None)
    part.update({"required": names} if names else {})


def _edit_fields(draw: st.DrawFn, part: Schema) -> bool:
    fields = part["properties"]
    deeds = ["add", "add required", *(["remove", "require", "change"] if fields else [])]
    deed = draw(st.sampled_from(deeds))
    if deed.startswith("add"):
        name = draw(NAMES.map(lambda name: f"{name}_more"))
        fields[name] = draw(leaves())
        _required(part, name, wanted=deed == "add required")
        return deed == "add"
    name = draw(st.sampled_from(sorted(fields)))
    if deed == "remove":
        del fields[name]
        _required(part, name, wanted=False)
    elif deed == "require":
        _required(part, name, wanted=name not in part.get("required", []))
    else:
        fields[name] = {"type": "array", "items": fields[name], "maxItems": 2}
    return False


def _edit_leaf(draw: st.DrawFn, part: Schema) -> bool:
    if "const" in part:
        part["const"] = not part["const"]
    elif "enum" in part:
        part["enum"] = part["enum"][1:] if draw(st.booleans()) else [*part["enum"], "new"]
    elif "x-known-values" in part and draw(st.booleans()):
        part["x-known-values"] = [*part["x-known-values"], "new"]
        return True
    elif "maxLength" in part:
        part["maxLength"] += draw(st.sampled_from([-1, 1]))
    elif "maximum" in part:
        part["minimum"] -= 1
    elif part["type"] == "array":
        part["maxItems"] += 1
    else:
        part["type"] = "null" if part["type"] == "boolean" else "boolean"
    return False


@st.composite
def edits(draw: st.DrawFn, schema: Schema) -> Edit:
    edited = deepcopy(schema)
    part = draw(st.sampled_from([part for part in parts(edited) if "anyOf" not in part]))
    kept = _edit_fields(draw, part) if part.get("type") == "object" else _edit_leaf(draw, part)
    return Edit(edited, kept)


@given(st.data())
@settings(max_examples=300)
def test_one_edit_passes_exactly_if_it_is_an_optional_field_or_a_word_of_an_open_set(drawn: st.DataObject) -> None:
    old = drawn.draw(SCHEMAS)

    edit = drawn.draw(edits(old))

    assert (incompatibilities(old, edit.schema) == []) is edit.kept
    assert incompatibilities(old, old) == []


@given(st.data())
@settings(max_examples=300)
def test_what_passes_is_valid_under_the_old_and_the_new_whoever_wrote_it(drawn: st.DataObject) -> None:
    old = drawn.draw(SCHEMAS)
    new, _ = drawn.draw(edits(old))
    if drawn.draw(st.booleans()):
        new, _ = drawn.draw(edits(new))

    if incompatibilities(old, new) == []:
        jsonschema_rs.validator_for(new).validate(drawn.draw(data(old)))
        jsonschema_rs.validator_for(old).validate(drawn.draw(data(new)))
