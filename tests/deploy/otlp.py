"""A collector of traces on a real socket: what OTLP over HTTP brings, in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """One span as it came; ids are hexadecimal, `parent` is "" at the root."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str | int | float | bool]
    events: list[str]


@dataclass
class Collector:
    """What has come so far.

    Attributes:
        url: For OTEL_EXPORTER_OTLP_ENDPOINT.
        bodies: As they were sent.
    """

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)

    def spans(self) -> list[Span]:
        return [
            Span(
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes},
                [event.name for event in span.events],
            )
            for body in list(self.bodies)
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans
            for of_library in of_process.scope_spans
            for span in of_library.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    """Collect on a free port of 127.0.0.1 until the block ends."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
