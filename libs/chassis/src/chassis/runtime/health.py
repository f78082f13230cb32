"""`/healthz`, `/readyz` and `/metrics` of every process, answered before the service's own app sees the request."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis.clock import Clock, instant
from chassis.http.response import EVERYWHERE
from chassis.runtime import metrics
from chassis.storage.mongo import Database, PyMongoError

CACHE_SECONDS = 1.0  # a load balancer may ask as often as it likes
PING_SECONDS = 1.0
CLOCKS_APART_SECONDS_MAX = 60.0  # rows that MongoDB deletes by their time are kept for minutes at least

Check = Callable[[], Awaitable[Sequence[str]]]
"""Returns what is in the way, in words; empty when nothing is."""


class Readiness:
    """Whether a process wants work, and if not, why."""

    def __init__(self, clock: Clock) -> None:
        """Start as not ready."""
        self.starting: str | None = "starting"
        self.stopping = False
        self.checks: tuple[Check, ...] = ()
        self._clock = clock
        self._found: list[str] = []
        self._found_until = 0.0

    async def reasons(self) -> list[str]:
        """What is in the way; empty when ready. At most a second old, except that stopping counts at once."""
        if self.stopping or self.starting is not None:
            reasons = ["stopping" if self.stopping else str(self.starting)]
        else:
            reasons = await self._ask()
        metrics.READY.set(not reasons)
        return reasons

    async def _ask(self) -> list[str]:
        now = self._clock.monotonic()
        if now >= self._found_until:
            self._found = [reason for check in self.checks for reason in await check()]
            self._found_until = now + CACHE_SECONDS
        return self._found


class ClocksApartError(Exception):
    """This machine's clock and MongoDB's do not agree at all: one of them has to be set."""

    def __init__(self, ahead_seconds: float) -> None:
        """Say by how much."""
        how = "ahead of" if ahead_seconds > 0 else "behind"
        super().__init__(f"this machine's clock is {abs(ahead_seconds):.0f} s {how} MongoDB's")


async def check_clock(database: Database, clock: Clock) -> list[str]:
    """Compare the clocks. What a process stamps with a time, MongoDB deletes by its own: inbox, idempotency keys.

    Raises:
        ClocksApartError: they are over a minute apart.
        PyMongoError, TimeoutError: MongoDB does not answer.
    """
    asked = instant(clock.machine_micros())
    async with asyncio.timeout(PING_SECONDS):
        answer = await database.command("hello", codec_options=database.codec_options)
    ahead = (asked - answer["localTime"]).total_seconds()
    behind = (answer["localTime"] - instant(clock.machine_micros())).total_seconds()
    if max(ahead, behind) > CLOCKS_APART_SECONDS_MAX:
        raise ClocksApartError(ahead if ahead > 0 else -behind)
    return []


def mongo_answers(database: Database, clock: Clock) -> Check:
    """The check that the database can be reached, and that its clock is ours."""

    async def check() -> Sequence[str]:
        try:
            await check_clock(database, clock)
        except ClocksApartError as apart:
            return [str(apart)]
        except (PyMongoError, TimeoutError):
            return ["MongoDB does not answer"]
        return []

    return check


class Health:
    """Puts the three paths before an app; not in its OpenAPI document, and without its middleware."""

    def __init__(self, app: ASGIApp, readiness: Readiness) -> None:
        """Hand everything else to `app`."""
        self._app = app
        self._readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        path = scope.get("path", "")
        if path == "/healthz":
            await _answer_json(send, 200, {"alive": True})
        elif path == "/readyz":
            reasons = await self._readiness.reasons()
            await _answer_json(send, 503 if reasons else 200, {"ready": not reasons, "reasons": reasons})
        elif path == "/metrics":
            await _answer(send, 200, CONTENT_TYPE_LATEST, metrics.exposition())
        else:
            await self._app(scope, receive, send)


async def no_app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - the form of an ASGI app
    """The app of a process without an API."""
    await _answer_json(send, 404, {"title": "A worker has no API.", "status": 404})


async def _answer_json(send: Send, status: int, body: object) -> None:
    await _answer(send, status, "application/json", json.dumps(body).encode())


async def _answer(send: Send, status: int, content_type: str, body: bytes) -> None:
    headers = [*EVERYWHERE, (b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
