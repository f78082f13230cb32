"""A released schema may gain an optional field, and nothing else."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from contracts.compatibility import incompatibilities


class Part(BaseModel):
    title: str


class Old(BaseModel):
    id: Annotated[str, Field(max_length=24)]
    kind: Literal["one", "two"]
    count: int
    note: str | None = None
    part: Part
    parts: tuple[Part, ...]
    perhaps: Part | None = None


FIELDS: dict[str, Any] = {name: (field.rebuild_annotation(), field) for name, field in Old.model_fields.items()}
OPTIONAL: Any = (str | None, None)


def new_schema(**changes: Any) -> dict[str, Any]:
    """The schema of Old with some fields changed, or removed where None."""
    fields = {name: field for name, field in {**FIELDS, **changes}.items() if field is not None}
    new: type[BaseModel] = create_model("New", **fields)
    return new.model_json_schema()


def test_the_same_data_under_other_words_is_no_break() -> None:
    assert incompatibilities(Old.model_json_schema(), new_schema()) == []


def test_an_optional_field_may_be_added_at_any_depth() -> None:
    wider = create_model("Wider", __base__=Part, more=OPTIONAL)

    new = new_schema(more=OPTIONAL, part=(wider, ...), parts=(tuple[wider, ...], ...), perhaps=(wider | None, None))

    assert incompatibilities(Old.model_json_schema(), new) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"count": None}, "data.count was removed"),
        ({"note": None}, "data.note was removed"),
        ({"more": (str, ...)}, "data.more is required now"),
        ({"note": (str | None, ...)}, "data.note is required now"),
        ({"count": (int | None, None)}, "data.count is no longer required"),
        ({"count": (str, ...)}, "data.count: type was 'integer', is 'string'"),
        ({"count": (int | None, ...)}, "data.count: anyOf was None"),
        (
            {"kind": (Literal["one", "two", "three"], ...)},
            "data.kind may be 'three' now, which its readers do not know",
        ),
        ({"kind": (Literal["one"], ...)}, "data.kind may not be 'two' any more"),
        ({"id": (Annotated[str, Field(max_length=25)], ...)}, "data.id: maxLength was 24, is 25"),
        ({"parts": (tuple[str, ...], ...)}, "data.parts[]"),
        ({"part": (create_model("Longer", __base__=Part, size=(int, ...)), ...)}, "data.part.size is required now"),
        ({"perhaps": (create_model("Bare") | None, None)}, "data.perhaps.title was removed"),
    ],
)
def test_anything_else_is_a_break_and_says_where(changes: dict[str, Any], line: str) -> None:
    assert any(found.startswith(line) for found in incompatibilities(Old.model_json_schema(), new_schema(**changes)))


def test_the_order_of_an_enum_means_nothing() -> None:
    assert incompatibilities(Old.model_json_schema(), new_schema(kind=(Literal["two", "one"], ...))) == []


def test_a_field_may_be_called_like_a_keyword() -> None:
    titled, untitled = Part.model_json_schema(), create_model("Part").model_json_schema()

    assert incompatibilities(titled, untitled) == ["data.title was removed", "data.title is no longer required"]
