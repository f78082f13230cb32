"""The OpenAPI document: complete enough to fuzz by, so every refusal is in it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

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
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and request of the same caller give the first answer again, for 24 h.",
    "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to authenticate", "schema": {"type": "string"}}},
    429: RETRY_AFTER,
    503: RETRY_AFTER,
}


def describe(
    route: APIRoute, refuses: Sequence[type[Refusal]], *, scope: str | None, public: bool, arguments: Arguments
) -> None:
    """Add to a route's documentation who may call it and how it can refuse."""
    command = not public and route.methods != {"GET"}
    refusals = [*refuses, *_of_the_edge(scope=scope, public=public, arguments=arguments, command=command)]
    route.responses = {**_responses(refusals), **route.responses}
    extra: dict[str, Any] = {} if public else {"security": [{BEARER: []}]}
    if command:
        extra["parameters"] = [IDEMPOTENCY_KEY]
    route.openapi_extra = extra | (route.openapi_extra or {})
    if scope:
        route.description = f"{route.description}\n\nNeeds the scope `{scope}`.".strip()


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of `app`."""
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = made.setdefault("components", {})
    components["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).update(schema.pop("$defs"))
    components["schemas"]["Problem"] = schema
    return made


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
    types = sorted(f"/problems/{refusal.SLUG}" for refusal in refusals)
    schema = {"allOf": [PROBLEM_SCHEMA, {"properties": {"type": {"enum": types}, "status": {"const": status}}}]}
    response: dict[str, Any] = {
        "description": " ".join(dict.fromkeys(refusal.title() for refusal in refusals)),
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status in HEADERS:
        response["headers"] = HEADERS[status]
    return response
