"""Speed, waiting and memory of a run since its last row of metrics; knows no losses."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kintsugi.runs.metrics_log import Metrics


class Meter:
    """Counts steps and the time spent waiting for their data.

    Args:
        images_per_step: The images per step of all workers together.
        device: Whose memory is watched.
    """

    def __init__(self, images_per_step: int, device: torch.device) -> None:
        self._images_per_step = images_per_step
        self._device = device
        self._reset()

    def _reset(self) -> None:
        self._steps = 0
        self._waited = 0.0
        self._aside = 0.0
        self._since = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a batch."""
        since = time.perf_counter()
        yield
        self._waited += time.perf_counter() - since

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Around what is no part of a step: its time counts nowhere."""
        since = time.perf_counter()
        yield
        self._aside += time.perf_counter() - since

    def count(self) -> None:
        """A step is done."""
        self._steps += 1

    def read(self) -> Metrics:
        """Figures since the last reading, of at least one step."""
        seconds = time.perf_counter() - self._since - self._aside
        row: Metrics = {
            "step_seconds": seconds / self._steps,
            "images_per_second": self._steps * self._images_per_step / seconds,
            "wait_share": self._waited / seconds,
            "memory_mib": _peak_bytes(self._device) / 2**20,
        }
        self._reset()
        return row


def _peak_bytes(device: torch.device) -> int:
    """The most memory this process has held: on the GPU where it computes there, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024
