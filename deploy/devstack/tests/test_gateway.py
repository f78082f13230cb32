"""What the gateway answers by itself. That it passes the rest on is proven where there are services."""

import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from devstack.settings import SERVICES
from devstack.stack import Stack

LIMIT_BYTES = 64 * 1024


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/", 404, "not-found"),
        ("/healthz", 404, "not-found"),
        ("/readyz", 404, "not-found"),
        ("/metrics", 404, "not-found"),
        ("/openapi.json", 404, "not-found"),
        ("/goals/%2e%2e/metrics", 404, "not-found"),
        ("/goalsx", 404, "not-found"),
        ("/problems/not-found", 404, "not-found"),
        ("/shop/products", 502, "bad-gateway"),  # no service runs in this stack
        ("/goals", 502, "bad-gateway"),
        ("/streams/x", 502, "bad-gateway"),
        ("/ledger/proof", 502, "bad-gateway"),
        ("/notify/pusher", 502, "bad-gateway"),
        ("/notify/byteplus", 502, "bad-gateway"),
        ("/notify/so-net", 502, "bad-gateway"),
    ],
)
def test_its_own_answers_are_problems(stack: Stack, path: str, status: int, slug: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = httpx.request(method, f"{stack.gateway}{path}")

        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == f"/problems/{slug}"
        assert answer.json()["status"] == status


def test_a_body_over_64_kib_is_refused(stack: Stack) -> None:
    def chunks() -> list[bytes]:
        return [b"x" * 1024] * 65

    for content in (b"x" * (LIMIT_BYTES + 1), iter(chunks())):
        answer = httpx.post(f"{stack.gateway}/goals", content=content)

        assert answer.status_code == 413
        assert answer.json()["type"] == "/problems/body-too-large"
    assert httpx.post(f"{stack.gateway}/goals", content=b"x" * LIMIT_BYTES).status_code == 502


def test_what_is_hardly_http_is_a_problem_too(stack: Stack) -> None:
    for request, status in (
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"TRACE /goals HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ):
        head, _, body = raw(stack, request).partition(b"\r\n\r\n")

        assert head.startswith(f"HTTP/1.1 {status}".encode()), head
        assert b"application/problem+json" in head
        assert b'"type":"/problems/' in body


def raw(stack: Stack, request: bytes) -> bytes:
    gateway = urlsplit(stack.gateway)
    with socket.create_connection((gateway.hostname, gateway.port), timeout=60) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(65_536), b""))


def test_it_passes_ids_and_never_repeats_a_request(stack: Stack) -> None:
    """A service stands in here: one socket that reads a request and hangs up."""
    with socket.create_server(("127.0.0.1", stack.settings.port("goals-api"))) as service:
        service.settimeout(60)
        command = ("curl", "--silent", "--request", "DELETE", "--header", "X-Client-Id: me", f"{stack.gateway}/goals/x")
        with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
            line, _ = service.accept()
            request = line.recv(65_536).decode().lower()
            line.close()
            answer, _ = curl.communicate(timeout=60)
        service.settimeout(0.2)
        with pytest.raises(TimeoutError):
            service.accept()

    assert "x-client-id: me\r\n" in request
    assert "x-request-id: " in request
    assert b"/problems/bad-gateway" in answer


def test_every_service_is_behind_it() -> None:
    template = Path(__file__).parents[2] / "gateway" / "routes.conf.template"
    routes = template.read_text()

    for service in SERVICES:
        assert f"${{{service.replace('-', '_').upper()}_API}}" in routes
