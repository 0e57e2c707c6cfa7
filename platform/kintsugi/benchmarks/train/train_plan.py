"""What the training benchmark measures, and the configurations that it derives; runs nothing."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from kintsugi.benchmarks.train.timing import WARM_UP_STEPS, Stretch
from kintsugi.config.run_config import JobConfig
from kintsugi.errors import ConfigError
from kintsugi.models.precision import PRECISIONS, Precision


@dataclass(frozen=True)
class TrainPlan:
    """What is measured.

    Attributes:
        config: The run whose steps are timed; it is neither begun nor changed. Its storage
            holds a folder of the benchmark's as long as that runs.
        steps: How many are timed each time, after those that warm up.
        rounds: How often all of it takes turns.
        workers: Numbers of processes. Shards, formats of numbers and checkpoints are
            measured with the first.
        precisions: Formats of numbers, each in both memory layouts; none: those that pay on
            this device.
        with_ray: Without it only the plain loop runs.
        peak_tflops: What the device can do in 16-bit numbers, in 10^12 operations per
            second, for the share of it; 0: not known.
    """

    config: JobConfig
    steps: int = 6
    rounds: int = 3
    workers: Sequence[int] = (1, 2)
    precisions: Sequence[str] = ()
    with_ray: bool = True
    peak_tflops: float = 0.0

    @property
    def first(self) -> int:
        """The number of workers with which most is measured."""
        return self.workers[0]

    @property
    def interval(self) -> int:
        """Steps between two checkpoints where they are measured: the configured, if it fits."""
        return min(self.config.loop.checkpoint_every, self.steps)

    def threads(self, workers: int) -> int:
        """PyTorch's in each of ``workers`` processes: no more in all than there are cores."""
        return min(self.config.workers.threads, max(1, (os.cpu_count() or 1) // workers))

    def stretch(
        self, name: str, config: JobConfig, *, batches: Literal["memory", "shards"] = "memory"
    ) -> Stretch:
        """As many steps of ``config`` as are timed."""
        return Stretch(name, config.to_dict(), self.steps, batches)

    def shared_size(self, workers: int) -> int:
        """Photographs per worker when more of them share those that the first number have.

        Returns: 0 where that cannot be done.
        """
        total = self.config.loop.batch_size * self.first
        size = 0 if total % workers else total // workers
        return size if workers > self.first and size % self.config.loop.accumulate == 0 else 0


@dataclass(frozen=True)
class NumberFormat:
    """A number format and a memory layout."""

    precision: Precision
    channels_last: bool

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.precision}, {'channels last' if self.channels_last else 'channels first'}"


def check_plan(plan: TrainPlan) -> list[NumberFormat]:
    """What is measured next to the configuration's own format. Raises: ConfigError."""
    for name, number in (("--steps", plan.steps), ("--rounds", plan.rounds)):
        if number < 1:
            raise ConfigError(f"{name} {number}: at least 1")
    if not plan.workers or min(plan.workers) < 1:
        raise ConfigError(f"--workers {list(plan.workers)}: numbers from 1 on, such as 1,2")
    gpus = torch.cuda.device_count()
    if plan.config.workers.use_gpu and max(plan.workers) > gpus:
        raise ConfigError(
            f"--workers {max(plan.workers)} with workers.use_gpu needs as many GPUs, and PyTorch"
            f" sees {gpus} here: lower it, or add --set workers.use_gpu=false"
        )
    on_gpu = plan.config.workers.use_gpu
    chosen = plan.precisions or (PRECISIONS if on_gpu else ("float32", "bfloat16"))
    known = {precision for precision in PRECISIONS if on_gpu or precision != "float16"}
    for precision in chosen:
        if precision not in known:
            raise ConfigError(
                f"--precisions {precision}: choose of {', '.join(sorted(known))} (float16 on a GPU)"
            )
    return [
        NumberFormat(precision, layout)
        for precision in PRECISIONS
        for layout in (False, True)
        if precision in chosen
    ]


def quick_config(
    plan: TrainPlan, storage: str, *, workers: int, run: str = "benchmark"
) -> JobConfig:
    """The plan's configuration for a few steps, as it computes after all its schedules."""
    config = plan.config
    # One more than are timed: the clock looks when the next is about to begin.
    steps = WARM_UP_STEPS + plan.steps + 1
    return replace(
        config,
        run=run,
        storage=storage,
        # Weights do not change how long a step takes.
        init_from="",
        loop=replace(config.loop, max_steps=steps, checkpoint_every=steps, sample_every=0),
        held_out=replace(config.held_out, patience=0),
        translate=replace(config.translate, truth_steps=0, ramp_steps=0),
        workers=replace(
            config.workers,
            count=workers,
            min_count=0,
            threads=plan.threads(workers),
            max_failures=0,
        ),
    )
