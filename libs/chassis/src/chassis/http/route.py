"""TxRoute: open a Tx, call the endpoint, render the answer, commit, and only then answer."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog
from fastapi import Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.types import Receive, Scope, Send

from chassis.cause import Cause
from chassis.clock import instant
from chassis.errors import NotYet, Refusal
from chassis.http import openapi, retries
from chassis.http.arguments import Arguments, Values
from chassis.http.arrivals import Missing
from chassis.http.auth import Caller
from chassis.http.bodies import ClientGone, one_of, read_body
from chassis.http.edge import Edge
from chassis.http.etag import unless_known
from chassis.http.idempotency import FORMER_RECORDS, CommandKey, is_final, keep, recall, replayed
from chassis.http.problems import (
    EDGE_REFUSALS,
    Broken,
    KeyParked,
    ScopeMissing,
    TokenInvalid,
    TryAgain,
    not_known,
    problem_response,
)
from chassis.http.request_context import Headers, RequestContext, request_context
from chassis.http.response import JSON, Header, HttpResponse, headers_of
from chassis.runtime import tracing
from chassis.runtime.faults import fault_point
from chassis.runtime.metrics import HTTP_REQUESTS, HTTP_RETRIES, HTTP_SECONDS, HTTP_UNDECLARED
from chassis.storage.errors import STORAGE_ERRORS
from chassis.storage.tx import Tx

CLIENT_GONE_STATUS = 499  # nobody reads it; the log and the metrics do (nginx's number)
NO_CONTENT_STATUS = 204

SameAs = str | Callable[[Mapping[str, str], Tx], Awaitable[str | None]]
"""The path that an alias stands for; or a function that finds it, if there is one now, from the path parameters."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a route demands and which refusals it declares."""

    refuses: tuple[type[Refusal], ...] = ()
    scope: str | None = None
    public: bool = False
    group_commit: bool = False
    same_as: SameAs | None = None
    overtakes: bool = False
    etag: bool = True


@dataclass(slots=True)
class _Request:
    """One request on its way through."""

    edge: Edge
    context: RequestContext
    headers: Headers
    cause: Cause
    caller: Caller | None = None
    key: CommandKey | None = None
    path_params: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 0
    alone: bool = False
    """Whether a transaction with others' commands has failed."""


