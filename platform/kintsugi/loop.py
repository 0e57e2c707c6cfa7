"""The training loop of both stages; runs on one process or many, with or without Ray.

It is given batches and told where to report; where the batches come from and who else
trains is not its business. Gradients are averaged by DDP when a process group exists.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kintsugi.checkpoints import TrainState, save_checkpoint
from kintsugi.config import JobConfig
from kintsugi.errors import KintsugiError
from kintsugi.order import SampleOrder
from kintsugi.samples import Batch
from kintsugi.stages import Stage
from kintsugi.tracking import Metrics, picture


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


@dataclass(frozen=True)
class Surroundings:
    """Where one process of a run stands.

    Attributes:
        rank: Of this process, from 0.
        order: Of the samples; also says how many processes there are.
        device: On which this process computes.
        fixed: The photographs of the sample pictures; None on all ranks but the first.
    """

    rank: int
    order: SampleOrder
    device: torch.device
    fixed: Batch | None = None


def initial_state(stage: Stage, config: JobConfig) -> TrainState:
    """A run's state before its first step."""
    settings = config.optimizer
    betas = (settings.beta1, settings.beta2)
    return TrainState(
        networks={"generator": stage.generator, "discriminator": stage.discriminator},
        optimizers={
            "generator": torch.optim.Adam(
                stage.generator.parameters(), settings.generator_lr, betas
            ),
            "discriminator": torch.optim.Adam(
                stage.discriminator.parameters(), settings.discriminator_lr, betas
            ),
        },
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

    Raises: KintsugiError naming the loss and the step when a loss is no longer a number.
    """
    loop = config.loop
    generator, discriminator = _wrapped(stage.generator), _wrapped(stage.discriminator)
    start = state.position
    first_step = state.step
    meter = _Meter(loop.batch_size * surroundings.order.workers)
    if state.step == 0 and loop.sample_every:
        _sample(stage, surroundings, reporter, 0)
    while state.step < loop.max_steps:
        with meter.waiting():
            batch = next(batches).to(surroundings.device)
        losses = train_step(stage, batch, state, generator, discriminator)
        state.step += 1
        meter.count()
        last = state.step == loop.max_steps
        saving = last or state.step % loop.checkpoint_every == 0
        if saving or state.step % loop.log_every == 0:
            row = meter.row(state.step, _mean_over_ranks(losses))
            reporter.log(row)
        if loop.sample_every and (last or state.step % loop.sample_every == 0):
            _sample(stage, surroundings, reporter, state.step)
        if saving:
            state.position = surroundings.order.advance(start, state.step - first_step)
            _save(state, surroundings.rank, reporter, row)


def _save(state: TrainState, rank: int, reporter: Reporter, row: Metrics) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if rank == 0 else None
        if folder is not None:
            save_checkpoint(folder, state)
        reporter.checkpoint(row, folder, state.step)


def train_step(
    stage: Stage,
    batch: Batch,
    state: TrainState,
    generator: nn.Module,
    discriminator: nn.Module,
) -> dict[str, Tensor]:
    """One step of the generator, then one of the discriminator on the same images."""
    output = stage.generate(generator, batch)
    # Through the bare discriminator, with its weights held still: this pass takes
    # gradients to the image only and must not touch DDP's bookkeeping.
    stage.discriminator.requires_grad_(False)
    losses = stage.generator_losses(output, stage.discriminator)
    _optimise(state.optimizers["generator"], losses)
    stage.discriminator.requires_grad_(True)
    judged = stage.discriminator_losses(output, discriminator)
    _optimise(state.optimizers["discriminator"], judged)
    return {name: loss.detach() for name, loss in (losses | judged).items()}


def _optimise(optimizer: torch.optim.Optimizer, losses: dict[str, Tensor]) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _wrapped(network: nn.Module) -> nn.Module:
    network.train()
    return DistributedDataParallel(network) if dist.is_initialized() else network


def _mean_over_ranks(losses: dict[str, Tensor]) -> dict[str, float]:
    values = torch.stack(list(losses.values())).float()
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return dict(zip(losses, values.tolist(), strict=True))


def _sample(stage: Stage, surroundings: Surroundings, reporter: Reporter, step: int) -> None:
    """Losses and a picture of the fixed photographs, as a release would fill them."""
    if surroundings.fixed is None:
        return
    batch = surroundings.fixed.to(surroundings.device)
    networks = stage.generator.eval(), stage.discriminator.eval()
    with torch.no_grad():
        output = stage.generate(stage.generator, batch)
        losses = stage.generator_losses(output, stage.discriminator)
    for network in networks:
        network.train()
    row: Metrics = {"step": step}
    row |= {f"fixed/{name}": float(loss) for name, loss in losses.items()}
    hole = 0.5 * batch.mask
    png = picture([batch.image * (1 - batch.mask) + hole, output.image, batch.image])
    reporter.sample(row, png, step)


class _Meter:
    """Speed and waiting since the last row."""

    def __init__(self, images_per_step: int) -> None:
        self.images_per_step = images_per_step
        self._reset()

    def _reset(self) -> None:
        self._steps = 0
        self._waited = 0.0
        self._since = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        since = time.perf_counter()
        yield
        self._waited += time.perf_counter() - since

    def count(self) -> None:
        self._steps += 1

    def row(self, step: int, losses: dict[str, float]) -> Metrics:
        for name, value in losses.items():
            if not math.isfinite(value):
                raise KintsugiError(
                    f"loss {name} is {value} at step {step}: the run diverged; lower"
                    " optimizer.generator_lr or go back to an earlier checkpoint"
                )
        seconds = time.perf_counter() - self._since
        row: Metrics = {
            "step": step,
            **{f"loss/{name}": value for name, value in losses.items()},
            "step_seconds": seconds / self._steps,
            "images_per_second": self._steps * self.images_per_step / seconds,
            "wait_share": self._waited / seconds,
        }
        self._reset()
        return row
