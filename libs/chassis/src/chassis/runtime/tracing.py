"""OpenTelemetry: W3C trace context through HTTP, outbox, Kafka, timers and vendor calls, as `Cause.traceparent`.

Without an OTLP endpoint nothing is recorded and an event's traceparent is only handed on, which costs next to nothing;
the SDK is not even imported. A trace begins at our edge: that of a caller is linked to, never continued.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_W3C = TraceContextTextMapPropagator()


class _Tracing:
    """Whether and where this process records spans."""

    provider: "TracerProvider | None" = None
    tracer: trace.Tracer | None = None


def setup(service: str, endpoint: str | None) -> None:
    """Export spans to the OTLP `endpoint`, e.g. `http://collector:4318`; with None they are not even made."""
    if endpoint is None:
        _Tracing.provider = _Tracing.tracer = None
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - 0.1 s

    export_to(service, OTLPSpanExporter(f"{endpoint}/v1/traces"))


def export_to(service: str, exporter: "SpanExporter") -> None:
    """Export spans to `exporter`."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

    provider = TracerProvider(resource=Resource({SERVICE_NAME: service}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _Tracing.provider = provider
    _Tracing.tracer = provider.get_tracer("chassis")


def is_on() -> bool:
    """Whether spans are recorded."""
    return _Tracing.tracer is not None


def shut_down() -> None:
    """Send what is recorded. May block for some seconds, so call it in a thread."""
    if _Tracing.provider is not None:
        _Tracing.provider.shutdown()
    _Tracing.provider = _Tracing.tracer = None


@contextmanager
def span(name: str, traceparent: str | None, **attributes: str | int) -> Iterator[str | None]:
    """Record what happens inside as a child of `traceparent`; yields the traceparent for what follows from it."""
    if _Tracing.tracer is None:
        yield traceparent
        return
    parent = _W3C.extract({"traceparent": traceparent}) if traceparent else None
    with _Tracing.tracer.start_as_current_span(name, context=parent, attributes=attributes):
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        yield carrier.get("traceparent")


@contextmanager
def edge_span(name: str, theirs: str | None) -> Iterator[str | None]:
    """Record what happens inside as the beginning of a trace, linked to that of the caller, who is not trusted with
    ours: neither with its id nor with whether it is recorded. Yields the traceparent for what follows; None when
    nothing is recorded.
    """
    if _Tracing.tracer is None:
        yield None
        return
    their_span = trace.get_current_span(_W3C.extract({"traceparent": theirs} if theirs else {})).get_span_context()
    links = [trace.Link(their_span)] if their_span.is_valid else []
    with _Tracing.tracer.start_as_current_span(name, context=Context(), links=links):
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        yield carrier.get("traceparent")
