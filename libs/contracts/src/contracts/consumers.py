"""Who reads what: `consumers/<name>.json` for each consumer, our services' derived, an outside team's its own.

    {"consumer": "billing", "contact": "billing@example.org", "reads": {"payment.succeeded.v1": ["payer_id"]}}

A field is dotted, `[]` stands for each of a list: `metadata.agreed`, `levels[].target`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from contracts.compatibility import Schema, plain


class Consumer(BaseModel):
    """One consumer, and the fields of each event that it reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$"), Field(alias="consumer")]
    contact: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    reads: Mapping[str, tuple[str, ...]]


def read_consumer(path: Path) -> Consumer:
    """Read one file.

    Raises:
        ValueError: it does not say who reads what, in a few lines that can be shown.
    """
    return Consumer.model_validate(json.loads(path.read_text(encoding="utf-8")))


def read_consumers(folder: Path) -> list[Consumer]:
    """Read all of a folder, by name."""
    return [read_consumer(path) for path in sorted(folder.glob("*.json"))]


def unkept(consumer: Consumer, schemas: Mapping[str, Schema]) -> list[str]:
    """What a consumer reads and nobody promises, a line each; empty if all is there."""
    return [line for type_, fields in consumer.reads.items() for line in _unkept(type_, fields, schemas.get(type_))]


def _unkept(type_: str, fields: tuple[str, ...], schema: Schema | None) -> Iterator[str]:
    if schema is None:
        yield f"{type_}: there is no such event"
        return
    described = plain(schema)
    for field in fields:
        if not _has(described, field.split(".")):
            yield f"{type_}: there is no field {field}"


def _has(schema: Schema, path: list[str]) -> bool:
    if not path:
        return True
    if "anyOf" in schema:  # a part, or null
        return any(_has(one, path) for one in schema["anyOf"])
    name, *rest = path
    field = schema.get("properties", {}).get(name.removesuffix("[]"))
    if field is None:
        return False
    if name.endswith("[]"):
        return any("items" in one and _has(one["items"], rest) for one in field.get("anyOf", [field]))
    return _has(field, rest)
