"""The OpenAPI document: complete enough to fuzz by, so every refusal is in it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from chassis.errors import Refusal
from chassis.http.arguments import Arguments
from chassis.http.problems import (
    BodyTooLarge,
    BodyTooSlow,
    IdempotencyKeyReused,
    InvalidRequest,
    KeyParked,
    Problem,
    ScopeMissing,
    TokenInvalid,
    TokenMissing,
    TryAgain,
)

BEARER = "bearer"
SCHEMAS = "#/components/schemas/"
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and request of the same caller give the first answer again, for 24 h.",
    "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
WWW_AUTHENTICATE = {"WWW-Authenticate": {"description": "How to authenticate", "schema": {"type": "string"}}}
NOT_MODIFIED: dict[str, Any] = {"description": "The same as the caller has: `If-None-Match` names its `ETag`"}
HEADERS: dict[int, dict[str, Any]] = {
    401: WWW_AUTHENTICATE,
    429: RETRY_AFTER,
    503: RETRY_AFTER,
}


def describe(
    route: APIRoute,
    refuses: Sequence[type[Refusal]],
    *,
    scope: str | None,
    public: bool,
    tagged: bool,
    arguments: Arguments,
) -> tuple[type[Refusal], ...]:
    """Add to a route's documentation who may call it and how it can refuse. Returns all its refusals."""
    command = not public and route.methods != {"GET"}
    if tagged and not public:
        route.responses = {304: NOT_MODIFIED, **route.responses}
    refusals = [*refuses, *_of_the_edge(scope=scope, public=public, arguments=arguments, command=command)]
    route.responses = {**_responses(refusals), **route.responses}
    extra: dict[str, Any] = {} if public else {"security": [{BEARER: [scope] if scope else []}]}
    if command:
        extra["parameters"] = [IDEMPOTENCY_KEY]
    route.openapi_extra = extra | (route.openapi_extra or {})
    if scope:
        route.description = f"{route.description}\n\nNeeds the scope `{scope}`.".strip()
    return tuple(dict.fromkeys(refusals))


def document(title: str, version: str, routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of `routes`, with a schema for each problem that one of them may answer."""
    made = get_openapi(title=title, version=version, routes=routes)
    components = made.setdefault("components", {})
    components["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    schema = Problem.model_json_schema(ref_template=SCHEMAS + "{model}")
    schemas = components.setdefault("schemas", {})
    schemas |= schema.pop("$defs")
    found = {refusal for route in routes for refusal in getattr(route, "refusals", ())}
    refusals = sorted(found, key=lambda one: (one.SLUG, one.STATUS, one.__module__))
    schemas |= {schema_name(refusal.SLUG): problem_schema(refusal, schema) for refusal in refusals}
    schemas["Problem"] = schema
    components["schemas"] = dict(sorted(schemas.items()))
    return made


def schema_name(slug: str) -> str:
    """`goal-not-active` is `GoalNotActiveProblem`."""
    return "".join(map(str.capitalize, slug.split("-"))) + "Problem"


def problem_schema(refusal: type[Refusal], base: Mapping[str, Any]) -> dict[str, Any]:
    """`base`, the schema of any problem, for one slug. Its status stays a plain integer: many a generator cannot merge
    an integer with a constant, and drops the answer.
    """
    slug: dict[str, Any] = {"type": "string", "const": f"/problems/{refusal.SLUG}"}
    properties = {**base["properties"], "type": {**base["properties"]["type"], **slug}}
    return {
        **base,
        "title": schema_name(refusal.SLUG),
        "description": refusal.title(),
        "properties": properties,
    }


def _of_the_edge(*, scope: str | None, public: bool, arguments: Arguments, command: bool) -> Iterable[type[Refusal]]:
    if not public:
        yield from (TokenMissing, TokenInvalid)
    if scope:
        yield ScopeMissing
    if arguments.has_body or command:
        yield from (BodyTooLarge, BodyTooSlow)
    if not public or arguments.has_body or arguments.has_parameters:
        yield InvalidRequest
    if command:
        yield from (IdempotencyKeyReused, KeyParked)
    yield TryAgain


def _responses(refusals: Sequence[type[Refusal]]) -> dict[int | str, dict[str, Any]]:
    """One response per status; several refusals of one status share it."""
    by_status: dict[int, list[type[Refusal]]] = defaultdict(list)
    for refusal in dict.fromkeys(refusals):
        by_status[refusal.STATUS].append(refusal)
    return {status: _response(status, of_status) for status, of_status in sorted(by_status.items())}


def _response(status: int, refusals: Sequence[type[Refusal]]) -> dict[str, Any]:
    names = {f"/problems/{one.SLUG}": SCHEMAS + schema_name(one.SLUG) for one in refusals}
    refs = [{"$ref": name} for name in names.values()]
    one_of = {"oneOf": refs, "discriminator": {"propertyName": "type", "mapping": names}}
    response: dict[str, Any] = {
        "description": " ".join(dict.fromkeys(refusal.title() for refusal in refusals)),
        "content": {"application/problem+json": {"schema": refs[0] if len(refs) == 1 else one_of}},
    }
    if status in HEADERS:
        response["headers"] = HEADERS[status]
    return response
