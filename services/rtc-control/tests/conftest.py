"""The recorded events, and a vendor that keeps tasks, checks signatures, and can be told to misbehave."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

import contracts
from byteplus.signing import Credentials, Request, sign
from contracts import Event

RECORDED = Path(contracts.__file__).parents[2] / "tests" / "recorded"
CREDENTIALS = Credentials("demo-access", "demo-secret", "ap-singapore-1")


@pytest.fixture(scope="session")
def an() -> Callable[..., Event]:
    """The recorded event of this class, with some fields changed."""

    def make(of: type[Event], **changes: Any) -> Event:
        data = json.loads((RECORDED / f"{of.TYPE}.json").read_text())["data"]
        return of.model_validate_json(json.dumps(data)).model_copy(update=changes)

    return make


@dataclass
class Vendor:
    """BytePlus as its pages describe it. `history` is every change of a task: when (monotonic), its id, running."""

    chance: Random = field(default_factory=lambda: Random(15))
    port: int = 0
    running: set[str] = field(default_factory=set)
    ever: set[str] = field(default_factory=set)
    history: list[tuple[float, str, bool]] = field(default_factory=list)
    calls: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    seconds: float = 0.0
    """How long an answer takes."""
    fails: float = 0.0
    """The share of calls that are answered with an error inside status 200, and not done."""
    loses: float = 0.0
    """The share of calls that are done, or are so a while later, and never answered."""
    down: bool = False
    late: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def heal(self) -> None:
        self.seconds, self.fails, self.loses, self.down = 0.0, 0.0, 0.0, False

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        action, said = request.query["Action"], json.loads(body) if body else dict(request.query)
        self.calls.append((time.monotonic(), action, said))
        if self.down:
            return web.Response(status=502, text="bad gateway")
        if not self._is_signed(request, body):
            return self.error(action, "SignatureDoesNotMatch", status=401)
        await asyncio.sleep(self.seconds)
        if self.chance.random() < self.fails:
            return self.error(action, "InternalError.Unknown")
        if self.chance.random() < self.loses:
            self.late.add(asyncio.create_task(self._do_late(action, said)))
            await asyncio.sleep(30)
        return self.do(action, said)

    async def _do_late(self, action: str, said: dict[str, Any]) -> None:
        await asyncio.sleep(self.chance.choice((0.0, 1.0, 6.0)))
        self.do(action, said)

    def do(self, action: str, said: dict[str, Any]) -> web.Response:
        task = said.get("TaskId", "")
        if action == "StartSnapshot" and not said.get("StorageConfig"):
            return self.error(action, "InvalidParameter")
        if action == "StartSnapshot" and task in self.running:
            return self.error(action, "InvalidParameter.TaskAlreadyExists")
        if action == "StopSnapshot" and task not in self.running:
            return self.error(action, "InvalidParameter.ErrorActiveTaskNotFound")
        if action == "GetSnapshotTask":
            if task not in self.ever:
                return self.error(action, "InvalidParameter.ErrorActiveTaskNotFound")
            return self.result(action, {"snapshotTask": {"Status": 2 if task in self.running else 3}})
        if action in ("StartSnapshot", "StopSnapshot"):
            self.change(task, running=action == "StartSnapshot")
        return self.result(action, "ok")

    def change(self, task: str, *, running: bool) -> None:
        """The task starts or stops, whoever wants it to."""
        (self.running.add if running else self.running.discard)(task)
        self.ever.add(task)
        self.history.append((time.monotonic(), task, running))

    def of(self, action: str) -> list[dict[str, Any]]:
        """What was sent with calls of this action."""
        return [said for _, called, said in self.calls if called == action]

    def _is_signed(self, request: web.Request, body: bytes) -> bool:
        date = datetime.strptime(request.headers["X-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        own = {"Content-Type": request.headers["Content-Type"]} if body else {}
        asked = Request(request.method, request.host, dict(request.query), body, own)
        expected = sign(asked, CREDENTIALS, date)["Authorization"]
        return request.headers["Authorization"] == expected

    def result(self, action: str, result: Any) -> web.Response:
        return web.json_response({"Result": result, "ResponseMetadata": {"Action": action}})

    def error(self, action: str, code: str, status: int = 200) -> web.Response:
        error = {"Code": code, "Message": "no"}
        return web.json_response({"ResponseMetadata": {"Action": action, "Error": error}}, status=status)


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    """A healthy vendor on a port of its own."""
    vendor = Vendor()
    app = web.Application()
    app.router.add_route("*", "/", vendor.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vendor.port = runner.addresses[0][1]
    yield vendor
    for late in vendor.late:
        late.cancel()
    await runner.cleanup()


@pytest.fixture(scope="session")
def callback() -> Callable[..., dict[str, str]]:
    """A delivery as the vendor signs it, its nonce in the spelling that is wanted."""

    def make(
        type_: str, data: dict[str, Any], *, id_: str = "delivery-1", spelling: str = "Noce", **changes: str
    ) -> dict[str, str]:
        said = {
            "EventType": type_,
            "EventData": json.dumps(data),
            "EventTime": "2086-01-31T20:00:00Z",
            "EventId": id_,
            "AppId": "demo" * 6,
            "Version": "2020-12-01",
            spelling: "1234",
        }
        signature = hashlib.sha256("".join(sorted((*said.values(), "demo-callback-secret"))).encode()).hexdigest()
        return {**said, "Signature": signature, **changes}

    return make
