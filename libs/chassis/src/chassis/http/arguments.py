"""What an endpoint asks for, found out once; each request's values are parsed and validated once, before any attempt.

FastAPI reads the endpoint's signature (and documents it); the values are taken here, because an endpoint may be called
again in a new Tx, and because FastAPI's own run of dependencies ends after the answer was sent.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, get_origin

import fastapi
from fastapi import Depends, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from pydantic import BaseModel, TypeAdapter
from starlette.datastructures import Headers as StarletteHeaders
from starlette.datastructures import QueryParams
from starlette.requests import cookie_parser
from starlette.types import Scope

from chassis.http.auth import Caller
from chassis.http.bodies import parse_form, parse_json
from chassis.http.problems import invalid, invalid_fields
from chassis.http.request_context import Headers
from chassis.storage.tx import Tx

Values = dict[str, Any]

FORM_TYPE = "application/x-www-form-urlencoded"

PARSED_MAX = 4_096  # of one endpoint; a client that polls asks the same each time
PARSED_LENGTH_MAX = 256  # of path parameters and query together: longer ones are rare


def _the_tx() -> Tx:
    raise NotImplementedError("stands for the attempt's Tx")


def _the_caller() -> Caller:
    raise NotImplementedError("stands for the verified caller")


def _the_bytes() -> bytes:
    raise NotImplementedError("stands for the body as it came")


TxDep = Annotated[Tx, Depends(_the_tx)]
"""The Tx of this attempt: read-only in a GET. The edge commits it before it answers."""

CallerDep = Annotated[Caller, Depends(_the_caller)]
"""The user whose access token came with the request."""

FORM: Any = fastapi.Body(media_type=FORM_TYPE)
"""For callers that send forms: `body: Annotated[ChannelAuth, FORM]`. Its fields are strings, or lists of them."""

RawBody = Annotated[bytes, Depends(_the_bytes)]
"""The body's bytes as they came, for signatures over them."""


@dataclass(frozen=True, slots=True)
class BodyBy:
    """A parameter chooses the body's class: `body: Annotated[A | B, BodyBy("kind", {"a": A, "b": B})]`."""

    parameter: str
    classes: Mapping[str, type[BaseModel]]


class Arguments:
    """The parameters of one endpoint."""

    def __init__(self, dependant: Dependant, *, public: bool) -> None:
        """Read the signature.

        Raises:
            TypeError: it asks for what this edge does not give.
        """
        self._own = dependant
        self._names: dict[Any, str] = {}
        self._parts: list[Dependant] = []
        for part in dependant.dependencies:
            if part.call in (_the_tx, _the_caller, _the_bytes):
                self._names[part.call] = part.name or ""
            elif part.dependencies or part.body_params:
                raise TypeError(f"{part.call} must be a plain function of path, query and header parameters")
            else:
                self._parts.append(part)
        if public and _the_caller in self._names:
            raise TypeError(f"{dependant.call} is public: it has no caller")
        self.tx_name = self._names.get(_the_tx)
        self.response_name = dependant.response_param_name
        self._read_body = _body_reader(dependant)
        parts = (dependant, *self._parts)
        self._parsed: dict[tuple[Any, ...], Values] = {}
        self._query_names = None if public else {one.alias for part in parts for one in part.query_params}
        self._has_headers = any((one.header_params, one.cookie_params) != ([], []) for one in parts)
        self.has_parameters = any(
            (one.path_params, one.query_params, one.header_params, one.cookie_params) != ([], [], [], [])
            for one in (dependant, *self._parts)
        )

    @property
    def has_body(self) -> bool:
        """Whether it parses a body."""
        return self._read_body is not None

    def parse(self, scope: Scope, headers: Headers, body: bytes, caller: Caller | None) -> Values:
        """The values of one request.

        Raises:
            InvalidRequest: some of them are wrong; all that are wrong are named.
        """
        values = self._parameters(scope)
        if self._read_body is not None:
            name, value = self._read_body(headers, body, values)
            values[name] = value
        if _the_caller in self._names:
            values[self._names[_the_caller]] = caller
        if _the_bytes in self._names:
            values[self._names[_the_bytes]] = body
        return values

    def _parameters(self, scope: Scope) -> Values:
        """Those of path, query and headers. They follow from these alone, so the same ones are not parsed again."""
        key = (*scope["path_params"].values(), scope["query_string"])
        known = self._parsed.get(key)
        if known is not None:
            return dict(known)
        values = self._parse_parameters(scope)
        if not self._has_headers and sum(map(len, key)) <= PARSED_LENGTH_MAX:
            self._parsed[key] = dict(values)
            if len(self._parsed) > PARSED_MAX:
                del self._parsed[next(iter(self._parsed))]
        return values

    def _parse_parameters(self, scope: Scope) -> Values:
        errors: list[Mapping[str, Any]] = []
        values = _parameters(self._own, scope, errors)
        for part in self._parts:
            before = len(errors)
            given = _parameters(part, scope, errors)
            if part.name and part.call and len(errors) == before:
                values[part.name] = part.call(**given)
        errors += self._strange(scope["query_string"])
        if errors:
            raise invalid_fields(errors)
        return values

    def _strange(self, query: bytes) -> Iterator[Mapping[str, Any]]:
        """What is wrong with the names in a query. A vendor's URL may have what it likes."""
        if not query or self._query_names is None:
            return
        for name, times in Counter(name for name, _ in QueryParams(query).multi_items()).items():
            if name not in self._query_names:
                yield {"loc": ("query", name), "msg": "is not a parameter here", "type": "unknown"}
            elif times > 1:
                yield {"loc": ("query", name), "msg": "must not be given twice", "type": "duplicate"}