class TxRoute(APIRoute):
    """One endpoint, documented by FastAPI and run by us."""

    def __init__(
        self, path: str, endpoint: Callable[..., Any], *, method: str, rules: Rules, status_code: int, **options: Any
    ) -> None:
        """Understand the endpoint's signature.

        Raises:
            TypeError: it asks for what this edge does not give.
        """
        if not asyncio.iscoroutinefunction(endpoint):
            raise TypeError(f"{endpoint} must be `async def`")
        if status_code == NO_CONTENT_STATUS:
            options["response_model"] = None
        super().__init__(path, endpoint, methods=[method], status_code=status_code, **options)
        # `$` would let a line end follow: another spelling of the path, with Idempotency-Keys of its own.
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z")
        self.method = method
        self.rules = rules
        self._read_only = method == "GET"
        self.tagged = self._read_only and rules.etag
        self._status = status_code
        self._arguments = Arguments(self.dependant, public=rules.public)
        self._declared = (*rules.refuses, *EDGE_REFUSALS)
        self._answer_type: TypeAdapter[Any] | None = TypeAdapter(self.response_model) if self.response_model else None
        self.refusals = openapi.describe(
            self, rules.refuses, scope=rules.scope, public=rules.public, tagged=self.tagged, arguments=self._arguments
        )
        self.app = self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens, and say so in one line of the log."""
        edge: Edge = scope["app"].state.edge
        began = edge.runtime.clock.monotonic()
        headers = dict(scope["headers"])
        context = request_context(headers)
        arrived = instant(edge.runtime.clock.micros())
        cause = Cause(arrived, context.request_id, client_id=context.client_id)
        request = _Request(edge, context, headers, cause)
        status = CLIENT_GONE_STATUS
        try:
            answer = await self._answer(request, scope, receive)
            status = answer.status
            await answer.send(send)
        except ClientGone:
            pass  # nobody is left to be told; the log line below says 499
        finally:
            self._note(request, status, edge.runtime.clock.monotonic() - began)

    async def _answer(self, request: _Request, scope: Scope, receive: Receive) -> HttpResponse:
        """What to answer: nothing but a client that went away gets past this."""
        try:
            with tracing.edge_span(f"{self.method} {self.path_format}", request.context.traceparent) as traceparent:
                request.cause = replace(request.cause, traceparent=traceparent)
                return await self._handle(request, scope, receive)
        except NotYet as missing:
            return self._refuse(not_known(missing, self.rules.refuses), request)
        except Refusal as refusal:
            return self._refuse(refusal, request)
        except ClientGone:
            raise
        except Exception:
            log.exception("request failed", route=self.path_format, request_id=request.context.request_id)
            return problem_response(Broken(), request.context.request_id)

    async def _handle(self, request: _Request, scope: Scope, receive: Receive) -> HttpResponse:
        """401, 413 or 408, 422 and the 403 of scopes in this order (SPEC §2), then the attempts."""
        caller = request.caller = None if self.rules.public else await self._caller(request, scope)
        body = await read_body(request.headers, receive)
        values = self._arguments.parse(scope, request.headers, body, caller)
        key = one_of(scope["headers"], b"idempotency-key")
        if key is not None and caller is not None and not self._read_only:
            said = scope["query_string"] + b"\n" + body
            request.key = CommandKey.of(key, caller.user_id, self.method, scope["path"], said)
            request.path_params = scope["path_params"]
        if self.rules.scope and caller is not None and self.rules.scope not in caller.scopes:
            raise ScopeMissing(self.rules.scope)  # also to who may see a stored answer no more
        if (full := request.edge.runtime.backlog.full) is not None and not self._read_only:
            raise TryAgain(f"Too much is not done yet: {full}.")

        edge, user_id = request.edge, caller.user_id if caller else None
        with (
            edge.concurrency.acquire(),  # not before: whoever sends slowly takes nobody's place
            edge.caller_queues.of(None if self._read_only else user_id) as queue,
        ):
            return await retries.retry(
                partial(self._attempt, request, values),
                edge.arrivals,
                unknown_wait_seconds=edge.unknown_wait_seconds,
                place=partial(edge.waiting.acquire, user_id or ""),
                queue=queue,
            )

    async def _caller(self, request: _Request, scope: Scope) -> Caller:
        """Who asks. Raises TokenMissing or TokenInvalid."""
        authorizations = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(authorizations) > 1:
            raise TokenInvalid  # whoever is in between may have looked at the other one
        caller = request.edge.tokens.caller(authorizations[0] if authorizations else None, request.context)
        if await request.edge.denied.has(caller.jti):
            raise TokenInvalid
        return caller

    async def _attempt(self, request: _Request, values: Values) -> HttpResponse:
        """In a transaction with others at first, if its rules say so; once that has failed, in one of its own."""
        request.attempts += 1
        if request.alone or not self.rules.group_commit:
            return await retries.run_shielded(self._attempt_alone(request, values))
        try:
            return await request.edge.group_commit.attempt(request.cause, partial(self._decide, request, values))
        except STORAGE_ERRORS:
            request.alone = True
            raise

    async def _attempt_alone(self, request: _Request, values: Values) -> HttpResponse:
        tx = request.edge.runtime.begin(request.cause, read_only=self._read_only)
        try:
            answer = await self._decide(request, values, tx)
            await tx.commit()
            fault_point("edge.after_commit")
        finally:
            await tx.abort_quietly()
        return answer

    async def _decide(self, request: _Request, values: Values, tx: Tx) -> HttpResponse:
        """The answer, if this Tx commits."""
        keys = await self._keys(request, tx)
        former = FORMER_RECORDS.name in request.edge.runtime.former_collections
        for key in keys:
            if (stored := await recall(tx, key, former=former)) is not None:
                return replayed(stored, request.context.request_id)
        start = tx.savepoint()
        refused = False
        try:
            answer = await self._call(request, values, tx)
        except NotYet as missing:
            raise Missing(missing.what, tx.absent(start)) from missing
        except Refusal as refusal:
            if not keys or not is_final(refusal):
                raise
            refused = True
            tx.rollback(start)
            answer = self._refuse(refusal, request)
        published = tx.published_keys(start)
        if published and not self.rules.overtakes and await request.edge.parked.among(published):
            raise KeyParked
        for key in keys:
            keep(tx, key, answer, refused=refused, former=former)
        return answer

    async def _keys(self, request: _Request, tx: Tx) -> Sequence[CommandKey]:
        """Where the answer to this command is stored: at its path, and at that of the command it is an alias of."""
        if request.key is None:
            return ()
        path = self.rules.same_as
        if callable(path):
            path = await path(request.path_params, tx)
        return (request.key,) if path is None else (request.key, request.key.at(path))

    async def _call(self, request: _Request, values: Values, tx: Tx) -> HttpResponse:
        """Call the endpoint and render what it returns."""
        arguments = self._arguments
        given = dict(values)
        if arguments.tx_name is not None:
            given[arguments.tx_name] = tx
        changed: Response | None = None
        if arguments.response_name is not None:
            changed = given[arguments.response_name] = Response()
            del changed.headers["content-length"]
            changed.status_code = self._status
        result = await self.endpoint(**given)
        if isinstance(result, Response):
            headers = headers_of(request.context.request_id, None)
            return HttpResponse(result.status_code, (*headers, *_own_headers(result)), bytes(result.body))
        body = b"" if self._answer_type is None else self._answer_type.dump_json(result, by_alias=True)
        headers = headers_of(request.context.request_id, JSON if self._answer_type else None)
        if changed is None:
            answer = HttpResponse(self._status, headers, body)
            return unless_known(answer, request.headers) if self.tagged else answer
        return HttpResponse(changed.status_code, (*headers, *_own_headers(changed)), body)

    def _refuse(self, refusal: Refusal, request: _Request) -> HttpResponse:
        """The problem document; one that clients could not have known of is a bug, and counted."""
        if not isinstance(refusal, self._declared):
            HTTP_UNDECLARED.labels(self.method, self.path_format, refusal.SLUG).inc()
            log.error(
                "undeclared refusal", route=self.path_format, slug=refusal.SLUG, request_id=request.context.request_id
            )
        return problem_response(refusal, request.context.request_id)

    def _note(self, request: _Request, status: int, seconds: float) -> None:
        """The canonical log line and the metrics."""
        HTTP_REQUESTS.labels(self.method, self.path_format, status).inc()
        HTTP_SECONDS.labels(self.method, self.path_format).observe(seconds)
        if request.attempts > 1:
            HTTP_RETRIES.labels(self.path_format).inc(request.attempts - 1)
        log.info(
            "request",
            method=self.method,
            route=self.path_format,
            status=status,
            ms=round(seconds * 1_000, 1),
            user_id=request.caller.user_id if request.caller else None,
            request_id=request.context.request_id,
            client_id=request.context.client_id,
            session_id=request.context.session_id,
            attempts=request.attempts,
        )


def _own_headers(response: Response) -> list[Header]:
    """The headers that the endpoint set itself."""
    return [header for header in response.raw_headers if header[0] != b"content-length"]
