"""Traces by OpenTelemetry: where spans go, and what the graph adds to Serve's; knows no node.

Serve makes a span of each call between deployments where `span_processors` is named to it
(docs/how-to/traces.md); elsewhere nothing here does anything. Spans hold sizes, shares and
names of releases, never what is in an image or a header.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from kintsugi.errors import ConfigError


def span_processors() -> list[SpanProcessor]:
    """Where each process of Serve sends its spans: OTLP over HTTP.

    Endpoint, headers, batches and the service's name are those of OpenTelemetry's own variables
    (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_..., OTEL_SERVICE_NAME).
    A thread of its own sends, so that a collector which is slow or away loses spans and holds
    up no request.

    Raises: ConfigError: the extra `tracing` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigError(
            "traces need opentelemetry-exporter-otlp-proto-http, which is not installed:"
            ' pip install "kintsugi-inpainting[tracing]", or start Ray without'
            " RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH"
        ) from error
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return [BatchSpanProcessor(OTLPSpanExporter())]


def describe_span(**attributes: str | float) -> None:
    """Add attributes, named `kintsugi.` and their name here, to the span of this call."""
    trace.get_current_span().set_attributes(_named(attributes))


@contextmanager
def span(name: str, **attributes: str | float) -> Iterator[None]:
    """A span of a part of this call, with attributes as `describe_span`; calls in it are below it.

    None where the call has none: it would begin a trace of its own.
    """
    if not trace.get_current_span().is_recording():
        yield
        return
    with trace.get_tracer("kintsugi").start_as_current_span(name, attributes=_named(attributes)):
        yield


def _named(attributes: dict[str, str | float]) -> dict[str, str | float]:
    return {f"kintsugi.{name}": value for name, value in attributes.items()}
