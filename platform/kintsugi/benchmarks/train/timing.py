"""A stretch of steps to time, its clock, and batches that are there before it; knows no Ray."""

import gc
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from kintsugi.config.run_config import JobConfig, parse_config
from kintsugi.config.sections import DataSection
from kintsugi.data.batches import PackedBatch, collate, settings_of
from kintsugi.data.samples import draw_sample
from kintsugi.runs.warm_start import as_opened

# Before any that is timed: libraries choose their algorithms, allocators take their memory.
WARM_UP_STEPS = 2
# As many batches as are kept in memory; steps take them in turn.
NUM_BATCHES = 4


@dataclass(frozen=True)
class Stretch:
    """Steps that are timed in one go, after the first ones, which warm up.

    Attributes:
        name: By which its figures are found again.
        config: The config of the run, as `JobConfig.to_dict` gives it.
        steps: How many are timed.
        batches: Where they come from: made beforehand, or read from the shards.
        count_flops: Also count the floating point operations of a step.
        checkpoints: Also write, publish and restore a checkpoint, in this folder (URI);
            "" for none.
    """

    name: str
    config: dict[str, Any]
    steps: int
    batches: Literal["memory", "shards"] = "memory"
    count_flops: bool = False
    checkpoints: str = ""

    def parsed(self) -> JobConfig:
        """The configuration. Raises: ConfigError."""
        return parse_config(self.config, "the benchmark's configuration")

    def memory_batches(self, rank: int) -> Iterator[PackedBatch]:
        """Without end, the same few batches of drawn pictures with the configuration's holes."""
        config = as_opened(self.parsed())
        return memory_batches(config.data, config.seed, config.loop.batch_size, rank)


@dataclass(frozen=True)
class CheckpointCost:
    """What one checkpoint takes: its bytes, and seconds to write it to a local folder, to
    upload it, and to fetch, verify and load it."""

    bytes: int
    save_seconds: float
    publish_seconds: float
    restore_seconds: float


@dataclass(frozen=True)
class Timing:
    """What one process, the first, saw of a stretch.

    Attributes:
        step_seconds: Mean over the timed steps, waits for data included.
        processor_seconds: Mean of what all threads of the process took of the processors: unlike
            seconds, hardly more where other work shares them. 0 where not measured.
        peak_bytes: The most memory that tensors took on the GPU; 0 on a CPU.
        flops: Floating point operations of one worker's step; 0 where not counted.
        checkpoint: None where none was asked for.
    """

    step_seconds: float
    processor_seconds: float = 0.0
    peak_bytes: int = 0
    flops: int = 0
    checkpoint: CheckpointCost | None = None


class Clock:
    """Watches a loop by its requests for batches: a step lasts from one to the next.

    So it costs neither loop anything and counts all that happens between two requests. On a
    GPU, it waits for the work under way at the first and the last look only.

    Args:
        device: Where the steps compute.
        steps: How many are timed, after those that warm up. The loop must take one more.
    """

    def __init__(self, device: torch.device, steps: int) -> None:
        self._device = device
        self._steps = steps
        # On the wall and of the processors.
        self._looks: list[tuple[float, float]] = []
        self._peak_bytes = 0

    @property
    def max_steps(self) -> int:
        """How many steps the loop must take."""
        return WARM_UP_STEPS + self._steps + 1

    def watch(self, batches: Iterator[PackedBatch]) -> Iterator[PackedBatch]:
        """Hand the batches on."""
        for number in itertools.count():
            if number in (WARM_UP_STEPS, WARM_UP_STEPS + self._steps):
                self._look()
            yield next(batches)

    def _look(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            self._peak_bytes = torch.cuda.max_memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
        self._looks.append((time.perf_counter(), time.process_time()))

    def timing(self) -> Timing:
        """What it saw, once the loop is done."""
        wall, processors = (
            (end - begin) / self._steps for begin, end in zip(*self._looks, strict=True)
        )
        return Timing(wall, processors, self._peak_bytes)


def give_back(device: torch.device) -> None:
    """Free what a stretch that is over took, so that the next one finds what it found."""
    # Networks and DDP refer to one another.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def mean_step_seconds(rows: Sequence[Mapping[str, Any]], first: int, last: int) -> float:
    """From a run's rows of metrics, of the steps after ``first`` up to ``last``.

    Each row is of the steps since the one before; there must be one for either.
    """
    seconds, before = 0.0, 0
    for row in rows:
        if first < row["step"] <= last:
            seconds += (row["step"] - before) * row["step_seconds"]
        before = row["step"]
    return seconds / (last - first)


def memory_batches(data: DataSection, seed: int, size: int, rank: int) -> Iterator[PackedBatch]:
    """Without end, the same few batches of drawn pictures with the configuration's holes.

    Args:
        data: Crops and holes.
        seed: Decides the holes.
        size: Photographs in a batch.
        rank: Whose; each rank's pictures are its own.
    """
    settings = settings_of(data, seed)
    made = []
    for number in range(NUM_BATCHES):
        keys = [(rank * NUM_BATCHES + number) * size + index for index in range(size)]
        pictures = [_picture(data.resize_px, key) for key in keys]
        drawn = [draw_sample(*each, 0, settings) for each in zip(pictures, keys, strict=True)]
        made.append(collate(keys, drawn))
    return itertools.cycle(made)


def _picture(side_px: int, seed: int) -> NDArray[np.uint8]:
    """Smooth with a little noise: like a photograph, no window is the very same as another."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(16, 240, (8, 8, 3), np.uint8))
    smooth = np.asarray(coarse.resize((side_px, side_px), Image.Resampling.BILINEAR))
    pixels: NDArray[np.uint8] = smooth + rng.integers(0, 16, smooth.shape, np.uint8)
    return pixels
