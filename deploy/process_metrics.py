"""What one process that serves counts, at `/metrics`, as Prometheus reads it; knows no Ray.

The graph's metrics are exported by Ray, with the same names behind `ray_`.
"""

import time
from collections.abc import Iterator
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

from kintsugi.deploy.engine import (
    ANSWER_BOUNDARIES,
    ANSWER_LABELS,
    MEGAPIXEL_BOUNDARIES,
    STAGE_BOUNDARIES,
    Answered,
    Engine,
    Filled,
    ModelInfo,
    Pixels,
)
from kintsugi.deploy.options import InpaintOptions, StylizeOptions
from kintsugi.models.progress import Progress, no_progress


class ProcessMetrics:
    """An Observer, and what measures an engine; each has its own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "kintsugi_requests",
            "Answered requests",
            ["outcome", *ANSWER_LABELS],
            registry=self.registry,
        )
        self._answers = Histogram(
            "kintsugi_request_seconds",
            "Seconds from a request's header to the end of its answer",
            ANSWER_LABELS,
            buckets=ANSWER_BOUNDARIES,
            registry=self.registry,
        )
        self._waiting = Gauge(
            "kintsugi_requests_waiting",
            "Requests that wait for their turn",
            registry=self.registry,
        )
        self._jobs_waiting = Gauge(
            "kintsugi_jobs_waiting", "Jobs that wait here", registry=self.registry
        )
        self._oldest_job = Gauge(
            "kintsugi_jobs_oldest_seconds",
            "How long ago the oldest job was sent that is here and has not ended",
            registry=self.registry,
        )
        self._jobs = Counter(
            "kintsugi_jobs", "Jobs that have ended", ["outcome"], registry=self.registry
        )
        self._stages = Histogram(
            "kintsugi_stage_seconds",
            "Seconds that a request spends in a stage",
            ["stage"],
            buckets=STAGE_BOUNDARIES,
            registry=self.registry,
        )
        self._megapixels = Histogram(
            "kintsugi_megapixels",
            "Size of a request's image",
            buckets=MEGAPIXEL_BOUNDARIES,
            registry=self.registry,
        )
        self._in_progress = Gauge(
            "kintsugi_requests_in_progress",
            "Fills and transfers that run or wait",
            registry=self.registry,
        )

    def answered(self, answer: Answered) -> None:
        """See Observer."""
        labels = answer.labels()
        self._requests.labels(outcome=answer.outcome, **labels).inc()
        self._answers.labels(**labels).observe(answer.seconds)

    def waiting(self, requests: int) -> None:
        """See Observer."""
        self._waiting.set(requests)

    def jobs(self, waiting: int, oldest_seconds: float) -> None:
        """See Observer."""
        self._jobs_waiting.set(waiting)
        self._oldest_job.set(oldest_seconds)

    def job_ended(self, outcome: str) -> None:
        """See Observer."""
        self._jobs.labels(outcome).inc()

    def stage(self, name: str, seconds: float) -> None:
        """See Observer."""
        self._stages.labels(name).observe(seconds)

    def opened(self, height: int, width: int, hole_share: float | None) -> None:
        """See Observer."""
        self._megapixels.observe(height * width / 1e6)

    def measured(self, engine: Engine) -> Engine:
        """The same engine, whose work is counted and timed."""
        return _Measured(engine, self)

    @contextmanager
    def working(self, stage: str) -> Iterator[None]:
        """Around one fill or transfer, its waiting included."""
        started = time.perf_counter()
        with self._in_progress.track_inprogress():
            yield
        self.stage(stage, time.perf_counter() - started)


def add_metrics_route(app: FastAPI, metrics: ProcessMetrics) -> None:
    """Add `GET /metrics`, without a key as the probes are: behind a proxy keep it inside."""

    async def show(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    app.add_route("/metrics", show, include_in_schema=False)


class _Measured:
    """An engine that is measured; see Engine."""

    def __init__(self, engine: Engine, metrics: ProcessMetrics) -> None:
        self._engine, self._metrics = engine, metrics

    async def inpaint(
        self,
        pixels: Pixels,
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        with self._metrics.working("inpaint"):
            return await self._engine.inpaint(pixels, mask, options, progress=progress)

    async def stylize(
        self,
        content: Pixels,
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        with self._metrics.working("stylize"):
            return await self._engine.stylize(content, style, options, progress=progress)

    async def models(self) -> list[ModelInfo]:
        return await self._engine.models()

    async def ready(self) -> dict[str, bool]:
        return await self._engine.ready()
