"""A typed MongoDB collection: frozen dataclasses in, frozen dataclasses out.

Two releases share it while one follows the other. So what a document has beyond its class is kept when it is saved, and
one that a class cannot read is an error of its own, which costs whoever wants it one message, and nobody else anything.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from chassis.storage.keeping import has_unknown, keep_unknown
from chassis.storage.mongo import Raw


class Document(Protocol):
    """What can be stored: a frozen dataclass with an id."""

    @property
    def id(self) -> str:
        """The document's `_id`."""


D = TypeVar("D", bound=Document)


class UnreadableError(Exception):
    """A stored document does not fit its class: another release has written it, or somebody's hand."""

    def __init__(self, collection: str, id_: Any, error: Exception, raw: Raw | None = None) -> None:
        """Name the document and what is wrong with it, without its values; `raw` is what is stored."""
        why = repr(error)
        if isinstance(error, ValidationError):
            found = error.errors(include_url=False, include_context=False, include_input=False)
            why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
        super().__init__(f"{id_} of {collection} cannot be read: {why}")
        self.id = id_
        self.raw = raw or {"_id": id_}


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
    """Whether a document that is written at a moment wakes who waits for them; others are found soon enough."""
    formerly: Mapping[str, str] = field(default_factory=dict)
    """Fields by their names now, and what the release before calls them: written under both, the former is believed."""

    def ref(self, id_: str) -> Ref:
        """Address the document `id_`: what a handler's `needs` returns."""
        return Ref(self, id_)

    def name_in_queries(self, name: str) -> str:
        """What to look for the field `name` by: what every release that runs writes."""
        return self.formerly.get(name, name)

    def with_former(self, fields: Raw) -> Raw:
        """`fields` of a document, under their former names too."""
        return fields | {old: fields[new] for new, old in self.formerly.items() if new in fields}

    @cached_property
    def _adapter(self) -> TypeAdapter[D]:
        return TypeAdapter(self.document)

    @cached_property
    def has_parts(self) -> bool:
        """Whether there are documents within its documents."""
        return any(is_dataclass(of) or issubclass(of, BaseModel) for of in _classes_in(self.document))

    def to_raw(self, document: D, stamp: int) -> Raw:
        """The document as it is stored."""
        raw: Raw = self._adapter.dump_python(document)
        raw["_id"] = raw.pop("id")
        raw["_stamp"] = stamp
        return self.with_former(raw) if self.formerly else raw

    def from_raw(self, raw: Raw) -> D:
        """The document as it was stored; fields that the class does not have are passed over.

        Raises:
            UnreadableError: it does not fit the class.
        """
        try:
            former = {new: raw[old] for new, old in self.formerly.items() if old in raw}
            return self._adapter.validate_python({**raw, **former, "id": raw["_id"]})
        except Exception as error:
            raise UnreadableError(self.name, raw.get("_id"), error, raw) from error

    def with_unknown(self, raw: Raw, stored: Raw, known: D) -> Raw:
        """`raw`, with what the parts of the document have in `stored` beyond `known`, which is what was read of it."""
        read = self.to_raw(known, raw["_stamp"])
        kept: Raw = keep_unknown(raw, stored, read) if has_unknown(stored, read) else raw
        return kept


def _classes_in(document: type[Any]) -> Iterator[type[Any]]:
    """The classes in the annotations of a document's fields."""
    hints = list(get_type_hints(document).values())
    while hints:
        hint = hints.pop()
        hints += get_args(hint)
        if isinstance(hint, type):
            yield hint
