"""The training loop of both stages; runs on one process or many, with or without Ray.

The caller gives it batches and a reporter. It does not know where the batches come from, or who
else trains. Gradients are averaged by DDP when a process group exists.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from kintsugi.collectives import SharedFlags
from kintsugi.config.sections import (
    ComputeSection,
    HeldOutSection,
    LoopSection,
    OptimizerSection,
)
from kintsugi.data.sampler import SampleOrder
from kintsugi.errors import KintsugiError
from kintsugi.runs.checkpoints import CheckpointProgress, TrainState, save_checkpoint
from kintsugi.runs.metrics_log import Metrics
from kintsugi.stages.base.stage import Stage
from kintsugi.storage.scratch import write_scratch
from kintsugi.train.hangs import Place
from kintsugi.train.optim import scaler_for
from kintsugi.train.prefetch import AnyBatch, Prefetcher
from kintsugi.train.step import TrainStep
from kintsugi.train.throughput import Meter
from kintsugi.train.validation import Validation, check_finite


class Reporter(Protocol):
    """Where the loop's results go. Every rank calls every method equally often."""

    def log(self, row: Metrics) -> None:
        """Metrics of a step, averaged over all ranks."""
        ...

    def checkpoint(self, row: Metrics, folder: Path | None, step: int) -> None:
        """A finished checkpoint in a local folder, the reporter's from now on; None on all ranks
        but the first. Returns before it has arrived anywhere."""
        ...

    def finish(self) -> None:
        """Return when all that was reported has arrived."""
        ...

    def sample(self, row: Metrics, png: bytes, step: int) -> None:
        """Losses on the fixed photographs and a picture of them; first rank only."""
        ...


def never() -> bool:
    """What `WorkerContext.should_stop` says where nobody asks a run to stop."""
    return False


@dataclass(frozen=True)
class WorkerContext:
    """One process of a run: its number among the others, its device, and who may end it.

    Attributes:
        device: On which this process computes.
        rank: The rank of this process, from 0.
        workers: How many processes there are now; an elastic run has not always as many as
            its configuration says.
        should_stop: Whether to write a checkpoint and leave; the first rank's is asked.
        is_reclaimed: Whether a node of the run is about to be taken away: the ranks write a
            checkpoint and fail, to be started elsewhere; the first rank's is asked.
        owner: Token of the submission that this process belongs to (`kintsugi.runs.lease`);
            "": of none, and no lease is checked.
        place: Where this process is in the run, for who watches it.
    """

    device: torch.device
    rank: int = 0
    workers: int = 1
    should_stop: Callable[[], bool] = never
    is_reclaimed: Callable[[], bool] = never
    owner: str = ""
    place: Place = field(default_factory=Place)


def initial_state(stage: Stage, optimizer: OptimizerSection, compute: ComputeSection) -> TrainState:
    """A run's state before its first step; the stage is on its device."""
    betas = (optimizer.beta1, optimizer.beta2)
    rates = {"generator": optimizer.generator_lr, "discriminator": optimizer.discriminator_lr}
    networks = {"generator": stage.generator, "discriminator": stage.discriminator}
    if compute.channels_last:
        for network in networks.values():
            network.to(memory_format=torch.channels_last)
    device = next(stage.generator.parameters()).device
    average = None
    if optimizer.ema_decay:
        average = copy.deepcopy(stage.generator).requires_grad_(False).eval()
    scaler = scaler_for(device, compute.precision)
    return TrainState(
        networks=networks,
        optimizers={
            # One launch for all weights, where that pays.
            name: torch.optim.Adam(
                network.parameters(), rates[name], betas, fused=device.type == "cuda" or None
            )
            for name, network in networks.items()
        },
        average=average,
        scaler=scaler if scaler.is_enabled() else None,
    )


def train(
    step: TrainStep,
    batches: Iterator[AnyBatch],
    order: SampleOrder,
    loop: LoopSection,
    held_out: HeldOutSection,
    validation: Validation,
    context: WorkerContext,
    reporter: Reporter,
) -> None:
    """Train from the step's state to ``loop.max_steps``, reporting on the way.

    It ends before that when the held-out loss no longer falls (`is_finished`), or when
    it is asked to stop; what is done then is in a checkpoint.

    Args:
        step: What is trained, and its state.
        batches: This rank's, from the state's position on.
        order: In which the batches come; says what is left of an epoch.
        loop: How long, and how often what is written.
        held_out: When a run that no longer improves ends.
        validation: What is looked at without training on it.
        context: Which process of the run this is.
        reporter: Where rows, samples and checkpoints go.

    Raises:
        Diverged: names the loss and the step when a loss is no longer a number.
        NodeReclaimed: a node is about to be taken away; what is done is in a checkpoint.
    """
    state, device = step.state, context.device
    prefetched = Prefetcher(batches, device)
    meter = Meter(order.batch_size * order.workers, device, step.exchange, context.place)
    records = _Records(state, order, loop, validation, meter, context.rank, reporter)
    flags = _flags(loop, context)
    if state.step == 0:
        records.sample()
    if state.unmeasured:
        records.measure_late(held_out)
    stopping = False
    while not is_finished(loop, held_out, state) and not stopping:
        figures = _take_step(step, prefetched, meter)
        asked, reclaimed, due = flags.agreed()
        stopping = asked or reclaimed
        turn = state.step == loop.max_steps or _is_turn(state.step, loop.checkpoint_every)
        saving = turn or stopping or due
        if saving or _is_turn(state.step, loop.log_every):
            # What is about to be taken away leaves no time: it is measured by who goes on.
            row = records.log(figures, measured=turn and not reclaimed)
            state.unmeasured = turn and reclaimed and bool(validation.held_out)
        if is_finished(loop, held_out, state) or _is_turn(state.step, loop.sample_every):
            records.sample()
        if saving:
            records.checkpoint(row)
        if reclaimed:
            reporter.finish()
            raise NodeReclaimed(f"a node is taken away: step {state.step} is in a checkpoint")
    flags.close()
    reporter.finish()


