"""Bodies of requests and answers: counted, read once, strict."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema
from starlette.types import Receive

from chassis.clock import from_unix, unix
from chassis.http.problems import FIELD_LENGTH_MAX, BodyTooLarge, BodyTooSlow, invalid, invalid_fields
from chassis.http.request_context import Headers

BODY_BYTES_MAX = 64 * 1024  # SPEC §2
BODY_SECONDS = 10.0  # for all of it; a gateway counts only from one piece to the next, and gives a piece longer
FORM_FIELDS_MAX = 100  # far more than any form of ours has
UNIX_SECONDS_MAX = 253_402_300_799  # the end of the year 9999, where datetimes end

_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # MongoDB's keys and C libraries stumble over it


class ClientGone(Exception):
    """The client went away before its request was complete."""


class Body(BaseModel):
    """The base of request and answer bodies: frozen, no coercion, no unknown fields, no NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _UnixSeconds:
    """A datetime here, Unix seconds on the wire."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        seconds = core_schema.float_schema(strict=True, ge=0, le=UNIX_SECONDS_MAX, allow_inf_nan=False)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(from_unix, seconds),
            python_schema=core_schema.datetime_schema(strict=True, tz_constraint="aware"),
            serialization=core_schema.plain_serializer_function_ser_schema(
                unix, return_schema=core_schema.float_schema(), when_used="json"
            ),
        )


UnixTime = Annotated[datetime, _UnixSeconds]
"""A moment: Unix seconds, integer or fraction, on the wire; an aware UTC datetime in milliseconds here (SPEC §1)."""


def one_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The header `name`, or None.

    Raises:
        InvalidRequest: it is there twice; whoever is in between may have looked at the other one.
    """
    values = [value for given, value in headers if given == name]
    if len(values) > 1:
        raise invalid(name.decode(), "must not be given twice")
    return values[0] if values else None


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """The body's bytes, counted as they come: a `content-length` may lie or be absent.

    Raises:
        BodyTooLarge: there are more than 64 KiB.
        BodyTooSlow: they took longer than 10 s.
        ClientGone: the connection ended first.
    """
    length = headers.get(b"content-length", b"")
    if length == b"0" or not (length or b"transfer-encoding" in headers):
        return b""
    if length.isdigit() and (len(length) > len(str(BODY_BYTES_MAX)) or int(length) > BODY_BYTES_MAX):
        raise BodyTooLarge
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _pieces(receive)
    except TimeoutError:
        raise BodyTooSlow from None


async def _pieces(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge
        more = message.get("more_body", False)
    return body


def parse_json(adapter: TypeAdapter[Any], content_type: bytes, body: bytes) -> Any:
    """The JSON `body` as the adapter's type.

    Raises:
        InvalidRequest: it is not JSON, or not of that type.
    """
    if _media_type(content_type) != b"application/json":
        raise invalid("content-type", "must be application/json")
    if _ESCAPED_NUL.search(body):
        raise invalid("body", "must not contain NUL")
    with _telling("must be JSON"):
        value = adapter.validate_json(body)
        json.loads(body, object_pairs_hook=_without_duplicates)
    return value


def parse_form(
    adapter: TypeAdapter[Any],
    content_type: bytes,
    body: bytes,
    *,
    fields: Collection[str] | None = None,
    lists: Collection[str] = (),
) -> Any:
    """The urlencoded `body` as the adapter's type, which sees strings, and lists of them where a field may come several
    times (`lists`); of others than `fields`, if given, nothing.

    Raises:
        InvalidRequest: it is no such form, or not of that type.
    """
    if _media_type(content_type) != b"application/x-www-form-urlencoded":
        raise invalid("content-type", "must be application/x-www-form-urlencoded")
    with _telling("must be a urlencoded form"):
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAX)
        ours = pairs if fields is None else [pair for pair in pairs if pair[0] in fields]
        values: dict[str, Any] = _without_duplicates([pair for pair in ours if pair[0] not in lists])
        for name, value in ours:
            if name in lists:
                values.setdefault(name, []).append(value)
        return adapter.validate_python(values)


@contextmanager
def _telling(rule: str) -> Iterator[None]:
    """Say which field of a body is wrong, or, if it cannot even be read, which rule it breaks."""
    try:
        yield
    except ValidationError as error:
        wrongs = error.errors(include_url=False, include_input=False)
        raise invalid_fields({**wrong, "loc": ("body", *wrong["loc"])} for wrong in wrongs) from None
    except _Duplicate as duplicate:
        raise invalid(str(duplicate)[:FIELD_LENGTH_MAX], "must not be given twice") from None
    except (ValueError, RecursionError):
        raise invalid("body", rule) from None


class _Duplicate(Exception):
    """An object has this name twice; readers on the way may disagree on which one counts."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        counted = Counter(name for name, _ in pairs)
        raise _Duplicate(counted.most_common(1)[0][0])
    return unique


def _media_type(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower()