def _parameters(dependant: Dependant, scope: Scope, errors: list[Mapping[str, Any]]) -> Values:
    values: Values = {}
    if dependant.path_params:
        _take(dependant.path_params, scope["path_params"], values, errors)
    if dependant.query_params:
        _take(dependant.query_params, QueryParams(scope["query_string"]), values, errors)
    if dependant.header_params:
        _take(dependant.header_params, StarletteHeaders(scope=scope), values, errors)
    if dependant.cookie_params:
        cookies = cookie_parser(StarletteHeaders(scope=scope).get("cookie", ""))
        _take(dependant.cookie_params, cookies, values, errors)
    return values


def _take(fields: Any, received: Any, values: Values, errors: list[Mapping[str, Any]]) -> None:
    taken, wrong = request_params_to_args(fields, received)
    values.update(taken)
    errors.extend(wrong)
    for one in fields:
        text = received.get(one.alias)
        if text is not None and not _is_plain(taken.get(one.name), text):
            errors.append(
                {"loc": (one.field_info.in_.value, one.alias), "msg": "must be written plainly", "type": "odd"}
            )


def _is_plain(value: Any, text: str) -> bool:
    """Whether a number or a boolean is written as JSON has it: not as `+5`, `1_0`, `٣` or `yes`."""
    return not isinstance(value, int) or text == json.dumps(value)


def _body_reader(dependant: Dependant) -> Any:
    """A function of headers and bytes to the body parameter's name and value, or None without such a parameter."""
    if not dependant.body_params:
        return None
    if len(dependant.body_params) > 1:
        raise TypeError(f"{dependant.call} has two bodies: make them one class")
    field = dependant.body_params[0]
    adapter_for = _adapter_chooser(field.field_info)
    as_form = isinstance(field.field_info, params.Body) and field.field_info.media_type == FORM_TYPE
    parse = _form_parser(field.field_info.annotation) if as_form else parse_json

    def read(headers: Headers, body: bytes, values: Values) -> tuple[str, Any]:
        if body:
            return field.name, parse(adapter_for(values), headers.get(b"content-type", b""), body)
        if field.field_info.is_required():
            raise invalid("body", "is missing")
        return field.name, field.get_default()

    return read


def _form_parser(body: Any) -> Callable[[TypeAdapter[Any], bytes, bytes], Any]:
    """What is declared as a list may come several times. A form of somebody else's making (`extra="ignore"`) may have
    further fields, even several times over.
    """
    if not issubclass(body, BaseModel):
        return parse_form
    fields = {one.alias or name: one.annotation for name, one in body.model_fields.items()}
    lists = frozenset(name for name, annotation in fields.items() if get_origin(annotation) is list)
    only = fields.keys() if body.model_config.get("extra") == "ignore" else None
    return partial(parse_form, fields=only, lists=lists)


def _adapter_chooser(body: Any) -> Callable[[Values], TypeAdapter[Any]]:
    """A function of the parameters' values to the adapter of the body's class."""
    by = next((mark for mark in body.metadata if isinstance(mark, BodyBy)), None)
    if by is None:
        adapter = TypeAdapter[Any](body.annotation)
        return lambda _values: adapter
    parameter, adapters = by.parameter, {value: TypeAdapter[Any](of) for value, of in by.classes.items()}
    return lambda values: adapters[values[parameter]]
