"""A stage looked at without training it: losses on photographs and pictures of them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from kintsugi.data.batches import Batch
from kintsugi.models.precision import Precision, autocast
from kintsugi.runs.metrics_log import picture
from kintsugi.stages.base.stage import Output, Stage


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
