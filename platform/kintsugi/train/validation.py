"""A stage looked at without training it: losses on photographs and pictures of them."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kintsugi.collectives import all_reduce_sum, broadcast_buffers
from kintsugi.data.batches import Batch
from kintsugi.errors import Diverged
from kintsugi.models.precision import Precision, autocast
from kintsugi.runs.checkpoints import Best, TrainState
from kintsugi.runs.metrics_log import Metrics, picture
from kintsugi.stages.base.stage import Output, Stage
from kintsugi.train.prefetch import AnyBatch


def check_finite(figures: Mapping[str, float], step: int) -> None:
    """Raises: Diverged naming the first figure that is no number, and the step."""
    for name, value in figures.items():
        if not math.isfinite(value):
            kind, _, which = name.partition("/")
            raise Diverged(
                f"{kind} {which} is {value} at step {step}: the run diverged; start another"
                " from its last checkpoint with --set run=NAME --set init_from=RUN and a lower"
                " optimizer.generator_lr"
            )


@dataclass(frozen=True)
class Validation:
    """Looks at the generator as a release would have it: its running mean where there is one.

    Losses are those of a schedule that is through, so that figures of different steps can be
    compared.

    Attributes:
        stage: Gives the losses.
        state: Of the run; it learns which checkpoint is the best.
        device: On which this process computes.
        precision: In which the networks compute.
        settled_step: The step from which on the schedule is through.
        fixed: The photographs of the sample pictures; None on all ranks but the first.
        held_out: This rank's part of what checkpoints are measured on; empty where nothing is
            measured, and then on all ranks.
        spare: That part is another rank's, as none was left for this one: it does not count.
    """

    stage: Stage
    state: TrainState
    device: torch.device
    precision: Precision
    settled_step: int = 0
    fixed: AnyBatch | None = None
    held_out: Sequence[AnyBatch] = ()
    spare: bool = False

    @property
    def _generator(self) -> nn.Module:
        return self.state.average or self.stage.generator

    def sample(self) -> tuple[Metrics, bytes]:
        """Losses and a picture (PNG) of the fixed photographs; there must be some."""
        assert self.fixed is not None
        batch = self.fixed.to(self.device)
        losses = self._losses([batch])
        row: Metrics = {"step": self.state.step}
        row |= {f"fixed/{name}": loss for name, loss in losses.items()}
        png = render_samples(
            self.stage, self._generator, batch, self.precision, step=self.settled_step
        )
        return row, png

    def measure(self, *, counts: bool) -> Metrics:
        """Losses on the held-out photographs, of all ranks together.

        Args: ``counts``: Whether the state learns from them if they still fall. It must not at
            a last step that is no checkpoint's turn, as the run may be trained on.

        Raises: Diverged: the loss by which checkpoints are judged is no number.
        """
        if not self.held_out:
            return {}

        def combine(sums: list[float]) -> list[float]:
            return all_reduce_sum([0.0] * len(sums) if self.spare else sums, self.device)

        for network in (self._generator, self.stage.discriminator):
            broadcast_buffers(network)
        losses = self._losses((batch.to(self.device) for batch in self.held_out), combine)
        criterion, state = self.stage.criterion, self.state
        loss = losses[criterion]
        check_finite({f"held_out/{criterion}": loss}, state.step)
        if counts:
            # A best from before the schedule was through is of something not trained yet.
            if state.best is None or state.best.step < self.settled_step or loss < state.best.loss:
                state.best, state.stale = Best(state.step, loss), 0
            else:
                state.stale += 1
        return {f"held_out/{name}": value for name, value in losses.items()}

    def _losses(
        self,
        batches: Iterable[Batch],
        combine: Callable[[list[float]], list[float]] = lambda sums: sums,
    ) -> dict[str, float]:
        return evaluate_losses(
            self.stage,
            self._generator,
            batches,
            self.precision,
            step=self.settled_step,
            combine=combine,
        )


@torch.no_grad()
def evaluate_losses(
    stage: Stage,
    generator: nn.Module,
    batches: Iterable[Batch],
    precision: Precision,
    *,
    step: int,
    combine: Callable[[list[float]], list[float]] = lambda sums: sums,
) -> dict[str, float]:
    """Mean losses of a generator over photographs, by name.

    Args:
        stage: Gives the losses; its discriminator judges.
        generator: The stage's own, or the running mean of its weights.
        batches: At least one; a larger batch counts for more.
        precision: In which the networks compute.
        step: Where schedules stand.
        combine: Sums over these photographs -> over all that count; here these are all.
    """
    sums: dict[str, float] = {}
    count = 0
    with _evaluating(generator, stage.discriminator):
        for batch in batches:
            output = _generate(stage, generator, batch, precision, step)
            with autocast(batch.image.device, precision):
                losses = stage.generator_losses(output, stage.discriminator)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + float(loss) * len(batch.image)
            count += len(batch.image)
    *totals, photos = combine([*sums.values(), float(count)])
    return {name: total / photos for name, total in zip(sums, totals, strict=True)}


@torch.no_grad()
def render_samples(
    stage: Stage, generator: nn.Module, batch: Batch, precision: Precision, *, step: int
) -> bytes:
    """A PNG: each photograph with its hole, as the generator fills it, and as it is."""
    with _evaluating(generator, stage.discriminator):
        output = _generate(stage, generator, batch, precision, step)
    return picture([batch.image * (1 - batch.mask) + 0.5 * batch.mask, output.image, batch.image])


def _generate(
    stage: Stage, generator: nn.Module, batch: Batch, precision: Precision, step: int
) -> Output:
    with autocast(batch.image.device, precision):
        return stage.generate(generator, batch, step)


@contextmanager
def _evaluating(*networks: nn.Module) -> Iterator[Any]:
    """Networks as a release has them; afterwards as they were."""
    training = [network.training for network in networks]
    for network in networks:
        network.eval()
    yield
    for network, was in zip(networks, training, strict=True):
        network.train(was)
