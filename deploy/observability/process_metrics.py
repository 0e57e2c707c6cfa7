"""The metrics of one process that serves, at `/metrics` as Prometheus reads them; knows no Ray."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.requests import Request
from starlette.responses import Response

from kintsugi.deploy.engine import Engine, Filled, ModelInfo, Pixels
from kintsugi.deploy.observability.metrics import OF_HTTP, Metric, MetricsObserver
from kintsugi.deploy.options import InpaintOptions, StylizeOptions
from kintsugi.models.progress import Progress, no_progress


class ProcessMetrics:
    """A `kintsugi.deploy.observability.metrics.Record` with a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._exported = {metric.name: self._export(metric) for metric in OF_HTTP}

    def _export(self, metric: Metric) -> Counter | Gauge | Histogram:
        name, means, labels = metric.name, metric.means, metric.labels
        match metric.kind:
            case "counter":
                return Counter(name, means, labels, registry=self.registry)
            case "gauge":
                return Gauge(name, means, labels, registry=self.registry)
            case "histogram":
                return Histogram(
                    name, means, labels, buckets=metric.boundaries, registry=self.registry
                )

    def __call__(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        exported = self._exported[metric.name]
        match exported.labels(**labels) if metric.labels else exported:
            case Counter() as counter:
                counter.inc(value)
            case Gauge() as gauge:
                gauge.set(value)
            case Histogram() as histogram:
                histogram.observe(value)


def add_metrics_route(app: FastAPI, metrics: ProcessMetrics) -> None:
    """Add `GET /metrics`, without a key as the probes are: behind a proxy keep it inside."""

    async def show(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    app.add_route("/metrics", show, include_in_schema=False)


class MeasuredEngine:
    """An engine whose work is counted and timed; see Engine."""

    def __init__(self, engine: Engine, observer: MetricsObserver) -> None:
        self._engine, self._observer = engine, observer

    async def inpaint(
        self,
        pixels: Pixels,
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        """See Engine."""
        with self._working("inpaint"):
            return await self._engine.inpaint(pixels, mask, options, progress=progress)

    async def stylize(
        self,
        content: Pixels,
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        """See Engine."""
        with self._working("stylize"):
            return await self._engine.stylize(content, style, options, progress=progress)

    async def models(self) -> list[ModelInfo]:
        """See Engine."""
        return await self._engine.models()

    async def ready(self) -> dict[str, bool]:
        """See Engine."""
        return await self._engine.ready()

    @contextmanager
    def _working(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        with self._observer.in_progress():
            yield
        self._observer.stage(stage, time.perf_counter() - started)
