"""The platform's steps against a plain loop's: rounds in which they take turns; draws nothing.

Every round starts fresh processes of both, and turns the order round. Ratios are taken
within a round and their median is reported, so that what else the machine does meanwhile hits
both alike.
"""

import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import torch

from kintsugi.benchmarks.train.timing import WARM_UP_STEPS, Stretch, Timing
from kintsugi.benchmarks.train.torchrun import run_plain
from kintsugi.benchmarks.train.train_plan import NumberFormat, TrainPlan, check_plan, quick_config
from kintsugi.masks.sets import names_place
from kintsugi.runs.warm_start import open_run
from kintsugi.storage.storage import Storage

# What is timed. MEMORY: batches of the configuration's size on every worker; SHARED: the
# first number of workers' photographs shared out among more of them; SHARDS: read from the
# shards; CHECKPOINTS: the same with checkpoints in between.
MEMORY, SHARED, SHARDS, CHECKPOINTS = "memory", "shared", "shards", "checkpoints"
# Whose steps.
Loop = Literal["platform", "plain"]
LOOPS: tuple[Loop, ...] = get_args(Loop)

# Called with what comes out, a line at a time.
Report = Callable[[str], None]


def run_benchmark(plan: TrainPlan, report: Report = lambda line: None) -> dict[str, Any]:
    """Measure everything; Ray must be running for it, unless the plan goes without.

    Returns: raw values, as JSON takes them; see `kintsugi.benchmarks.train.train_report`.

    Raises:
        ConfigError: the plan or its configuration cannot be used here.
        StorageError: the storage or the shards that the configuration names fail.
        KintsugiError: a loop failed; names the cause.
    """
    variants = check_plan(plan)
    storage, name = Storage(plan.config.storage), f"benchmark-train-{secrets.token_hex(4)}"
    bench = _Bench(plan, variants, storage.join(name).uri, report)
    try:
        bench.prepare()
        for number in range(plan.rounds):
            bench.round(number)
    finally:
        storage.delete_folder(name)
    return bench.to_dict()


