"""The ASGI application of a service. It holds no resources: whoever made the runtime closes it."""

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.context import Runtime
from chassis.errors import Refusal
from chassis.http import openapi
from chassis.http.arrivals import Arrivals
from chassis.http.auth import Tokens
from chassis.http.caller_queue import CallerQueues
from chassis.http.denied import DeniedTokens
from chassis.http.edge import REQUESTS_MAX, WAITING_MAX, WAITING_OF_ONE_MAX, ConcurrencyLimit, Edge
from chassis.http.group_commit import GroupCommit
from chassis.http.problems import BadRequest, Broken, MethodNotAllowed, NoSuchRoute, problem_response
from chassis.http.request_context import request_context
from chassis.http.response import HttpResponse
from chassis.kafka.parking import ParkedKeys
from chassis.runtime.metrics import HTTP_REQUESTS
from chassis.runtime.settings import ApiSettings
from chassis.service import Service

NO_ROUTE = "(none)"  # the route's name in metrics when there is none: paths of strangers are no labels

_REFUSALS: Final[Mapping[int, type[Refusal]]] = {404: NoSuchRoute, 405: MethodNotAllowed}
"""What the router raises. Should it learn to raise more, it is the request's fault or ours, by the status' hundred."""

log = structlog.get_logger()


class _App(FastAPI):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; HEAD as GET, without the body (RFC 9110)."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Nothing around the router: endpoints answer for all that happens in them, and FastAPI's layers, of which we
        use none, were a tenth of a query.
        """
        return self._route

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.router(scope, receive, send)
        except HTTPException as error:
            await _on_http_exception(Request(scope), error)(scope, receive, send)
        except Exception:  # outside any of our endpoints; the server logs it
            with suppress(RuntimeError):  # an answer has begun
                await _broken(Request(scope))(scope, receive, send)
            raise

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = openapi.document(self.title, self.version, self.routes)
        return self.openapi_schema


def create_app(service: Service, runtime: Runtime, settings: ApiSettings) -> FastAPI:
    """The application of `service` on `runtime`."""
    app = _App(
        title=service.name,
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    parked = ParkedKeys(runtime.database, runtime.clock)
    app.state.edge = Edge(
        runtime,
        Tokens(settings, runtime.clock),
        settings.unknown_wait_seconds,
        parked,
        GroupCommit(runtime),
        ConcurrencyLimit(REQUESTS_MAX),
        ConcurrencyLimit(WAITING_MAX, of_one_max=WAITING_OF_ONE_MAX),
        Arrivals(runtime.mongo, runtime.database),
        CallerQueues(),
        DeniedTokens(runtime.database, runtime.clock),
    )
    app.router.routes.extend(service.router.routes)
    return app


def _on_http_exception(request: Request, error: HTTPException) -> Response:
    """No such path, or not with this method."""
    of_no_name = BadRequest if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else Broken
    refusal = _REFUSALS.get(error.status_code, of_no_name)()
    allow = [(b"allow", _methods(request).encode())] if isinstance(refusal, MethodNotAllowed) else []
    HTTP_REQUESTS.labels(request.method, NO_ROUTE, refusal.STATUS).inc()
    context = request_context(dict(request.scope["headers"]))
    log.info("request", method=request.method, route=NO_ROUTE, status=refusal.STATUS, request_id=context.request_id)
    return _response(problem_response(refusal, context.request_id, *allow))


def _broken(request: Request) -> Response:
    return _response(problem_response(Broken(), request_context(dict(request.scope["headers"])).request_id))


def _methods(request: Request) -> str:
    """All methods this path knows (RFC 9110 asks for all of them)."""
    known: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            known |= route.methods or set()
    return ", ".join(sorted(known | ({"HEAD"} if "GET" in known else set())))


def _without_body(send: Send) -> Send:
    async def headers_only(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return headers_only


def _response(answer: HttpResponse) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers.extend(answer.headers)
    return response
