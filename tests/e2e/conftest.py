"""What is true after every story; and sites whose pages ask our API from another origin."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from demo.world import World

Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def books(proven: None) -> None:
    """No story can forget it."""


class Site(ThreadingHTTPServer):
    """Serves files. Its origin is another one than the API's, and its policy lets it speak to the stack alone."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, tuple[str, bytes]], policy: str) -> None:
        class Files(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, content = files.get(self.path, ("text/plain", b""))
                self.send_response(200 if self.path in files else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Security-Policy", policy)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        super().__init__(("127.0.0.1", 0), Files)


@pytest.fixture
def serve(world: World) -> Iterator[Serve]:
    """A function of files that returns their address."""
    pusher, gateway = world.status["pusher"], world.status["gateway"]
    allowed = f"connect-src {gateway} ws://{pusher['host']}:{pusher['port']}"
    with ExitStack() as exits:

        def start(files: Mapping[str, tuple[str, bytes]], scripts: str = "'self'") -> str:
            site = exits.enter_context(Site(files, f"default-src 'none'; script-src {scripts}; {allowed}"))
            Thread(target=site.serve_forever, daemon=True).start()
            exits.callback(site.shutdown)
            return f"http://127.0.0.1:{site.server_port}/"

        yield start
