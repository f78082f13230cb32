"""Bad input on every endpoint: the problem+json of SPEC §2, and nothing changes."""

import base64
import copy
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin
from urllib.parse import quote, urlencode

import httpx
import jwt

from chassis import ids
from chassis.http import create_app
from chassis.http.idempotency import IDEMPOTENCY_RECORDS
from chassis_testing.service import KID, ServiceHarness, access_token

if TYPE_CHECKING:
    from tests.input.conftest import Deed, Way

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

ID = re.compile("[0-9a-f]{24}")
OPERATORS = ({"$ne": None}, {"$gt": ""}, ["$where"])
STRINGS = ("$where", '{"$ne": null}', "$gt.a", "", "x" * 600)
NUMBERS = (10**24, -(10**24), float("nan"), float("inf"))
WORDS = ("9" * 25, "NaN", "1.5", "-1")  # numbers as they come in paths and queries
NOT_OBJECTS = (b"[]", b"null", b"1", b'{"a":', b"\xff", b"[" * 50_000)
MIB = b'"' + b"x" * 2**20 + b'"'


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a request, and how it is refused; a 422 names `field`, or something in it."""

    name: str
    status: int
    slug: str
    request: httpx.Request
    field: str = ""


@dataclass(frozen=True)
class Bad:
    """Makes one bad request after the other of a good one."""

    way: "Way"
    deed: "Deed"
    required: frozenset[str]
    """Query parameters that must be there."""

    def all(self) -> Iterator[Wrong]:
        yield from self._unknown_callers()
        yield from self._wrong_callers()
        yield from self._wrong_references()
        yield from self._wrong_parameters()
        yield from self._huge()
        if self.way.method != "GET":
            yield from self._wrong_idempotency_keys()
        yield from self._strange_parameters()
        if self.deed.body:
            yield from self._wrong_fields()
        if self.deed.body and not self.deed.form:  # the one form is Pusher's, and may have what it likes besides
            yield from self._strange_fields()
            yield from self._no_objects()

    def request(
        self, deed: "Deed | None" = None, token: str = "", content: bytes | None = None, **headers: str
    ) -> httpx.Request:
        """The deed as a request; a `token` of `-` is none."""
        deed = deed or self.deed
        path = self.way.template.format(**{name: quote(value, safe="") for name, value in deed.path.items()})
        if content is None and deed.body:
            content = urlencode(deed.body, doseq=True).encode() if deed.form else json.dumps(deed.body).encode()
        kind = "application/x-www-form-urlencoded" if deed.form else "application/json"
        sent = {"authorization": f"Bearer {token or access_token(deed.user, *deed.scopes)}", "content-type": kind}
        if token == "-":
            del sent["authorization"]
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = httpx.URL(f"http://solo{path}", params=dict(deed.query))
        encoded = [(name.encode(), value.encode()) for name, value in sent.items()]
        return httpx.Request(self.way.method, url, headers=encoded, content=content)

    def _unknown_callers(self) -> Iterator[Wrong]:
        yield Wrong("no token", 401, "token-missing", self.request(token="-"))
        for name, token in _forgeries(access_token(self.deed.user, *self.deed.scopes)).items():
            yield Wrong(name, 401, "invalid-token", self.request(token=token))

    def _wrong_callers(self) -> Iterator[Wrong]:
        if self.deed.foreign:
            other = replace(self.deed, user=ids.new_id())
            yield Wrong("another user", *self.deed.foreign, self.request(other))
        if self.deed.scopes:
            for scopes in ((), ("PAID", "HUMAN")):
                wanting = replace(self.deed, scopes=scopes)
                yield Wrong(f"scopes {scopes}", 403, "scope-missing", self.request(wanting))

    def _wrong_references(self) -> Iterator[Wrong]:
        for no in self.deed.but:
            named = f"{no.field}={no.value}"
            yield Wrong(named, no.status, no.slug, self.request(_with(self.deed, no.field, no.value)))

    def _wrong_parameters(self) -> Iterator[Wrong]:
        for name, value in self.deed.path.items():
            for wrong in (*(text for text in STRINGS if text), *(WORDS if ID.fullmatch(value) else ())):
                yield self._invalid(name, wrong, _with(self.deed, name, wrong))
        for name in self.deed.query:
            for wrong in (*STRINGS, *WORDS):
                yield self._invalid(name, wrong, _with(self.deed, name, wrong))
        for name in self.required:
            query = {f"{one}[$ne]" if one == name else one: value for one, value in self.deed.query.items()}
            yield self._invalid(name, "[$ne]", replace(self.deed, query=query))

    def _strange_parameters(self) -> Iterator[Wrong]:
        for name in ("$where", "no", "limit[$gt]"):
            yield self._invalid(name, "1", replace(self.deed, query={**self.deed.query, name: "1"}))

    def _huge(self) -> Iterator[Wrong]:
        yield Wrong("1 MiB", 413, "body-too-large", self.request(content=MIB))
        yield Wrong("1 MiB of a stranger", 401, "token-missing", self.request(token="-", content=MIB))

    def _wrong_idempotency_keys(self) -> Iterator[Wrong]:
        for key in ("", "x" * 256, "ключ"):
            request = self.request(idempotency_key=key)
            yield Wrong(f"idempotency-key {key}", 422, "invalid-request", request, "idempotency-key")

    def _wrong_fields(self) -> Iterator[Wrong]:
        for name, value in _nodes(self.deed.body):
            wrongs = _wrong_texts(name, self.deed) if self.deed.form else _wrong_values(name, value, self.deed)
            for wrong in wrongs:
                yield self._invalid(name, wrong, _with(self.deed, name, wrong))

    def _strange_fields(self) -> Iterator[Wrong]:
        for name in ("$where", "a.b", "_id", "$set.active"):
            yield self._invalid(name, "1", replace(self.deed, body={**self.deed.body, name: "1"}))

    def _no_objects(self) -> Iterator[Wrong]:
        for content in (*NOT_OBJECTS, json.dumps({**self.deed.body, "\x00": "\x00"}).encode()):
            named = f"body {content[:40]!r}"
            yield Wrong(named, 422, "invalid-request", self.request(content=content), "body")
        text = self.request(content_type="text/plain")
        yield Wrong("text/plain", 422, "invalid-request", text, "content-type")

    def _invalid(self, name: str, wrong: object, deed: "Deed") -> Wrong:
        return Wrong(f"{name} = {wrong!r:.40}", 422, "invalid-request", self.request(deed), name)


def _forgeries(token: str) -> dict[str, str]:
    """Tokens that nobody signed who may."""
    header, payload, signature = token.split(".")
    unsigned = {
        f"alg {alg}": f"{_b64({'alg': alg, 'typ': 'JWT', 'kid': KID})}.{payload}." for alg in ("none", "None", "HS256")
    }
    claims = jwt.decode(token, options={"verify_signature": False})
    return unsigned | {
        "more scopes": f"{header}.{_b64(claims | {'scopes': ['OPS', 'CREATOR']})}.{signature[::-1]}",
        "another key": jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": KID}),
        "an operator as kid": jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": "$ne"}),
        "no token at all": "$where",
    }


def _b64(part: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _wrong_texts(name: str, deed: "Deed") -> tuple[str, ...]:
    return () if name in deed.free else STRINGS


def _wrong_values(name: str, value: object, deed: "Deed") -> tuple[object, ...]:
    match value:
        case bool():
            return (*OPERATORS, *NUMBERS, *STRINGS, 1)
        case int():
            return (*OPERATORS, *NUMBERS, *STRINGS, -1, 1.5, "5", True)
        case float():
            return (*OPERATORS, *NUMBERS, *STRINGS, -1, "5", True)
        case str():
            return (*OPERATORS, *NUMBERS, True, *_wrong_texts(name, deed))
        case list():
            return (*NUMBERS, {"$ne": None}, [{"$ne": None}], "$where", True)
        case _:
            return (*OPERATORS, *NUMBERS, *STRINGS, True, [])


def _nodes(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Everything in a body, by its dotted name."""
    if name:
        yield name, value
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from _nodes(one, f"{name}.{key}".lstrip("."))


