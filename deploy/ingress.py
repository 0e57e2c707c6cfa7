"""The HTTP deployment: `deploy.api` over the handles of the graph; imports no torch."""

import asyncio
import math
import time

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.metrics import Counter, Histogram

from deploy.api import build_api
from deploy.engine import STAGE_BOUNDARIES, Filled, ModelInfo
from deploy.handles import answer_of
from deploy.options import InpaintOptions, StylizeOptions
from deploy.settings import AppArgs

# A node answers beside its computation; only a queue in front of it takes longer.
_READY_TIMEOUT_SECONDS = 5
# Every node takes part in a fill or a transfer: while they succeed, a long queue is no reason
# to be out of service.
_FILL_COUNTS_SECONDS = 30


class Ingress:
    """Decodes, encodes, limits; Serve runs the application that it builds."""

    def __init__(self, args: AppArgs, nodes: dict[str, DeploymentHandle]) -> None:
        self._args = args
        self._nodes = nodes

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve in the replica."""
        return build_api(
            GraphEngine(self._nodes),
            self._args,
            observer=MetricsObserver(),
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
        self._last_fill = -math.inf

    async def inpaint(
        self,
        pixels: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
    ) -> Filled:
        """See Engine."""
        filled: Filled = await answer_of(self._refiner.inpaint.remote(pixels, mask, options))
        self._last_fill = time.monotonic()
        return filled

    async def stylize(
        self,
        content: npt.NDArray[np.uint8],
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
    ) -> Filled:
        """See Engine."""
        stylized: Filled = await answer_of(self._refiner.stylize.remote(content, style, options))
        self._last_fill = time.monotonic()
        return stylized

    async def model(self) -> ModelInfo:
        """See Engine."""
        model: ModelInfo = (await answer_of(self._refiner.ready.remote())).model
        return model

    async def ready(self) -> dict[str, bool]:
        """See Engine."""
        answers = await asyncio.gather(*(self._answers(handle) for handle in self._nodes.values()))
        return dict(zip(self._nodes, answers, strict=True))

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


class MetricsObserver:
    """Counts for Prometheus; Ray exports the names with `ray_` in front."""

    def __init__(self) -> None:
        self._requests = Counter(
            "kintsugi_requests", description="Answered requests", tag_keys=("outcome",)
        )
        self._seconds = Histogram(
            "kintsugi_stage_seconds",
            description="Time of one stage of one request",
            boundaries=STAGE_BOUNDARIES,
            tag_keys=("stage",),
        )

    def answered(self, outcome: str) -> None:
        """See Observer."""
        self._requests.inc(tags={"outcome": outcome})

    def stage(self, name: str, seconds: float) -> None:
        """See Observer."""
        self._seconds.observe(seconds, tags={"stage": name})
