"""The training loop of both stages; runs on one process or many, with or without Ray.

It is given batches and told where to report; where the batches come from and who else
trains is not its business. Gradients are averaged by DDP when a process group exists.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kintsugi.checkpoints import Best, TrainState, save_checkpoint
from kintsugi.config import JobConfig
from kintsugi.errors import KintsugiError
from kintsugi.looking import losses_on, picture_of
from kintsugi.meter import Meter
from kintsugi.order import SampleOrder
from kintsugi.samples import Batch
from kintsugi.scratch import scratch_folder
from kintsugi.stages import Stage
from kintsugi.step import TrainStep
from kintsugi.tracking import Metrics
from kintsugi.updates import scaler_for

# Of the losses on held-out photographs the one that says which checkpoint is the best.
CRITERION = "perceptual"
# Steps between two questions whether to stop, on a GPU, which each answer holds up.
GPU_STOP_STEPS = 10


class Reporter(Protocol):
    """Where the loop's results go. Every rank calls every method equally often."""

    def log(self, row: Metrics) -> None:
        """Metrics of a step, averaged over all ranks."""
        ...

    def checkpoint(self, row: Metrics, folder: Path | None, step: int) -> None:
        """A finished checkpoint in a local folder; None on all ranks but the first."""
        ...

    def sample(self, row: Metrics, png: bytes, step: int) -> None:
        """Losses on the fixed photographs and a picture of them; first rank only."""
        ...


def never() -> bool:
    """What `Surroundings.should_stop` says where nobody asks a run to stop."""
    return False


@dataclass(frozen=True)
class Surroundings:
    """Where one process of a run stands.

    Attributes:
        rank: Of this process, from 0.
        order: Of the samples; also says how many processes there are.
        device: On which this process computes.
        fixed: The photographs of the sample pictures; None on all ranks but the first.
        held_out: What checkpoints are measured on; the first rank's are used.
        should_stop: Whether to write a checkpoint and leave; the first rank's is asked.
    """

    rank: int
    order: SampleOrder
    device: torch.device
    fixed: Batch | None = None
    held_out: Sequence[Batch] = ()
    should_stop: Callable[[], bool] = never


def initial_state(stage: Stage, config: JobConfig) -> TrainState:
    """A run's state before its first step; the stage is on its device."""
    settings = config.optimizer
    betas = (settings.beta1, settings.beta2)
    rates = {"generator": settings.generator_lr, "discriminator": settings.discriminator_lr}
    networks = {"generator": stage.generator, "discriminator": stage.discriminator}
    if config.compute.channels_last:
        for network in networks.values():
            network.to(memory_format=torch.channels_last)
    device = next(stage.generator.parameters()).device
    average = copy.deepcopy(stage.generator).requires_grad_(False).eval()
    scaler = scaler_for(device, config.compute.precision)
    return TrainState(
        networks=networks,
        optimizers={
            name: torch.optim.Adam(network.parameters(), rates[name], betas)
            for name, network in networks.items()
        },
        average=average if settings.ema_decay else None,
        scaler=scaler if scaler.is_enabled() else None,
    )


def train(
    stage: Stage,
    batches: Iterator[Batch],
    config: JobConfig,
    state: TrainState,
    surroundings: Surroundings,
    reporter: Reporter,
) -> None:
    """Train from ``state`` to ``config.loop.max_steps``, reporting on the way.

    It ends before that when the held-out loss no longer falls (``state.finished``), or when
    it is asked to stop; what is done then is in a checkpoint.

    Raises: KintsugiError naming the loss and the step when a loss is no longer a number.
    """
    loop, device = config.loop, surroundings.device
    step = TrainStep(stage, state, config, device)
    start, first_step = state.position, state.step
    meter = Meter(loop.batch_size * surroundings.order.workers, device)
    stop = _Stop(surroundings)
    view = _View(stage, state, config, surroundings)
    if state.step == 0 and loop.sample_every:
        with meter.aside():
            view.sample(reporter)
    stopping = False
    while state.step < loop.max_steps and not state.finished and not stopping:
        with meter.waiting():
            batch = next(batches).to(device)
        figures = step(batch)
        state.step += 1
        meter.count()
        stopping = stop.agreed()
        last = state.step == loop.max_steps
        saving = last or stopping or state.step % loop.checkpoint_every == 0
        if saving or state.step % loop.log_every == 0:
            row = _row(state, figures, meter)
            if saving:
                with meter.aside():
                    row |= view.measure()
            reporter.log(row)
        ending = last or state.finished
        if loop.sample_every and (ending or state.step % loop.sample_every == 0):
            with meter.aside():
                view.sample(reporter)
        if saving:
            state.position = surroundings.order.advance(start, state.step - first_step)
            _save(state, surroundings.rank, reporter, row)
    stop.close()


