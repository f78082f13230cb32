"""What the HTTP server refuses before any endpoint is asked, over real connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chassis.http import TxRouter, create_app
from chassis.runtime import server
from chassis.runtime.server import Server
from chassis.service import Service
from chassis_testing.service import ServiceHarness

Ask = Callable[[bytes], Awaitable[bytes]]

SERVICE = Service(name="bare", router=TxRouter())


@pytest.fixture
async def ask(
    harness_of: Callable[..., Awaitable[ServiceHarness]], unused_tcp_port_factory: Callable[[], int]
) -> AsyncIterator[Ask]:
    """Send these bytes over a connection of their own; what comes back before it ends."""
    harness = await harness_of(SERVICE)
    port = unused_tcp_port_factory()
    app = create_app(SERVICE, harness.runtime, harness.settings)
    running = Server(app, harness.settings.model_copy(update={"http_host": "127.0.0.1", "http_port": port}))
    serving = asyncio.create_task(running.run())

    async def ask(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    yield ask
    running.stop()
    await serving


def problem_of(answer: bytes) -> tuple[int, str, dict[str, str]]:
    head, _, body = answer.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    document = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert headers["connection"] == "close"
    assert document["instance"] == headers["x-request-id"]
    return int(first.split()[1]), document["type"], headers


@pytest.mark.parametrize(
    "request_",
    [
        b"FOO / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: \x01\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
        b"garbage\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem_too(ask: Ask, request_: bytes) -> None:
    status, type_, _ = problem_of(await ask(request_))

    assert (status, type_) == (400, "/problems/bad-request")


async def test_one_connection_too_many_is_asked_to_come_again(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 0)

    status, type_, headers = problem_of(await ask(b"GET / HTTP/1.1\r\nhost: x\r\nx-request-id: mine\r\n\r\n"))

    assert (status, type_, headers["retry-after"]) == (503, "/problems/try-again", "1")
    assert headers["x-request-id"] == "mine"
