"""BytePlus RTC in which nobody is photographed: `python -m devstack.byteplus_sandbox PORT [CALLBACK_URL [HOST]]`.

    GET, POST /?Action=…        the vendor's API, signed with the demo keys; errors stand inside HTTP 200
    GET  /sandbox               tests: what was photographed when, who is in which room, calls in one second
    PUT  /sandbox/behaviour     tests: {mode, seconds, answer_seconds, actions}; see `MODES`
    PUT  /sandbox/callbacks     tests: {url}, where events go
    POST /sandbox/callbacks     tests: {type, data, event_id, nonce_name, times}; sends an event → {statuses}
    POST /sandbox/join, leave   clients: {room_id, user_id}; 403 for who is kept out. Tells it by an event
    POST /sandbox/streams       clients: {room_id, published}: with false its tasks end once they have been idle

What it holds is gone when it ends.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import aiohttp
from aiohttp import web

from byteplus import callbacks
from byteplus.signing import ALGORITHM, Credentials, Request, canonical_request, signing_key, string_to_sign
from devstack import clock
from devstack.byteplus_vendor import Vendor, VendorError
from devstack.sandbox_http import LOOPBACK
from devstack.tokens import DEMO_STREAM_TOKENS

APP_ID: Final = DEMO_STREAM_TOKENS["BYTEPLUS_APP_ID"]  # of the app whose room tokens the stack mints
ACCESS_KEY: Final = "AKDEMO00000000000000"
SECRET_KEY: Final = "demo-secret-key-of-the-byteplus-sandbox"  # noqa: S105 - a demo secret, accepted on local stacks only
CALLBACK_SECRET: Final = "demo-secret-of-byteplus-callbacks"  # noqa: S105 - as above
STORAGE: Final = {"Type": 2, "CustomConfig": {"Vendor": 0, "Region": 0, "Bucket": "demo-pictures"}}  # where none go
REGION: Final = "ap-singapore-1"
SIGNED_FOR_SECONDS: Final = 900
HANG_SECONDS: Final = 60.0
MODES: Final = {
    "well": "does it and answers, after `answer_seconds`",
    "down": "503, nothing done",
    "hang": "nothing done, no answer",
    "slow": "does it, answers after `seconds`",
    "late": "does it only after `seconds`, whoever is still there to hear of it",
    "half": "every other call, by chance, is an internal error in HTTP 200, and nothing is done",
    "lost": "does it, and the reply is lost",
}


class Sandbox:
    """The vendor over HTTP."""

    def __init__(self, callback_url: str = "") -> None:
        """Know nobody, behave well."""
        self.vendor = Vendor()
        self.callback_url = callback_url
        self.behaviour: dict[str, Any] = {"mode": "well", "seconds": 2.0, "answer_seconds": 0.0, "actions": None}
        self.requests = count(1)

    def app(self) -> web.Application:
        """Its routes."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self.api),
                web.post("/", self.api),
                web.get("/sandbox", self.told),
                web.put("/sandbox/behaviour", self.behave),
                web.put("/sandbox/callbacks", self.call_back_to),
                web.post("/sandbox/callbacks", self.call_back),
                web.post("/sandbox/join", self.join),
                web.post("/sandbox/leave", self.leave),
                web.post("/sandbox/streams", self.streams),
            ]
        )
        return app

    async def api(self, request: web.Request) -> web.StreamResponse:
        """The vendor's own API."""
        number, body = next(self.requests), await request.read()
        action, behaviour = request.query.get("Action", ""), dict(self.behaviour)
        wrong = wrong_signature(request, body)
        if wrong is not None:
            return answer(request, number, error=wrong, status=HTTPStatus.UNAUTHORIZED)
        actions = behaviour["actions"]
        mode = behaviour["mode"] if actions is None or action in actions else "well"
        if mode == "down":
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="<html>out of order</html>")
        if mode == "hang":
            await asyncio.sleep(HANG_SECONDS)
            return web.Response(status=HTTPStatus.GATEWAY_TIMEOUT)
        if mode == "half" and zlib.crc32(str(number).encode()) % 2:
            return answer(request, number, error=VendorError("InternalError", "by chance"))
        if mode == "late":
            await asyncio.sleep(behaviour["seconds"])
        response = self._done(request, number, body)
        await asyncio.sleep(behaviour["seconds"] if mode == "slow" else behaviour["answer_seconds"])
        if mode == "lost" and request.transport is not None:
            request.transport.abort()
        return response

    def _done(self, request: web.Request, number: int, body: bytes) -> web.Response:
        action, version = request.query.get("Action", ""), request.query.get("Version", "")
        try:
            asked = json.loads(body) if request.method == "POST" else dict(request.query)
            return answer(request, number, result=self.vendor.call(action, version, asked, clock.now()))
        except VendorError as error:
            return answer(request, number, error=error)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return answer(request, number, error=VendorError("InvalidParameter.Unmarshal", str(error)))

    async def told(self, _request: web.Request) -> web.Response:
        """What a test wants to know."""
        return web.json_response(self.vendor.told(clock.now()))

    async def behave(self, request: web.Request) -> web.Response:
        """Behave otherwise from now on."""
        wanted = await request.json()
        if not wanted.keys() <= self.behaviour.keys() or wanted.get("mode", "well") not in MODES:
            return web.json_response({"modes": MODES}, status=HTTPStatus.BAD_REQUEST)
        self.behaviour |= wanted
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def call_back_to(self, request: web.Request) -> web.Response:
        """Where events go from now on."""
        self.callback_url = str((await request.json())["url"])
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def call_back(self, request: web.Request) -> web.Response:
        """Send an event, and again as often as a test wants it."""
        wanted = await request.json()
        event = self._event(wanted["type"], wanted["data"], wanted.get("event_id"), wanted.get("nonce_name", "Noce"))
        statuses = [await self._deliver(event) for _ in range(wanted.get("times", 1))]
        return web.json_response({"statuses": statuses, "event_id": json.loads(event)["EventId"]})

    async def join(self, request: web.Request) -> web.Response:
        """A client enters."""
        who = await request.json()
        if not self.vendor.join(who["room_id"], who["user_id"], clock.now()):
            return web.Response(status=HTTPStatus.FORBIDDEN)
        return await self._came_or_went("UserJoinRoom", who)

    async def leave(self, request: web.Request) -> web.Response:
        """A client goes."""
        who = await request.json()
        self.vendor.present[who["room_id"]].pop(who["user_id"], None)
        return await self._came_or_went("UserLeaveRoom", {**who, "reason": "userLeave"})

    async def streams(self, request: web.Request) -> web.Response:
        """A room's streams come or go."""
        told = await request.json()
        self.vendor.streams(told["room_id"], clock.now(), published=bool(told["published"]))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _came_or_went(self, event_type: str, who: Mapping[str, str]) -> web.Response:
        if self.callback_url:
            data = {"RoomId": who["room_id"], "UserId": who["user_id"], "DeviceType": "web"}
            data |= {"Reason": who["reason"]} if "reason" in who else {}
            event = self._event(event_type, {**data, "Timestamp": round(clock.now() * 1_000)})
            for _ in range(callbacks.DELIVERIES_MAX):
                if await self._deliver(event) == HTTPStatus.OK:
                    break
        return web.Response(status=HTTPStatus.NO_CONTENT)

    def _event(self, event_type: str, data: Any, event_id: str | None = None, nonce_name: str = "Noce") -> bytes:
        now = datetime.fromtimestamp(clock.now(), UTC)
        number = next(self.requests)
        fields = {
            "EventType": event_type,
            "EventData": json.dumps(data, separators=(",", ":")),
            "EventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "EventId": event_id or hashlib.md5(f"{now} {number}".encode(), usedforsecurity=False).hexdigest(),
            "AppId": APP_ID,
            "Version": "2020-12-01",
        }
        nonce = f"{number % 10_000:04}"
        signature = callbacks.sign(fields, nonce, CALLBACK_SECRET)
        return json.dumps({**fields, nonce_name: nonce, "Signature": signature}).encode()

    async def _deliver(self, event: bytes) -> int:
        """The status with which somebody has taken the event; 0 if nobody has."""
        timeout = aiohttp.ClientTimeout(total=callbacks.ANSWER_SECONDS_MAX)
        headers = {"Content-Type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.callback_url, data=event, headers=headers) as response,
            ):
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0


