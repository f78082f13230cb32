"""The HTTP server: uvicorn without its own ideas about signals, logs and the outside world."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chassis import ids
from chassis.http import retries
from chassis.http.problems import BadRequest, TryAgain, problem_response
from chassis.http.request_context import request_context
from chassis.runtime.settings import ChassisSettings

KEEP_ALIVE_SECONDS = 75  # longer than nginx keeps an idle connection, so that we never close one that it is using
CONNECTIONS_MAX = 4_000  # of one process, as many as a gateway has; the edge refuses too many requests far earlier
DRAIN_SECONDS = 5
BACKLOG = 1_024

_log = structlog.get_logger(__name__)


class Server:
    """Serves one app on `HTTP_HOST` and `HTTP_PORT`, bound from the start."""

    def __init__(self, app: ASGIApp, settings: ChassisSettings) -> None:
        """Bind the port.

        Raises:
            SystemExit: it is taken, or not ours.
        """
        self._socket = _bind(settings.http_host, settings.http_port)
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        self._server = _Uvicorn(config)

    async def run(self) -> None:
        """Serve until `stop`; then finish the requests in hand, and what was begun for those who went away."""
        host, port, *_ = self._socket.getsockname()
        _log.info("listening", host=host, port=port)
        await self._server.serve(sockets=[self._socket])
        await retries.all_done(retries.ALL_DONE_SECONDS)

    def stop(self) -> None:
        """Take no new connection."""
        self._server.should_exit = True


class _Protocol(HttpToolsProtocol):
    """One connection. What uvicorn would refuse in plain words is a problem like any other."""

    def on_headers_complete(self) -> None:
        """Begin with a request, unless there are too many connections."""
        self.app = self.config.loaded_app if len(self.connections) <= CONNECTIONS_MAX else _busy
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Answer what is no HTTP, and hang up."""
        answer = problem_response(BadRequest(), ids.new_id(), (b"connection", b"close"))
        headers = (*answer.headers, (b"content-length", b"%d" % len(answer.body)))
        lines = (b"HTTP/1.1 400 Bad Request", *(b"%b: %b" % header for header in headers))
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + answer.body)
        self.transport.close()


async def _busy(scope: Scope, _receive: Receive, send: Send) -> None:
    """For one connection too many: it is asked to come again."""
    request_id = request_context(dict(scope["headers"])).request_id
    await problem_response(TryAgain(), request_id, (b"connection", b"close")).send(send)


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `Process`."""
        yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SystemExit(f"HTTP_HOST={host} HTTP_PORT={port} cannot be listened on: {error.strerror}") from None