def _with(deed: "Deed", name: str, value: object) -> "Deed":
    """The deed with another value in this field of its path, query or body."""
    if name in deed.path:
        return replace(deed, path={**deed.path, name: str(value)})
    if name in deed.query:
        return replace(deed, query={**deed.query, name: str(value)})
    body: Any = copy.deepcopy(dict(deed.body))
    *parents, last = name.split(".")
    place = body
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    place[int(last) if isinstance(place, list) else last] = value
    return replace(deed, body=body)


def _refused_as_told(wrong: Wrong, answer: httpx.Response) -> bool:
    """Whether this is the problem+json that SPEC §2 promises."""
    if answer.headers["content-type"] != "application/problem+json":
        return False
    problem = answer.json()
    told = problem["status"] == answer.status_code and problem["instance"] == answer.headers["x-request-id"]
    told = told and bool(problem["title"]) and "x" * 200 not in answer.text  # what was sent is never repeated
    if wrong.field:
        fields = [error["field"] for error in problem["errors"] if error["message"]]
        told = told and any(one == wrong.field or one.startswith(f"{wrong.field}.") for one in fields)
    if answer.status_code == 401:
        told = told and answer.headers["www-authenticate"].startswith("Bearer ")
    return told and (answer.status_code, problem["type"]) == (wrong.status, f"/problems/{wrong.slug}")


