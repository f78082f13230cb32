"""Tracing: one trace from request to vendor when exported; handed on and nothing else when not."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.runtime import tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.export_to("goals", exporter)
    yield exporter
    tracing.shut_down()


def test_without_an_endpoint_a_traceparent_is_handed_on_unchanged() -> None:
    tracing.setup("goals", None)

    with tracing.span("handle", PARENT) as following, tracing.span("handle", None) as nothing:
        assert following == PARENT
        assert nothing is None


def test_what_follows_from_a_span_is_its_child_in_the_same_trace(exported: InMemorySpanExporter) -> None:
    with tracing.span("request", PARENT) as event, tracing.span("handle", event, id="e1") as effect:
        assert event is not None
        assert effect is not None
        assert len({parent.split("-")[1] for parent in (PARENT, event, effect)}) == 1
        assert len({PARENT, event, effect}) == 3
    tracing.shut_down()

    handled, requested = exported.get_finished_spans()
    assert (handled.name, requested.name) == ("handle", "request")
    assert handled.parent is not None
    assert requested.context is not None
    assert handled.parent.span_id == requested.context.span_id
    assert handled.attributes == {"id": "e1"}


def test_without_a_parent_a_trace_begins(exported: InMemorySpanExporter) -> None:
    with tracing.span("timer", None) as following:
        assert following is not None

    tracing.shut_down()
    [span] = exported.get_finished_spans()
    assert span.parent is None