class NodeReclaimed(KintsugiError):
    """A node of the run is about to be taken away; the run goes on elsewhere."""


class _Clock:
    """Says once in so many minutes that they have passed; 0 = never."""

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = 60 * minutes
        self._now = now
        self._since = now()

    def is_due(self) -> bool:
        now = self._now()
        if not self._seconds or now - self._since < self._seconds:
            return False
        self._since = now
        return True


def is_finished(
    loop: LoopSection, held_out: HeldOutSection, state: TrainState | CheckpointProgress
) -> bool:
    """Whether a run has taken all its steps, or its held-out loss has not fallen for long.

    One whose last step is not measured yet is not finished.
    """
    if state.unmeasured:
        return False
    return 0 < held_out.patience <= state.stale or state.step >= loop.max_steps


def _is_turn(step: int, every: int) -> bool:
    """Whether what is done every so many steps is done after this one; 0 = never."""
    return every > 0 and step % every == 0


def _flags(loop: LoopSection, context: WorkerContext) -> SharedFlags:
    """Asked after each step: to stop, to leave a node, to write a checkpoint by the clock."""
    clock = _Clock(loop.checkpoint_minutes)
    asks = (context.should_stop, context.is_reclaimed, clock.is_due)
    return SharedFlags(asks, rank=context.rank, device=context.device)


def _take_step(step: TrainStep, batches: Prefetcher, meter: Meter) -> dict[str, Tensor]:
    with meter.waiting():
        batch = next(batches)
    figures = step(batch)
    step.state.step += 1
    meter.count(step.state.step)
    return figures


@dataclass
class _Records:
    """What the reporter is given of a run; every rank calls every method equally often.

    Its time is none of a step's.
    """

    state: TrainState
    order: SampleOrder
    loop: LoopSection
    validation: Validation
    meter: Meter
    rank: int
    reporter: Reporter

    def __post_init__(self) -> None:
        self._began_at, self._first_step = self.state.position, self.state.step

    def log(self, figures: dict[str, Tensor], *, measured: bool) -> Metrics:
        """A step's figures over all ranks. Args: ``measured``: with its held-out losses."""
        row = self._row(figures)
        if measured:
            row |= self._measure()
        with self.meter.aside("writing metrics"):
            self.reporter.log(row)
        return row

    def _measure(self) -> Metrics:
        counts = _is_turn(self.state.step, self.loop.checkpoint_every)
        with self.meter.aside("measuring held-out photographs"):
            return self.validation.measure(counts=counts)

    def measure_late(self, held_out: HeldOutSection) -> None:
        """The held-out losses of a step whose checkpoint was written without them."""
        row: Metrics = {"step": self.state.step, **self._measure()}
        self.state.unmeasured = False
        with self.meter.aside("writing metrics"):
            self.reporter.log(row)
        if is_finished(self.loop, held_out, self.state):
            # No step follows that would write what was measured.
            self.sample()
            self.checkpoint(row)

    def _row(self, figures: dict[str, Tensor]) -> Metrics:
        state = self.state
        rate = state.optimizers["generator"].param_groups[0]["lr"]
        row: Metrics = {"step": state.step, **_mean_over_ranks(figures), "learning_rate": rate}
        # In float16 a gradient may overflow: then the step is left out and the scale lowered.
        checked = ("loss/",) if state.scaler else ("loss/", "grad_norm/")
        check_finite(
            {name: value for name, value in row.items() if name.startswith(checked)}, state.step
        )
        return row | self.meter.read(self.loop.max_steps - state.step)

    def sample(self) -> None:
        """A picture of the fixed photographs as they are filled now, where a run has any."""
        if not self.loop.sample_every:
            return
        with self.meter.aside("drawing the sample pictures"):
            if self.validation.fixed is not None:
                self.reporter.sample(*self.validation.sample(), self.state.step)

    def checkpoint(self, row: Metrics) -> None:
        """The state as it is now. Args: ``row``: of its step."""
        state = self.state
        state.position = self.order.advance(self._began_at, state.step - self._first_step)
        with self.meter.aside("saving a checkpoint"):
            folder = None
            if self.rank == 0:
                folder = write_scratch("a checkpoint", lambda empty: save_checkpoint(empty, state))
            self.reporter.checkpoint(row, folder, state.step)


def _mean_over_ranks(figures: dict[str, Tensor]) -> dict[str, float]:
    values = torch.stack(list(figures.values())).float()
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return dict(zip(figures, values.tolist(), strict=True))