@dataclass
class _Bench:
    """What the rounds share, and what came of them."""

    plan: TrainPlan
    variants: Sequence[NumberFormat]
    storage: str
    report: Report
    # (loop, workers, what) -> one for each round.
    timings: dict[tuple[Loop, int, str], list[Timing]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def prepare(self) -> None:
        if self.plan.with_ray:
            from kintsugi.benchmarks.train import on_ray

            configs = [
                quick_config(self.plan, self.storage, workers=workers)
                for workers in self.plan.workers
            ]
            on_ray.prepare(self.plan.config.data, [config.workers for config in configs])
        config = self.plan.config
        if config.translate.prediction_share or any(map(names_place, config.data.masks)):
            # Keeps stage 1, whose predictions are mixed in, and masks where all loops find them.
            open_run(quick_config(self.plan, self.storage, workers=self.plan.first))

    def round(self, number: int) -> None:
        turns = [
            (loop, workers)
            for workers in self.plan.workers
            for loop in LOOPS
            if loop == "plain" or self.plan.with_ray
        ]
        for loop, workers in turns if number % 2 == 0 else reversed(turns):
            if loop == "plain":
                self._plain(workers, number)
            else:
                self._platform(workers, number)

    def _plain(self, workers: int, number: int) -> None:
        stretches = self._common(workers)
        if workers == self.plan.first:
            folder = f"{self.storage}/cost-{number}"
            stretches[0] = replace(stretches[0], checkpoints=folder, count_flops=number == 0)
            stretches += self._alone()
        if number % 2:
            stretches.reverse()
        self._keep("plain", workers, stretches, run_plain(stretches))

    def _platform(self, workers: int, number: int) -> None:
        from kintsugi.benchmarks.train import on_ray

        stretches = self._common(workers)
        if number % 2:
            stretches.reverse()
        self._keep("platform", workers, stretches, on_ray.time_in_memory(stretches))
        if workers != self.plan.first:
            return
        for what in (SHARDS, CHECKPOINTS):
            run = f"{what}-{number}"
            config = quick_config(self.plan, self.storage, workers=workers, run=run)
            if what == CHECKPOINTS:
                config = replace(
                    config, loop=replace(config.loop, checkpoint_every=self.plan.interval)
                )
            stretch = self.plan.stretch(what, config)
            self._keep("platform", workers, [stretch], [on_ray.time_run(stretch)])

    def _common(self, workers: int) -> list[Stretch]:
        """What both loops do with batches in memory."""
        config = quick_config(self.plan, self.storage, workers=workers)
        stretches = [self.plan.stretch(MEMORY, config)]
        if size := self.plan.shared_size(workers):
            shared = replace(config, loop=replace(config.loop, batch_size=size))
            stretches.append(self.plan.stretch(SHARED, shared))
        return stretches

    def _alone(self) -> list[Stretch]:
        """What only the plain loop does, with the first number of workers."""
        config = quick_config(self.plan, self.storage, workers=self.plan.first)
        stretches = (
            [self.plan.stretch(SHARDS, config, batches="shards")] if self.plan.with_ray else []
        )
        for variant in self.variants:
            if self._name_of(variant) != MEMORY:
                compute = replace(config.compute, **asdict(variant))
                stretches.append(self.plan.stretch(variant.name, replace(config, compute=compute)))
        return stretches

    def _name_of(self, variant: NumberFormat) -> str:
        """The configuration's own format and layout are measured anyway."""
        compute = self.plan.config.compute
        same = variant == NumberFormat(compute.precision, compute.channels_last)
        return MEMORY if same else variant.name

    def _keep(
        self, loop: Loop, workers: int, stretches: Sequence[Stretch], timings: Sequence[Timing]
    ) -> None:
        for stretch, timing in zip(stretches, timings, strict=True):
            self.timings[loop, workers, stretch.name].append(timing)
            self.report(
                f"{loop}, workers {workers}, {stretch.name}: {timing.step_seconds:.3f} s per step"
            )

    def to_dict(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "config": plan.config.to_dict(),
            "device": _device(on_gpu=plan.config.workers.use_gpu),
            "cores": os.cpu_count() or 1,
            "torch": torch.__version__,
            "steps": plan.steps,
            "warm_up_steps": WARM_UP_STEPS,
            "rounds": plan.rounds,
            "peak_tflops": plan.peak_tflops,
            "step_times": [
                self._step_times(workers, what)
                for workers in plan.workers
                for what in (MEMORY, SHARED, SHARDS)
                if ("plain", workers, what) in self.timings
            ],
            "variants": [self._variant(variant) for variant in self.variants],
            "checkpoint": self._checkpoint(),
        }

    def _seconds(self, loop: Loop, workers: int, what: str) -> list[float]:
        return [timing.step_seconds for timing in self.timings.get((loop, workers, what), [])]

    def _step_times(self, workers: int, what: str) -> dict[str, Any]:
        size = self.plan.config.loop.batch_size
        return {
            "workers": workers,
            "threads": self.plan.threads(workers),
            "batch_size": self.plan.shared_size(workers) if what == SHARED else size,
            "batches": what,
            **{loop: self._seconds(loop, workers, what) for loop in LOOPS},
            **{
                f"{loop}_processors": [
                    timing.processor_seconds
                    for timing in self.timings.get((loop, workers, what), [])
                    if timing.processor_seconds
                ]
                for loop in LOOPS
            },
        }

    def _variant(self, variant: NumberFormat) -> dict[str, Any]:
        timings = self.timings["plain", self.plan.first, self._name_of(variant)]
        return {
            **asdict(variant),
            "workers": self.plan.first,
            "images": self.plan.first * self.plan.config.loop.batch_size,
            "seconds": [timing.step_seconds for timing in timings],
            "peak_bytes": max(timing.peak_bytes for timing in timings),
            # For all workers; formats and layouts do not change what is computed.
            "flops": self.plan.first * self.timings["plain", self.plan.first, MEMORY][0].flops,
        }

    def _checkpoint(self) -> dict[str, Any]:
        timings = self.timings["plain", self.plan.first, MEMORY]
        costs = [asdict(timing.checkpoint) for timing in timings if timing.checkpoint]
        marks = range(self.plan.interval, WARM_UP_STEPS + self.plan.steps, self.plan.interval)
        return {
            "costs": costs,
            "configured_interval": self.plan.config.loop.checkpoint_every,
            "measured_interval": self.plan.steps / sum(mark >= WARM_UP_STEPS for mark in marks),
            "without": self._seconds("platform", self.plan.first, SHARDS),
            "with": self._seconds("platform", self.plan.first, CHECKPOINTS),
        }


def _device(*, on_gpu: bool) -> str:
    return torch.cuda.get_device_name() if on_gpu else "cpu"
