"""What every node of the serving graph is: releases, and computations in turn; no network.

Arrays go from node to node as numpy by reference. Layouts are those of `models`:
float32, B C H W, RGB 0-1; a mask is bool, B 1 H W, True = hole.
"""

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from opentelemetry import trace
from torch import Tensor

from kintsugi.deploy.engine import ModelInfo
from kintsugi.deploy.graph.ray_metrics import RayMetrics
from kintsugi.deploy.graph.release_cache import Held, ReleaseCache
from kintsugi.deploy.graph.request_context import Release, RequestContext
from kintsugi.deploy.graph.scheduler import ComputeQueue, WorkItem
from kintsugi.deploy.memory import MemoryReturn
from kintsugi.deploy.observability.metrics import BATCH_SIZE, OF_NODES, STAGES
from kintsugi.deploy.settings import AppArgs
from kintsugi.deploy.tracing import describe_span

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class NodeStatus:
    """What a replica says of itself: its releases, and how many requests it has computed."""

    models: tuple[ModelInfo, ...]
    calls: int

    @property
    def model(self) -> ModelInfo:
        """Its own: the first, which answers requests that name none."""
        return self.models[0]


class Node:
    """What all nodes share: how many requests they have computed, and how long it took."""

    stage: str

    def __init__(self, args: AppArgs) -> None:
        torch.set_num_threads(args.threads)
        self._calls, self._counting = 0, Lock()
        self._memory = MemoryReturn()
        self._record = RayMetrics(OF_NODES)

    def _computed(self, started: float) -> None:
        """One request more, begun at ``started`` on the clock of `time.perf_counter`."""
        # Several may be computed side by side.
        with self._counting:
            self._calls += 1
        self._record(STAGES, time.perf_counter() - started, {"stage": self.stage})


class ComputingNode(Node, Generic[Held]):
    """A node that holds something of each release, and computes with it in turns."""

    def __init__(
        self, args: AppArgs, load: Callable[[str], tuple[Held, ModelInfo]], *, batch_pixels: int = 0
    ) -> None:
        """Load the releases of ``args``.

        Args:
            load: Gives what the node needs of the release at a URI.
            batch_pixels: Most pixels that are computed together; 0: each call alone.
        """
        super().__init__(args)
        self._device = torch.device(args.device)
        self._cache = ReleaseCache(load, args.release, args.more_releases)
        self._threads = args.threads
        self._queue = ComputeQueue(
            batch_pixels, threads=args.threads, side_by_side=args.share_threads, use=_use_threads
        )

    async def ready(self) -> NodeStatus:
        """Answer, even during a computation."""
        return NodeStatus(self._cache.models, self._calls)

    async def prepare(self, release: Release) -> None:
        """Load a release before the first request for it. Raises: as `ReleaseCache.get`."""
        await self._cache.get(release)

    def check_health(self) -> None:
        """Fail when the device does: Serve then replaces this replica."""
        torch.ones(1, device=self._device).add_(1).item()

    async def _compute(
        self,
        context: RequestContext,
        work: Callable[[Held, list[Given]], list[Made]],
        given: Given,
        *,
        pixels: int = 0,
        batch_key: Hashable = None,
    ) -> Made:
        """Compute in turn, with the call's release.

        Args:
            context: The request's.
            work: Makes as many results as it is given inputs.
            given: Input of this call.
            pixels: How much it is.
            batch_key: As `WorkItem.batch_key`; the release is added to it.
        """
        describe_span(release=context.release.model.version)
        held = await self._cache.get(context.release)
        span = trace.get_current_span()

        def compute(inputs: list[Given]) -> list[Made]:
            # Until here it waited. Of several that are computed together the first one reports.
            span.add_event("computing", {"kintsugi.together": len(inputs)})
            started = time.perf_counter()
            with torch.inference_mode():
                made = work(held, inputs)
            self._record(BATCH_SIZE, len(inputs), {"stage": self.stage})
            for _ in inputs:
                self._computed(started)
            return made

        together = None if batch_key is None else (context.release, batch_key)
        threads = math.ceil(self._threads / context.in_progress)
        item = WorkItem(
            compute, given, context.deadline, pixels, together, threads, context.urgency
        )
        try:
            return await self._queue.compute(item)
        finally:
            self._memory.soon()

    def _tensor(self, array: FloatArray | BoolArray) -> Tensor:
        return as_tensor(array, self._device)


def _use_threads(count: int) -> None:
    """Compute with this number of threads from now on, in this thread."""
    # A thread takes up the process's number when it first asks for one: later it would undo ours.
    torch.get_num_threads()
    torch.set_num_threads(count)


def as_tensor(array: FloatArray | BoolArray, device: torch.device | str = "cpu") -> Tensor:
    """A float32 tensor of its own: an array that came by reference is read-only."""
    return torch.tensor(array, device=device, dtype=torch.float32)


def float_array(tensor: Tensor) -> FloatArray:
    """A plain array of its own, in C order: what travels without a copy."""
    array: FloatArray = tensor.contiguous().cpu().numpy()
    return array
