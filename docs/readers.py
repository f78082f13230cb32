"""Which fields of which events a service reads, from its source: nobody writes the list, so nobody forgets it.

Every function of a service says in its annotations what it gets (mypy insists). So the source is walked with these
types: a field counts as read where it is asked of a value of its class, or of a base of it, in any function of the
service: its handlers, what they load and what they decide. Parts of events are followed by their type alone: who reads
`Context.duration` is taken to read it of every consumed event whose context it reads. It is rather a field too many
than one too few. What the notifier shows stands in a table of names, which is read as it is.
"""

import ast
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast, get_args

from chassis.service import Service
from contracts import Data, Event

OWNER: Final = "this repository"
Read = set[tuple[type[Data], str]]
Types = frozenset[type[Data]]
NOTHING: Final[Types] = frozenset()


def consumed(service: Service) -> list[type[Event]]:
    """The events that a service handles, its own that it remembers after a restore included, by type."""
    rows = (*service.handlers, *service.remembers)
    return sorted({cast("type[Event]", row.subject) for row in rows}, key=lambda event: event.TYPE)


def reads_of(service: Service) -> dict[str, list[str]]:
    """The fields that a service reads, by the event's type."""
    package = importlib.import_module(service.package)
    root = Path(next(iter(package.__path__)))
    read: Read = set()
    for path in sorted(root.rglob("*.py")):
        name = ".".join((service.package, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        if not name.endswith("__main__"):
            _Reader(vars(importlib.import_module(name)), read).visit(ast.parse(path.read_text(encoding="utf-8")))
    shown = _shown(service)
    return {
        event.TYPE: sorted({*_paths(event, read, {event.KEY}), *shown.get(event, ())}) for event in consumed(service)
    }


def consumer_file(service: Service) -> dict[str, Any]:
    """The file in libs/contracts/consumers."""
    return {"consumer": service.name, "contact": OWNER, "reads": reads_of(service)}


def data_classes(annotation: Any) -> Types:
    """The classes of the contracts that an annotation names, in unions and containers too."""
    if isinstance(annotation, type) and issubclass(annotation, Data):
        return frozenset({annotation})
    bound = getattr(annotation, "__bound__", None)
    return NOTHING.union(*map(data_classes, (*get_args(annotation), *([bound] if bound else []))))


def _paths(model: type[Data], read: Read, always: set[str]) -> Iterator[str]:
    """The fields of a model that are read, and below them those of its parts; a part that is kept whole as itself."""
    for name, field in model.model_fields.items():
        if name in always or any(name == one and issubclass(model, of) for of, one in read):
            parts = data_classes(field.annotation)
            below = sorted({path for part in parts for path in _paths(part, read, set())})
            dot = "[]." if "tuple" in str(field.annotation) else "."
            yield from (f"{name}{dot}{path}" for path in below)
            if not below:
                yield name


def _shown(service: Service) -> Mapping[type[Event], set[str]]:
    """What a table of views names, where a service has one."""
    try:
        table: ModuleType = importlib.import_module(f"{service.package}.domain.table")
    except ModuleNotFoundError:
        return {}
    named: dict[type[Event], set[str]] = {}
    for row in table.TABLE:
        named.setdefault(row.event, set()).update(name for view in row.views for name in view.fields)
    return named


class _Reader(ast.NodeVisitor):
    """Notes each field that a module reads. `names` are what the module knows, `types` what the names in scope are."""

    def __init__(self, names: Mapping[str, Any], read: Read) -> None:
        self._names, self._read = names, read
        self._types: dict[str, Types] = {}
        self._told: Types = NOTHING

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """A function: what it gets is of the types it says."""
        outer = dict(self._types)
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        self._types |= {one.arg: self._annotated(one.annotation) for one in arguments if one.annotation}
        self.generic_visit(node)
        self._types = outer

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_Call(self, node: ast.Call) -> None:
        """A lambda says no types: it gets what the call that it is an argument of is told."""
        outer = self._told
        named = (self._names.get(one.id) for one in node.args if isinstance(one, ast.Name))
        self._told = NOTHING.union(*map(data_classes, named)) or outer
        self.generic_visit(node)
        self._told = outer

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """See visit_Call."""
        outer = dict(self._types)
        self._types |= {one.arg: self._told for one in node.args.args}
        self.generic_visit(node)
        self._types = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        """`context = event.context`."""
        self.visit(node.value)
        for target in node.targets:
            self._bind(target, node.value)

    def visit_For(self, node: ast.For) -> None:
        """`for level in event.levels`."""
        self._bind(node.target, node.iter)
        self.generic_visit(node)

    def _visit_comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        outer = dict(self._types)
        for generator in node.generators:
            self._bind(generator.target, generator.iter)
        self.generic_visit(node)
        self._types = outer

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _visit_comprehension  # noqa: N815 - ast's names

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """`event.outcome`."""
        self._read |= {(of, node.attr) for of in self._type(node.value) if node.attr in of.model_fields}
        self.generic_visit(node)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._types[target.id] = self._type(value)

    def _type(self, node: ast.expr) -> Types:
        match node:
            case ast.Name(id=name):
                return self._types.get(name, NOTHING)
            case ast.Attribute(value=value, attr=name):
                fields = (of.model_fields[name] for of in self._type(value) if name in of.model_fields)
                return NOTHING.union(*(data_classes(field.annotation) for field in fields))
            case ast.Subscript(value=value):
                return self._type(value)
            case ast.IfExp(body=one, orelse=other):
                return self._type(one) | self._type(other)
            case ast.BoolOp(values=values):
                return NOTHING.union(*map(self._type, values))
            case _:
                return NOTHING

    def _annotated(self, annotation: ast.expr) -> Types:
        """What an annotation names; a name that is there for the type checker alone is none of ours."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        named = (one.id for one in ast.walk(annotation) if isinstance(one, ast.Name))
        return NOTHING.union(*(data_classes(self._names.get(name)) for name in named))