async def _state(harness: ServiceHarness) -> object:
    answers = await harness.runtime.database[IDEMPOTENCY_RECORDS.name].count_documents({})
    return await harness.snapshot(), await harness.published(), await harness.timers(), await harness.effects(), answers


def _operation(harness: ServiceHarness, way: "Way") -> Any:
    """The endpoint in the OpenAPI document; of an alias, that of what it stands for."""
    document = create_app(harness.service, harness.runtime, harness.settings).openapi()
    return document["paths"][way.template if way.template != "/goal" else "/goals"][way.method.lower()]


async def test_bad_input_is_refused_and_changes_nothing(way: "Way", harness_of: HarnessOf) -> None:
    harness = await harness_of(way.service)
    deed = await way.prepare(harness)
    parameters = [one for one in _operation(harness, way).get("parameters", ()) if one["in"] == "query"]
    bad = Bad(way, deed, frozenset(one["name"] for one in parameters if one["required"]))
    before = await _state(harness)

    unexpected = {}
    async with harness.client() as client:
        for wrong in bad.all():
            answer = await client.send(wrong.request)
            if not _refused_as_told(wrong, answer):
                unexpected[wrong.name] = (answer.status_code, answer.text[:300], f"not {wrong.status} {wrong.slug}")

        assert unexpected == {}
        assert await _state(harness) == before
        good = await client.send(bad.request())
    assert good.is_success, good.text  # or it would have been refused anyway


async def test_every_parameter_and_every_field_is_tried(way: "Way", harness_of: HarnessOf) -> None:
    harness = await harness_of(way.service)
    deed = await way.prepare(harness)
    document = create_app(harness.service, harness.runtime, harness.settings).openapi()
    operation = _operation(harness, way)

    for where, tried in (("path", deed.path), ("query", deed.query)):
        known = {one["name"] for one in operation.get("parameters", ()) if one["in"] == where}
        assert set(tried) == known, where
    bodies = _fields_of_bodies(operation, document["components"]["schemas"])
    assert set(deed.body) in (bodies or [set()])


def _fields_of_bodies(operation: Any, schemas: Any) -> list[set[str]]:
    """The fields of each class that the body may have."""
    kinds: list[set[str]] = []
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        names = [one["$ref"].rsplit("/", 1)[1] for one in schema.get("oneOf", schema.get("anyOf", [schema]))]
        kinds += [set(schemas[name]["properties"]) for name in names]
    return kinds


def test_every_endpoint_is_tried_in_every_way(ways: "list[Way]") -> None:
    known = set()
    for route in _routes(ways):
        if route.rules.public:
            continue  # a vendor calls it, with a signature: its own service's tests try it
        [method] = route.methods
        kinds = [one for one in route.dependant.query_params if one.field_info.is_required() and _choices(one)]
        variants = [f"?{one.alias}={choice}" for one in kinds for choice in _choices(one)]
        hidden = not route.include_in_schema  # an alias of another endpoint, which is tried in every way
        known |= {f"{method} {route.path}{variant}" for variant in (variants if variants and not hidden else [""])}

    assert {way.label for way in ways} == known


def test_every_service_is_tried(all_ways: "tuple[Way, ...]") -> None:
    root = Path(__file__).parents[2]
    services = {path.parent.name for path in root.glob("services/*/src/*/service.py")}

    assert {way.service.package for way in all_ways} == services


def _routes(ways: "list[Way]") -> Any:
    return ways[0].service.router.routes


def _choices(parameter: Any) -> tuple[str, ...]:
    """The values of a parameter that has only a few."""
    annotation = parameter.field_info.annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()
