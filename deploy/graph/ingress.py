"""The HTTP deployment: `kintsugi.deploy.api` over the handles of the graph; imports no torch."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from kintsugi.deploy.admission.orderly_stop import OrderlyStop
from kintsugi.deploy.api import build_api
from kintsugi.deploy.deadline import current_deadline
from kintsugi.deploy.engine import Filled, ModelInfo, Pixels
from kintsugi.deploy.graph.node_watch import NodeWatch
from kintsugi.deploy.graph.ray_metrics import RayMetrics
from kintsugi.deploy.graph.remote_calls import answer_of, retry_lost
from kintsugi.deploy.http.access_log import log_access_to
from kintsugi.deploy.observability.metrics import OF_HTTP, MetricsObserver
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
        observer = _TracedObserver(RayMetrics(OF_HTTP))
        return build_api(
            GraphEngine(self._nodes, observer),
            self._args,
            observer=observer,
            stop=self._stop,
            # Serve's proxy gives every request its id and every answer this header.
            echo_request_id=False,
            # It cancels a request whose client has left. Twice would cut short what tidies up.
            watch_clients=False,
        )


class GraphEngine:
    """The graph as an Engine.

    Args:
        nodes: Handle of each node by its deployment's name, the Refiner among them.
        observer: Counts what is asked of the graph.
    """

    def __init__(self, nodes: dict[str, DeploymentHandle], observer: MetricsObserver) -> None:
        self._nodes, self._observer = nodes, observer
        self._refiner = nodes["Refiner"]
        self._watch = NodeWatch(nodes)
        self._last_fill = -math.inf

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
        with self._observer.in_progress():
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


class _TracedObserver(MetricsObserver):
    """Also adds what was opened to the request's span."""

    def opened(self, height: int, width: int, hole_share: float | None) -> None:
        """See Observer."""
        super().opened(height, width, hole_share)
        describe_span(pixels=height * width)
        if hole_share is not None:
            describe_span(hole_share=round(hole_share, 4))