def wrong_signature(request: web.Request, body: bytes) -> VendorError | None:
    """What is wrong with a request's signature; None if nothing is. Whatever it says it has signed counts."""
    try:
        kind, _, rest = request.headers.get("Authorization", "").partition(" ")
        given = dict(part.strip().split("=", 1) for part in rest.split(","))
        key, day, region, service, _ = given["Credential"].split("/")
        date, signed = request.headers["X-Date"], given["SignedHeaders"].split(";")
        at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return VendorError("MissingSignature")
    if kind != ALGORITHM or key != ACCESS_KEY:
        return VendorError("InvalidAccessKey")
    if abs(clock.now() - at.timestamp()) > SIGNED_FOR_SECONDS:
        return VendorError("InvalidTimestamp")
    credentials = Credentials(ACCESS_KEY, SECRET_KEY, region, service)
    sent = Request(request.method, request.host, dict(request.query), body, path=request.path)
    if not {"host", "x-date", "x-content-sha256"} <= set(signed) or not all(name in request.headers for name in signed):
        return VendorError("SignatureDoesNotMatch", "something that must be signed is not")
    to_sign = string_to_sign(
        canonical_request(sent, request.headers, signed), date, given["Credential"].partition("/")[2]
    )
    signature = hmac.new(signing_key(credentials, day), to_sign.encode(), hashlib.sha256).hexdigest()
    is_body = request.headers["X-Content-Sha256"] == hashlib.sha256(body).hexdigest()
    if region != REGION or not is_body or not hmac.compare_digest(signature, given.get("Signature", "")):
        return VendorError("SignatureDoesNotMatch")
    return None


def answer(
    request: web.Request,
    number: int,
    *,
    result: Any = None,
    error: VendorError | None = None,
    status: HTTPStatus = HTTPStatus.OK,
) -> web.Response:
    """An answer as the vendor writes it."""
    metadata: dict[str, Any] = {
        "RequestId": f"sandbox-{number}",
        "Action": request.query.get("Action", ""),
        "Version": request.query.get("Version", ""),
        "Service": "rtc",
        "Region": REGION,
    }
    if error is not None:
        metadata["Error"] = {"Code": error.code, "Message": error.message}
    return web.json_response({"Result": result, "ResponseMetadata": metadata}, status=status)


if __name__ == "__main__":
    host = next(iter(sys.argv[3:]), LOOPBACK)
    web.run_app(Sandbox(*sys.argv[2:3]).app(), host=host, port=int(sys.argv[1]), print=None, access_log=None)
