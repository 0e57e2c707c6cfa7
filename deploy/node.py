"""What every node of the serving graph is: a release, one computation at a time; no network.

Arrays go from node to node as numpy by reference. Layouts are those of `models`:
float32, B C H W, RGB 0-1; a mask is bool, B 1 H W, True = hole.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from ray.serve.metrics import Histogram
from torch import Tensor

from deploy.engine import STAGE_BOUNDARIES, ModelInfo
from deploy.settings import AppArgs

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NodeStatus:
    """What a replica says of itself: its release, and how many requests it has computed."""

    model: ModelInfo
    calls: int


class Node:
    """What all nodes share: the release's name, one computation at a time, its duration."""

    stage: str

    def __init__(self, args: AppArgs, model: ModelInfo) -> None:
        torch.set_num_threads(args.threads)
        self._device = torch.device(args.device)
        self._model = model
        self._calls = 0
        self._computing = threading.Lock()
        self._seconds = Histogram(
            "kintsugi_stage_seconds",
            description="Time of one stage of one request",
            boundaries=STAGE_BOUNDARIES,
            tag_keys=("stage",),
        )

    async def ready(self) -> NodeStatus:
        """Answer beside a running computation."""
        return NodeStatus(self._model, self._calls)

    def check_health(self) -> None:
        """Fail when the device does: Serve then replaces this replica."""
        torch.ones(1, device=self._device).add_(1).item()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._calls += 1
        self._seconds.observe(time.perf_counter() - started, tags={"stage": self.stage})

    @contextmanager
    def _compute(self) -> Iterator[None]:
        with self._computing, torch.inference_mode(), self._timed():
            yield

    def _tensor(self, array: FloatArray | BoolArray) -> Tensor:
        # A copy: an array that came by reference is read-only, which tensors cannot be.
        return torch.tensor(array, device=self._device, dtype=torch.float32)


def float_array(tensor: Tensor) -> FloatArray:
    """A plain array of its own, in C order: what travels without a copy."""
    array: FloatArray = tensor.contiguous().cpu().numpy()
    return array
