"""One click as one trace, in an OTLP receiver: HTTP, outbox, Kafka, handler, timer, Pusher. On two services alone."""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from devstack.calling import call
from devstack.settings import VARIABLES
from devstack.stack import Stack

ONLY = ("mongod", "kafka", "soketi", "nginx", "sessions-api", "sessions-worker", "notifier-api", "notifier-worker")
STREAMER = "5" * 24
SECONDS = 90


@dataclass(frozen=True)
class Span:
    """What was exported of one."""

    service: str
    name: str
    trace_id: bytes
    id: bytes
    parent_id: bytes


class Receiver(ThreadingHTTPServer):
    """Takes what is exported to it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiving)
        self.spans: list[Span] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Receiving(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in told.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans += [
                    Span(names["service.name"], one.name, one.trace_id, one.span_id, one.parent_span_id)
                    for one in scope.spans
                ]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Stack]:
    plain = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environ = {**plain, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    with Stack(tmp_path_factory.mktemp("traced"), only=ONLY, environ=environ) as stack:
        yield stack


def click(stack: Stack, method: str, path: str, body: Mapping[str, Any], status: int) -> Any:
    said = call(stack.data, "nginx", STREAMER, ("CREATOR",), (method, path, json.dumps(body)))
    assert said.startswith(str(status)), said
    return json.loads(said.partition(" ")[2] or "null")


def chain(receiver: Receiver, *names: tuple[str, str]) -> list[Span] | None:
    """Spans of these services and names, each the child of the one before; None if there is no such chain (yet)."""
    chains = [[span] for span in receiver.spans if (span.service, span.name) == names[0]]
    for wanted in names[1:]:
        chains = [
            [*one, span]
            for one in chains
            for span in receiver.spans
            if (span.service, span.name, span.parent_id) == (*wanted, one[-1].id)
        ]
    return chains[0] if chains else None


def follows(receiver: Receiver, *names: tuple[str, str]) -> list[Span]:
    deadline = time.monotonic() + SECONDS
    while (found := chain(receiver, *names)) is None:
        assert time.monotonic() < deadline, sorted({(span.service, span.name) for span in receiver.spans})
        time.sleep(0.1)
    return found


def test_what_follows_from_a_click_is_one_trace_from_http_to_the_vendor(traced: Stack, receiver: Receiver) -> None:
    session_id = click(traced, "POST", "/sessions", {"prices": {"sd": 5}}, 201)["session_id"]
    begun = follows(
        receiver,
        ("sessions", "POST /sessions"),
        ("notifier", "handle SessionStartedV1"),
        ("notifier", "handle HeadsDue"),
        ("notifier", "call count-heads"),
    )
    assert len({span.trace_id for span in begun}) == 1
    assert begun[0].parent_id == b""

    click(traced, "PATCH", f"/sessions/{session_id}", {"preset": "sd"}, 204)
    changed = follows(
        receiver,
        ("sessions", "PATCH /sessions/{session_id}"),
        ("notifier", "handle SessionUpdatedV1"),
        ("notifier", "call push"),
    )
    assert len({span.trace_id for span in changed}) == 1
    assert changed[0].trace_id != begun[0].trace_id
