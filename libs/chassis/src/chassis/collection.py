"""A typed MongoDB collection: frozen dataclasses in, frozen dataclasses out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from chassis.mongo import Raw


class Document(Protocol):
    """What can be stored: a frozen dataclass with an id."""

    @property
    def id(self) -> str:
        """The document's `_id`."""


D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True)
class Index:
    """One index. `where` makes it partial (equality or existence); `expire_after_seconds` makes it delete."""

    keys: Mapping[str, int]
    unique: bool = False
    where: Mapping[str, Any] | None = None
    expire_after_seconds: int | None = None

    @property
    def name(self) -> str:
        """MongoDB's own name for it: `a_1_b_-1`."""
        return "_".join(f"{key}_{direction}" for key, direction in self.keys.items())


@dataclass(frozen=True, slots=True)
class Ref:
    """The address of one document, known before it is loaded."""

    collection: "Collection[Any]"
    id: str


@dataclass(frozen=True, eq=False)
class Collection(Generic[D]):
    """A collection of `document`s. Every stored document also carries the stamp of the transaction that wrote it."""

    name: str
    document: type[D]
    indexes: tuple[Index, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    is_urgent: Callable[[D, datetime], bool] = lambda _document, _now: True
    """Whether a document that is written at a moment rings the collection's bell; others are found soon enough."""

    def ref(self, id_: str) -> Ref:
        """Address the document `id_`: what a handler's `needs` returns."""
        return Ref(self, id_)

    @cached_property
    def _adapter(self) -> TypeAdapter[D]:
        return TypeAdapter(self.document)

    def to_raw(self, document: D, stamp: int) -> Raw:
        """The document as it is stored."""
        raw: Raw = self._adapter.dump_python(document)
        raw["_id"] = raw.pop("id")
        raw["_stamp"] = stamp
        return raw

    def from_raw(self, raw: Raw) -> D:
        """The document as it was stored; fields that the class no longer has are ignored."""
        raw["id"] = raw.pop("_id")
        return self._adapter.validate_python(raw)
