"""Refusals become problem documents (RFC 9457) here and nowhere else; the edge's own refusals stand here too."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from chassis.errors import Forbidden, Invalid, NotFound, NotYet, Refusal, Unavailable
from chassis.http.response import PROBLEM, Header, HttpResponse, headers_of

ERRORS_MAX = 20  # wrong fields told at once; whoever sends more has not read the documentation
FIELD_LENGTH_MAX = 100  # a field's name may come from the caller
RETRY_AFTER_SECONDS = 1.0  # for a 503 that does not know better: conflicts and elections are over by then


class BadRequest(Refusal, slug="bad-request"):
    """The request is malformed."""

    STATUS = 400


class TokenMissing(Refusal, slug="token-missing"):
    """An access token is needed."""

    STATUS = 401


class TokenInvalid(Refusal, slug="invalid-token"):
    """The access token is not valid."""

    STATUS = 401


class ScopeMissing(Forbidden, slug="scope-missing"):
    """The access token does not allow this."""

    def __init__(self, scope: str) -> None:
        """Refuse for want of `scope`, which the answer names (RFC 6750)."""
        super().__init__(f"It needs the scope {scope}.", scope=scope)
        self.scope = scope


class BodyTooLarge(Refusal, slug="body-too-large"):
    """The body is larger than 64 KiB."""

    STATUS = 413


class BodyTooSlow(Refusal, slug="request-timeout"):
    """The body took too long to arrive."""

    STATUS = 408


class InvalidRequest(Invalid, slug="invalid-request"):
    """The request does not have the documented form."""


class IdempotencyKeyReused(Invalid, slug="idempotency-key-reused"):
    """This Idempotency-Key came with another request before."""


class KeyParked(Unavailable, slug="key-parked"):
    """Events of this session wait for an operator, and nothing may overtake them."""


class TryAgain(Unavailable, slug="try-again"):
    """The service is too busy, or its database is away."""


class NoSuchRoute(NotFound, slug="no-such-route"):
    """There is nothing at this path."""


class MethodNotAllowed(Refusal, slug="method-not-allowed"):
    """This path does not know that method."""

    STATUS = 405


class Broken(Refusal, slug="internal-error"):
    """Something is broken here; the request id finds it in the log."""

    STATUS = 500


EDGE_REFUSALS: tuple[type[Refusal], ...] = (
    TokenMissing,
    TokenInvalid,
    ScopeMissing,
    BodyTooLarge,
    BodyTooSlow,
    InvalidRequest,
    IdempotencyKeyReused,
    KeyParked,
    TryAgain,
)
"""What any endpoint may answer without declaring it; where each can happen is in the OpenAPI document."""


class FieldError(BaseModel):
    """What is wrong with one field of the request."""

    field: Annotated[str, Field(description="Where it stands, its parts joined by dots")]
    message: Annotated[str, Field(description="What is wrong, for people")]


class Problem(BaseModel):
    """A problem document (RFC 9457), as the OpenAPI document describes it."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(description="`/problems/<slug>`: stable, and a page that says what to do")]
    title: Annotated[str, Field(description="What is the matter, for people; may be reworded")]
    status: Annotated[int, Field(description="The status of the answer, once more")]
    instance: Annotated[str, Field(description="The request's id, which finds it in our logs")]
    detail: Annotated[str, Field(description="More about this one case, for people")] = ""
    errors: Annotated[list[FieldError], Field(description="Of a request of the wrong form, what is wrong with it")] = []


def invalid(field: str, message: str) -> InvalidRequest:
    """The refusal of a request in which `field` is wrong."""
    return InvalidRequest(errors=[{"field": field, "message": message}])


def invalid_fields(errors: Iterable[Mapping[str, Any]]) -> InvalidRequest:
    """The refusal that follows from pydantic's errors; it names fields and never repeats what was sent."""
    return InvalidRequest(errors=[_field_error(error) for error, _ in zip(errors, range(ERRORS_MAX), strict=False)])


def not_known(missing: NotYet, declared: Sequence[type[Refusal]]) -> Refusal:
    """The 404 for what was not heard of in time: the endpoint's own refusal of that name, if it declares one."""
    slug = f"{missing.what}-not-found"
    for refusal in declared:
        if slug == refusal.SLUG:
            return refusal()
    unknown: type[NotFound] = type("NotKnown", (NotFound,), {"SLUG": slug, "__doc__": f"No such {missing.what}."})
    return unknown()


def problem_response(refusal: Refusal, request_id: str, *headers: Header) -> HttpResponse:
    """The problem document of `refusal`."""
    document: dict[str, Any] = {
        "type": f"/problems/{refusal.SLUG}",
        "title": refusal.title(),
        "status": refusal.STATUS,
        "instance": request_id,
    }
    if refusal.detail:
        document["detail"] = refusal.detail
    body = to_json(document | {name: value for name, value in refusal.extensions.items() if name not in document})
    all_headers = (*headers_of(request_id, PROBLEM), *_headers_of(refusal), *headers)
    return HttpResponse(refusal.STATUS, all_headers, body)


def _headers_of(refusal: Refusal) -> Iterable[Header]:
    seconds = refusal.retry_after_seconds
    if seconds is None and isinstance(refusal, Unavailable):
        seconds = RETRY_AFTER_SECONDS
    if seconds is not None:
        yield b"retry-after", b"%d" % max(1, math.ceil(seconds))
    if isinstance(refusal, TokenMissing):
        yield b"www-authenticate", b'Bearer realm="footlights"'
    if isinstance(refusal, TokenInvalid):
        yield b"www-authenticate", b'Bearer realm="footlights", error="invalid_token"'
    if isinstance(refusal, ScopeMissing):
        challenge = f'Bearer realm="footlights", error="insufficient_scope", scope="{refusal.scope}"'
        yield b"www-authenticate", challenge.encode()
    if isinstance(refusal, BodyTooSlow):
        yield b"connection", b"close"  # the rest of it is not waited for


def _field_error(error: Mapping[str, Any]) -> dict[str, str]:
    where, *path = error["loc"] or ("body",)
    field = ".".join(str(part) for part in path if not (where == "body" and error["type"] == "json_invalid"))
    return {"field": (field or str(where))[:FIELD_LENGTH_MAX], "message": error["msg"]}
