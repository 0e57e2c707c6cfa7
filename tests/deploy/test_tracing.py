"""Traces: sent where they should, and of the whole graph, one for each request."""

import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import ray
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from ray import serve
from ray.serve._private.tracing_utils import _load_span_processors

from kintsugi.deploy.app import build_app
from kintsugi.deploy.settings import AppArgs
from kintsugi.deploy.tracing import describe_span, span, span_processors
from kintsugi.errors import ConfigError
from kintsugi.models.build import ModelConfig
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.weights import ReleaseConfig, save_release
from tests.deploy.conftest import draw_mask, draw_photo, encode
from tests.deploy.otlp import Collector, Span, collecting

ROOT = Path(__file__).parents[2]
EXPORTER = "kintsugi.deploy.tracing:span_processors"
PHOTO, MASK = draw_photo(256, 256), draw_mask(256, 256)
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
# Nothing that a client sends but path, method, request id and Serve's own model id.
KNOWN = {
    *("app", "call_method", "deployment", "multiplexed_model_id", "replica_id", "request_id"),
    *("is_grpc_request", "is_http_request", "is_streaming", "request_type", "resource.name"),
    *("request_method", "request_route_path", "route"),
    *("http.method", "http.route", "http.status_code", "rpc.method", "rpc.service", "rpc.system"),
    *("kintsugi.hole_share", "kintsugi.pixels", "kintsugi.release"),
    *("kintsugi.crop", "kintsugi.crops", "kintsugi.scale", "kintsugi.scales"),
}


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r'pip install "kintsugi-inpainting\[tracing\]"'):
        span_processors()


def test_spans_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider()
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        # As Serve loads and checks it.
        for processor in _load_span_processors(EXPORTER, "unused"):
            provider.add_span_processor(processor)
        with provider.get_tracer("test").start_as_current_span("call"):
            describe_span(pixels=12, release="tiny")
        provider.shutdown()

    (sent,) = collector.spans()
    assert sent.name == "call"
    assert sent.attributes == {"kintsugi.pixels": 12, "kintsugi.release": "tiny"}


def test_a_collector_that_is_away_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting: list[int] = []
    export = OTLPSpanExporter.export

    def noted(exporter: OTLPSpanExporter, spans: Any) -> SpanExportResult:
        waiting.append(threading.get_ident())
        return export(exporter, spans)

    monkeypatch.setattr(OTLPSpanExporter, "export", noted)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # Takes connections, and never answers.
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        provider = TracerProvider()
        for processor in span_processors():
            provider.add_span_processor(processor)
        for _ in range(100):
            with provider.get_tracer("test").start_as_current_span("call"):
                pass
        provider.shutdown()
    assert "xport" in caplog.text
    # Another thread waits for the collector; here a span is only put into a queue.
    assert threading.get_ident() not in waiting
    assert waiting


def test_where_nothing_is_traced_nothing_is_reported() -> None:
    with span("scale", scale=0):
        describe_span(pixels=12)


@dataclass(frozen=True)
class Traced:
    """A running graph, and where its spans go."""

    url: str
    version: str
    collector: Collector

    def inpaint(self, query: str = "", **headers: str) -> httpx2.Response:
        files = {"image": ("private-name.png", encode(PHOTO)), "mask": ("m.png", encode(MASK))}
        url = f"{self.url}/v1/inpaint{query}"
        return httpx2.post(url, files=files, data={"scales": "2"}, headers=headers, timeout=90)

    def spans_of(self, request_id: str, until: Callable[[Counter[str]], bool]) -> list[Span]:
        """All spans of the traces in which this request is, once those wanted have come."""
        for _ in range(200):
            spans = self.collector.spans()
            traces = {s.trace for s in spans if s.attributes.get("request_id") == request_id}
            found = [s for s in spans if s.trace in traces]
            if until(Counter(s.name for s in found)):
                return found
            time.sleep(0.1)
        pytest.fail(f"of request {request_id} there is only {[s.name for s in found]}")