def _row(state: TrainState, figures: dict[str, Tensor], meter: Meter) -> Metrics:
    rate = state.optimizers["generator"].param_groups[0]["lr"]
    row: Metrics = {"step": state.step, **_mean_over_ranks(figures), "learning_rate": rate}
    for name, value in row.items():
        if name.startswith("loss/") and not math.isfinite(value):
            raise KintsugiError(
                f"loss {name.removeprefix('loss/')} is {value} at step {state.step}: the run"
                " diverged; lower optimizer.generator_lr or go back to an earlier checkpoint"
            )
    return row | meter.read()


def _save(state: TrainState, rank: int, reporter: Reporter, row: Metrics) -> None:
    with scratch_folder("a checkpoint") as temporary:
        folder = temporary if rank == 0 else None
        if folder is not None:
            save_checkpoint(folder, state)
        reporter.checkpoint(row, folder, state.step)


def _mean_over_ranks(figures: dict[str, Tensor]) -> dict[str, float]:
    values = torch.stack(list(figures.values())).float()
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return dict(zip(figures, values.tolist(), strict=True))


class _View:
    """Looks at the generator as a release would have it: its running mean where there is one."""

    def __init__(
        self, stage: Stage, state: TrainState, config: JobConfig, surroundings: Surroundings
    ) -> None:
        self._stage = stage
        self._state = state
        self._config = config
        self._surroundings = surroundings

    @property
    def _generator(self) -> nn.Module:
        return self._state.average or self._stage.generator

    def _losses(self, batches: Sequence[Batch]) -> dict[str, float]:
        # As at the end of every schedule: figures of different steps can be compared.
        return losses_on(
            self._stage,
            self._generator,
            [batch.to(self._surroundings.device) for batch in batches],
            self._config.compute.precision,
            step=self._config.loop.max_steps,
        )

    def sample(self, reporter: Reporter) -> None:
        """Losses and a picture of the fixed photographs."""
        if self._surroundings.fixed is None:
            return
        losses = self._losses([self._surroundings.fixed])
        row: Metrics = {"step": self._state.step}
        row |= {f"fixed/{name}": loss for name, loss in losses.items()}
        png = picture_of(
            self._stage,
            self._generator,
            self._surroundings.fixed.to(self._surroundings.device),
            self._config.compute.precision,
            step=self._config.loop.max_steps,
        )
        reporter.sample(row, png, self._state.step)

    def measure(self) -> dict[str, float]:
        """Losses on the held-out photographs; the state learns whether they still fall."""
        if not self._config.held_out.photos:
            return {}
        losses = self._losses(self._surroundings.held_out) if self._surroundings.rank == 0 else {}
        loss = _from_first_rank(losses.get(CRITERION, 0.0), self._surroundings.device)
        state = self._state
        if state.best is None or loss < state.best.loss:
            state.best, state.stale = Best(state.step, loss), 0
        else:
            state.stale += 1
        state.finished = 0 < self._config.held_out.patience <= state.stale
        return {f"held_out/{name}": value for name, value in losses.items()}


def _from_first_rank(value: float, device: torch.device) -> float:
    if not dist.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(shared, src=0)
    return shared.item()


class _Stop:
    """Whether all ranks leave after this step: the first rank's answer, one question late.

    The answer travels while the next step computes, so that nobody waits for it.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._every = GPU_STOP_STEPS if surroundings.device.type == "cuda" else 1
        self._count = 0
        self._flag = torch.zeros(1, device=surroundings.device)
        self._travelling: dist.Work | None = None

    def agreed(self) -> bool:
        if not dist.is_initialized():
            return self._surroundings.should_stop()
        self._count += 1
        if self._count % self._every:
            return False
        stop = self._arrived()
        self._flag.fill_(self._surroundings.rank == 0 and self._surroundings.should_stop())
        self._travelling = dist.broadcast(self._flag, src=0, async_op=True)
        return stop

    def _arrived(self) -> bool:
        if self._travelling is None:
            return False
        self._travelling.wait()
        return bool(self._flag.item())

    def close(self) -> None:
        """Let no answer travel on when the loop ends."""
        self._arrived()
