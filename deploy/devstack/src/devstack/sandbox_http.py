"""What the sandboxes that are threads have in common: an HTTP server that says little and logs nothing."""

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

BODY_BYTES_MAX: Final = 64 * 1024
LOOPBACK: Final = "127.0.0.1"


class SandboxHandler(BaseHTTPRequestHandler):
    """Answers one request after the other on a connection."""

    protocol_version = "HTTP/1.1"

    def get(self) -> None:
        """Answer a GET."""
        raise NotImplementedError

    def put(self, wanted: Any) -> None:
        """Answer a PUT: tests say how to behave, in JSON."""
        raise NotImplementedError

    def post(self, body: bytes) -> None:
        """Answer a POST."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """As the library calls it."""
        self.get()

    def do_PUT(self) -> None:
        """As the library calls it."""
        self.put(json.loads(self._body()))

    def do_POST(self) -> None:
        """As the library calls it."""
        self.post(self._body())

    def _body(self) -> bytes:
        return self.rfile.read(min(int(self.headers.get("content-length") or 0), BODY_BYTES_MAX))

    def answer(
        self, status: HTTPStatus, body: bytes = b"", content_type: str = "application/json", **more: str
    ) -> None:
        """Answer with `more` headers."""
        self.send_response(status)
        headers = {"content-type": content_type, **more} if body else more
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def answer_json(self, status: HTTPStatus, said: Any) -> None:
        """Answer with JSON."""
        self.answer(status, json.dumps(said).encode())

    def page(self, status: HTTPStatus, title: str, inner: str) -> None:
        """Answer with a page for a browser; `inner` is HTML."""
        head = f"<meta charset=utf-8><title>{title}</title>"
        self.answer(status, f"<!doctype html><html lang=en>{head}{inner}</html>".encode(), "text/html; charset=utf-8")

    def log_message(self, *_said: object) -> None:
        """Nothing: a browser's form is in there, and the supervisor's log is for what matters."""


def listening(handler: type[SandboxHandler], at: tuple[str, int], **state: object) -> ThreadingHTTPServer:
    """A server whose handlers share this state, each by its name; port 0 is any free one."""
    return ThreadingHTTPServer(at, type(handler.__name__, (handler,), state))