@pytest.fixture(scope="module")
def traced(inpainter: Inpainter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("release")
    config = ReleaseConfig("tiny", ModelConfig("tiny"), encoder="random (seed 0)")
    saved = save_release(folder, inpainter, config, card="For tests.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with collecting() as collector, pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        # The processes of the cluster inherit it.
        environment.setenv("PYTHONPATH", str(ROOT / "platform"))
        environment.setenv("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", EXPORTER)
        environment.setenv("RAY_SERVE_TRACING_SAMPLING_RATIO", "1")
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        ray.init(address="local", num_cpus=8, include_dashboard=False)
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 90})
            app = build_app(AppArgs(release=str(folder)))
            serve.run(app, name="kintsugi", route_prefix="/")
            yield Traced(f"http://127.0.0.1:{port}", f"tiny@{saved.digest[:19]}", collector)
        finally:
            serve.shutdown()
            ray.shutdown()


def is_whole(names: Counter[str]) -> bool:
    """Everything of a fill of two scales has come: each scale has three nodes."""
    handled = sum(count for name, count in names.items() if name.startswith("replica_handle"))
    proxied = sum(count for name, count in names.items() if name.startswith("proxy_http"))
    return (handled, proxied, names["scale"]) == (8, 1, 2)


def path_of(one: Span, spans: dict[str, Span]) -> tuple[str, ...]:
    """Deployments and scales from the root down to a span."""
    above = path_of(spans[one.parent], spans) if one.parent in spans else ()
    if one.name == "scale":
        return (*above, f"scale {one.attributes['kintsugi.scale']}")
    if one.name.startswith("replica_handle_request"):
        return (*above, str(one.attributes["deployment"]))
    return above


@pytest.mark.ray
def test_a_request_is_one_trace_that_goes_on_the_callers(traced: Traced) -> None:
    parent = f"00-{TRACE}-{CALLER}-01"
    answer = traced.inpaint(traceparent=parent, **{"x-request-id": "mine", "x-api-key": "hidden"})
    assert answer.status_code == 200, answer.text
    spans = traced.spans_of("mine", is_whole)

    assert {one.trace for one in spans} == {TRACE}
    by_id = {one.id: one for one in spans}
    (root,) = (one for one in spans if one.parent not in by_id)
    assert root.parent == CALLER
    refiner = ("Ingress", "Refiner")
    nodes = ("Image2Feature", "PatchSwap", "Feature2Image")
    scales = [(*refiner, f"scale {level}") for level in range(2)]
    assert {path_of(one, by_id) for one in spans} - {()} == {
        ("Ingress",),
        refiner,
        *scales,
        *((*scale, node) for scale in scales for node in nodes),
    }

    attributes = {
        path_of(one, by_id): one.attributes for one in spans if "route_to" not in one.name
    }
    ingress = attributes[("Ingress",)]
    assert ingress["kintsugi.pixels"] == PHOTO.shape[0] * PHOTO.shape[1]
    assert ingress["kintsugi.hole_share"] == pytest.approx(MASK.mean(), abs=1e-4)
    assert [attributes[scale]["kintsugi.pixels"] for scale in scales] == [128 * 128, 256 * 256]
    for path, described in attributes.items():
        if path and not path[-1].startswith("scale"):
            assert described["request_id"] == "mine"
        if path and path[-1] in ("Refiner", *nodes):
            assert described["kintsugi.release"] == traced.version
    computing = [path_of(one, by_id)[-1] for one in spans if one.events == ["computing"]]
    assert Counter(computing) == dict.fromkeys(nodes, 2)


@pytest.mark.ray
def test_a_request_without_a_trace_begins_one(traced: Traced) -> None:
    answer = traced.inpaint()
    assert answer.status_code == 200, answer.text
    spans = traced.spans_of(answer.headers["x-request-id"], is_whole)
    assert len({one.trace for one in spans}) == 1
    assert [one.name.split()[0] for one in spans if not one.parent] == ["proxy_http_request"]


@pytest.mark.ray
def test_what_a_client_sends_is_in_no_span(traced: Traced) -> None:
    # Somebody who puts the key where it does not belong.
    refused = traced.inpaint("?key=hidden", **{"x-api-key": "hidden", "x-request-id": "refused"})
    assert refused.status_code == 422
    wanted = Counter(
        ["proxy_http_request Ingress POST /v1/inpaint", "replica_handle_request Ingress __call__"]
    )
    spans = traced.spans_of("refused", lambda names: wanted <= names)

    assert spans
    sent = b"".join(traced.collector.bodies)
    assert b"private-name" not in sent
    assert b"hidden" not in sent
    assert {key for one in traced.collector.spans() for key in one.attributes} <= KNOWN
