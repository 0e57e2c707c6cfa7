"""The HTTP deployment: `kintsugi.deploy.api` over the handles of the graph; imports no torch."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.metrics import Counter, Gauge, Histogram

from kintsugi.deploy.admission.orderly_stop import OrderlyStop
from kintsugi.deploy.api import build_api
from kintsugi.deploy.deadline import current_deadline
from kintsugi.deploy.engine import (
    ANSWER_BOUNDARIES,
    MEGAPIXEL_BOUNDARIES,
    STAGE_BOUNDARIES,
    Answered,
    Filled,
    ModelInfo,
    Pixels,
)
from kintsugi.deploy.graph.node_watch import NodeWatch
from kintsugi.deploy.graph.remote_calls import answer_of, retry_lost
from kintsugi.deploy.http.access_log import log_access_to
from kintsugi.deploy.options import InpaintOptions, StylizeOptions
from kintsugi.deploy.progress_stream import ProgressStream
from kintsugi.deploy.sandbox.fork_client import SHARED
from kintsugi.deploy.settings import AppArgs, IngressState
from kintsugi.deploy.tracing import describe_span
from kintsugi.deploy.urgency import current_urgency
from kintsugi.models.progress import Progress, no_progress

# A node answers during its computation; only a queue in front of it takes longer.
_READY_TIMEOUT_SECONDS = 5
# Every node takes part in a fill or a transfer: while they succeed, a long queue is no reason
# to be out of service.
_FILL_COUNTS_SECONDS = 30


class Ingress:
    """Decodes, encodes, limits; Serve runs the application that it builds."""

    def __init__(self, args: AppArgs, nodes: dict[str, DeploymentHandle]) -> None:
        self._args = args
        self._nodes = nodes
        self._stop = OrderlyStop()

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Called by Serve with the deployment's `user_config`, while the replica runs.

        Raises: ValidationError: It is no `IngressState`.
        """
        self._stop.begun = IngressState.model_validate(user_config).stopping

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve in the replica."""
        log_access_to(logging.getLogger("ray.serve"))
        SHARED.start()
        return build_api(
            GraphEngine(self._nodes),
            self._args,
            observer=MetricsObserver(),
            stop=self._stop,
            # Serve's proxy gives every request its id and every answer this header.
            echo_request_id=False,
        )


class GraphEngine:
    """The graph as an Engine.

    Args:
        nodes: Handle of each node by its deployment's name, the Refiner among them.
    """

    def __init__(self, nodes: dict[str, DeploymentHandle]) -> None:
        self._nodes = nodes
        self._refiner = nodes["Refiner"]
        self._watch = NodeWatch(nodes)
        self._last_fill = -math.inf
        self._measures = _Measures()

    async def inpaint(
        self,
        pixels: Pixels,
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        """See Engine."""
        if progress is no_progress:
            return await self._ask(self._refiner.inpaint.remote, pixels, mask, options)
        follow = _streaming(self._refiner.inpaint_with_progress, progress)
        return await self._ask(follow, pixels, mask, options)

    async def stylize(
        self,
        content: Pixels,
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        """See Engine."""
        if progress is no_progress:
            return await self._ask(self._refiner.stylize.remote, content, style, options)
        follow = _streaming(self._refiner.stylize_with_progress, progress)
        return await self._ask(follow, content, style, options)

    async def _ask(self, call: Callable[..., Any], pixels: Any, *others: Any) -> Filled:
        """A fill or a transfer of the Refiner, from another one when it dies meanwhile."""
        deadline, urgency = current_deadline(), current_urgency()
        self._watch.check()
        with self._measures.in_progress():
            filled: Filled = await self._watch.while_all_are_there(
                retry_lost(lambda: answer_of(call(pixels, *others, deadline, urgency)))
            )
        self._last_fill = time.monotonic()
        return filled

    async def models(self) -> list[ModelInfo]:
        """See Engine."""
        status = await retry_lost(lambda: answer_of(self._refiner.ready.remote()))
        return list(status.models)

    async def ready(self) -> dict[str, bool]:
        """See Engine."""
        answers = await asyncio.gather(*(self._answers(handle) for handle in self._nodes.values()))
        ready = dict(zip(self._nodes, answers, strict=True))
        # One that answers again may be held for gone a moment longer, and requests are refused.
        return ready | dict.fromkeys(self._watch.gone(), False)

    async def _answers(self, handle: DeploymentHandle) -> bool:
        response = handle.ready.remote()
        try:
            async with asyncio.timeout(_READY_TIMEOUT_SECONDS):
                await response
        except (BackPressureError, TimeoutError):
            response.cancel()
            return time.monotonic() - self._last_fill < _FILL_COUNTS_SECONDS
        except (RayError, RayServeException):
            return False
        return True


def _streaming(
    method: DeploymentHandle, progress: Progress
) -> Callable[..., ProgressStream[Filled]]:
    """A call of a method that streams its steps."""
    stream = method.options(stream=True)
    return lambda *arguments: ProgressStream(stream.remote(*arguments), progress)


class _Measures:
    """What is asked of the engine, for Prometheus."""

    def __init__(self) -> None:
        self._in_progress = 0
        self._gauge = Gauge(
            "kintsugi_requests_in_progress",
            description="Fills and transfers that are being computed or wait for it",
        )

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._in_progress += change
        self._gauge.set(self._in_progress)


class MetricsObserver:
    """Counts for Prometheus; Ray exports the names with `ray_` in front."""

    def __init__(self) -> None:
        self._requests = Counter(
            "kintsugi_requests",
            description="Answered requests",
            tag_keys=("outcome", "route", "status", "release", "megapixels"),
        )
        self._answers = Histogram(
            "kintsugi_request_seconds",
            description="Seconds from a request's header to the end of its answer",
            boundaries=ANSWER_BOUNDARIES,
            tag_keys=("route", "status", "release", "megapixels"),
        )
        self._waiting = Gauge(
            "kintsugi_requests_waiting", description="Requests that wait for their turn"
        )
        self._jobs_waiting = Gauge("kintsugi_jobs_waiting", description="Jobs that wait here")
        self._oldest_job = Gauge(
            "kintsugi_jobs_oldest_seconds",
            description="How long ago the oldest job was sent that is here and has not ended",
        )
        self._jobs = Counter(
            "kintsugi_jobs", description="Jobs that have ended", tag_keys=("outcome",)
        )
        self._seconds = Histogram(
            "kintsugi_stage_seconds",
            description="Time of one stage of one request",
            boundaries=STAGE_BOUNDARIES,
            tag_keys=("stage",),
        )
        self._megapixels = Histogram(
            "kintsugi_megapixels",
            description="Size of a request's image",
            boundaries=MEGAPIXEL_BOUNDARIES,
        )
        self._hole_fraction = Histogram(
            "kintsugi_hole_fraction",
            description="Share of its image that a request's mask covers",
            boundaries=[0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75],
        )

    def answered(self, answer: Answered) -> None:
        """See Observer."""
        labels = answer.labels()
        self._requests.inc(tags={"outcome": answer.outcome, **labels})
        self._answers.observe(answer.seconds, tags=labels)

    def waiting(self, requests: int) -> None:
        """See Observer."""
        self._waiting.set(requests)

    def jobs(self, waiting: int, oldest_seconds: float) -> None:
        """See Observer."""
        self._jobs_waiting.set(waiting)
        self._oldest_job.set(oldest_seconds)

    def job_ended(self, outcome: str) -> None:
        """See Observer."""
        self._jobs.inc(tags={"outcome": outcome})

    def stage(self, name: str, seconds: float) -> None:
        """See Observer."""
        self._seconds.observe(seconds, tags={"stage": name})

    def opened(self, height: int, width: int, hole_share: float | None) -> None:
        """See Observer; also for the request's span."""
        self._megapixels.observe(height * width / 1e6)
        describe_span(pixels=height * width)
        if hole_share is not None:
            self._hole_fraction.observe(hole_share)
            describe_span(hole_share=round(hole_share, 4))
