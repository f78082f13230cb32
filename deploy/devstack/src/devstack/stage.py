"""The stage, a page to play on: `python -m devstack.stage PORT`. It makes people with money: on local stacks only.

    GET  /stage/           the page and its files (`demo/stage`), which may speak to this stack alone
    POST /stage/people     {scopes, diamonds} → {user_id, token}: somebody new, as `devstack token` makes them
    GET  /stage/clock      {ahead_seconds}: how far the stack's clock is ahead of the machine's
    POST /stage/clock      {seconds} → the same: so much time passes, as by `devstack clock`
    GET  /stage/events     server-sent events: what Kafka carries from now on

It is in nobody's path: it owns nothing, and reads Kafka only while a page listens.
"""

import json
import os
import secrets
import sys
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from devstack import clock
from devstack.carried import BUSY, Carried
from devstack.downloads import node_modules
from devstack.errors import StackError
from devstack.settings import CHECKOUT
from devstack.tokens import access_token, with_keys

PAGES: Final = CHECKOUT / "demo" / "stage"
TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
SCOPES: Final = frozenset({"CREATOR"})  # a page may make streamers, not operators
PASSING_SECONDS_MAX: Final = 3_600  # at once, and as often as one likes
DIAMONDS_MAX: Final = 100_000  # for each who is made
TOKEN_SECONDS: Final = 28_800  # an evening; a stack that takes only shorter ones gets such
BODY_BYTES_MAX: Final = 4_096
ANSWER_SECONDS: Final = 10.0  # the gateway's, when it is asked to credit
SHUTDOWN_SECONDS: Final = 1.0  # a stream of events has no end of its own

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Stage:
    """What it needs to know of its stack."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises KeyError when something is not told."""
        self._environ = environ
        self._gateway = environ["STAGE_GATEWAY"]
        self._carried = Carried(environ["KAFKA_BOOTSTRAP"])
        self._headers = {
            "Content-Security-Policy": f"default-src 'self'; connect-src 'self' {environ['STAGE_PUSHER']}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",  # who edits a file sees it at the next load
        }
        self._files = {file.name: file for file in PAGES.iterdir() if file.suffix in TYPES}
        self._files |= {"": PAGES / "index.html", "pusher.js": node_modules() / "pusher-js/dist/web/pusher.min.js"}

    def app(self) -> web.Application:
        """What answers."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[only_here, only_json])
        app.router.add_get("/stage/events", self.events)
        app.router.add_get("/stage/clock", self.clock)
        app.router.add_post("/stage/clock", self.advance)
        app.router.add_post("/stage/people", self.people)
        app.router.add_get("/stage/{name:[a-z]*(?:[.][a-z]+)?}", self.file)
        app.on_response_prepare.append(self._add_headers)
        return app

    async def file(self, request: web.Request) -> web.StreamResponse:
        """One of the page's files."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        content_type = f"{TYPES[file.suffix]}; charset=utf-8"
        return web.FileResponse(file, headers={"Content-Type": content_type})

    async def people(self, request: web.Request) -> web.Response:
        """Somebody new."""
        wanted = person_of(await request.read())
        if wanted is None:
            said = f"People have scopes of {sorted(SCOPES)} and 0…{DIAMONDS_MAX} diamonds"
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, said)
        scopes, diamonds = wanted
        user_id = secrets.token_hex(12)
        if diamonds and (refused := await self._credit(user_id, diamonds)):
            return refused
        made = {"user_id": user_id, "token": self._token(user_id, *scopes)}
        return web.json_response(made, status=HTTPStatus.CREATED)

    async def clock(self, _: web.Request) -> web.Response:
        """How far it is ahead."""
        return web.json_response({"ahead_seconds": clock.ahead_seconds(self._environ)})

    async def advance(self, request: web.Request) -> web.Response:
        """So much time passes."""
        seconds = seconds_of(await request.read())
        if seconds is None:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"1…{PASSING_SECONDS_MAX} seconds pass at once")
        try:
            clock.advance(Path(self._environ[clock.VARIABLE]).parent, seconds)
        except StackError as error:
            return problem(HTTPStatus.CONFLICT, str(error))
        return await self.clock(request)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """What Kafka carries, until the page goes."""
        with self._carried.listener() as listener:
            if listener is None:
                return problem(HTTPStatus.SERVICE_UNAVAILABLE, BUSY)
            stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await stream.prepare(request)
            async for text in listener:
                await stream.write(text)
        return stream

    async def _credit(self, user_id: str, diamonds: int) -> web.Response | None:
        """Provision diamonds, as OPS may; what came in the way, if something did."""
        headers = {"Authorization": f"Bearer {self._token(secrets.token_hex(12), 'OPS')}"}
        url = f"{self._gateway}/wallets/{user_id}/credit"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session,
                session.post(url, json={"amount_diamonds": diamonds}, headers=headers) as answer,
            ):
                if answer.status == HTTPStatus.CREATED:
                    return None
                return problem(HTTPStatus.BAD_GATEWAY, f"escrow gives no diamonds: {(await answer.text())[:200]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            return problem(HTTPStatus.BAD_GATEWAY, f"escrow gives no diamonds: {error!r}")

    def _token(self, user_id: str, *scopes: str) -> str:
        seconds = min(TOKEN_SECONDS, int(self._environ.get("ACCESS_TOKEN_SECONDS_MAX", TOKEN_SECONDS)))
        return access_token(user_id, scopes, with_keys(self._environ, Path()), seconds)

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.extend(self._headers)


@web.middleware
async def only_here(request: web.Request, handler: Any) -> web.StreamResponse:
    """A name that leads to this machine is not this machine: another's page could have it point here."""
    if request.host.rpartition(":")[0] not in LOOPBACK:
        return problem(HTTPStatus.MISDIRECTED_REQUEST, "The stage is this machine's alone")
    answer: web.StreamResponse = await handler(request)
    return answer


@web.middleware
async def only_json(request: web.Request, handler: Any) -> web.StreamResponse:
    """A page of another origin cannot ask so: JSON takes a preflight."""
    if request.method == "POST" and request.content_type != "application/json":
        return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The stage is asked in JSON")
    answer: web.StreamResponse = await handler(request)
    return answer


def seconds_of(body: bytes) -> int | None:
    """How much time is to pass; None if none can."""
    try:
        wanted = json.loads(body)
    except ValueError:
        return None
    seconds = wanted.get("seconds") if isinstance(wanted, dict) and wanted.keys() == {"seconds"} else None
    return seconds if type(seconds) is int and 1 <= seconds <= PASSING_SECONDS_MAX else None


def person_of(body: bytes) -> tuple[list[str], int] | None:
    """Scopes and diamonds that are asked for; None if there are no such people."""
    try:
        wanted = json.loads(body)
    except ValueError:
        return None
    if not isinstance(wanted, dict) or wanted.keys() != {"scopes", "diamonds"}:
        return None
    scopes, diamonds = wanted["scopes"], wanted["diamonds"]
    known = isinstance(scopes, list) and all(isinstance(scope, str) and scope in SCOPES for scope in scopes)
    counted = type(diamonds) is int and 0 <= diamonds <= DIAMONDS_MAX
    return (scopes, diamonds) if known and counted else None


def problem(status: HTTPStatus, title: str) -> web.Response:
    """A refusal, as the API's are."""
    said = {"type": "about:blank", "title": title, "status": status}
    return web.json_response(said, status=status, content_type="application/problem+json")


def main() -> None:
    """Serve until told to stop; refused where `DEVSTACK` does not say that this is a local stack."""
    if os.environ.get("DEVSTACK", "").lower() not in ("1", "true"):
        sys.exit("devstack.stage makes people with money: it runs on a local stack only (DEVSTACK=true)")
    web.run_app(
        Stage(os.environ).app(),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        print=None,
        access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
        handler_cancellation=True,
    )


if __name__ == "__main__":
    main()
