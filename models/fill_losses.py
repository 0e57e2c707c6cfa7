"""Losses of the initial fill beyond the difference of colours; at the fill's own resolution.

A difference of colours alone is least for the mean of all that might be there, which is fog.
These let a fill commit itself to one plausible layout. Known to no network.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.losses import (
    AdversarialLoss,
    discriminator_adversarial,
    generator_adversarial,
    weighted_l1_each,
)
from kintsugi.models.networks.fill_discriminator import DiscriminatorOutput

# Smallest mean of a map that differences are divided by: a black image has no features.
_LEAST_MEAN = 1e-3


def feature_distance(
    maps: Sequence[Float[Tensor, "B _ _ _"]],
    target: Sequence[Float[Tensor, "B _ _ _"]],
    share: Float[Tensor, "B 1 h w"],
) -> Float[Tensor, ""]:
    """How much maps differ in cells that touch the hole, relative to their mean size.

    Each pair of maps counts the same, whatever its range, and so does each photograph, whatever
    else is in its batch. The mean over the pairs and photographs of: L1 as
    `kintsugi.models.losses.weighted_l1`, divided by the mean size of the target's values.

    Args:
        maps: The maps of the filled image, of any resolutions.
        target: The same of the true image; no gradient is taken.
        share: How much of each pixel is hole, 0-1.
    """
    distances = []
    for one, other in zip(maps, target, strict=True):
        true = other.detach().float()
        scale = true.abs().mean((1, 2, 3)).clamp_min(_LEAST_MEAN)
        weights = touched(share, *one.shape[-2:])
        distances.append((weighted_l1_each(one.float(), true, weights) / scale).mean())
    return torch.stack(distances).mean()


def generator_judged(
    fake: DiscriminatorOutput, share: Float[Tensor, "B 1 h w"], kind: AdversarialLoss
) -> Float[Tensor, ""]:
    """What the network minimises against its discriminator; each photograph counts the same.

    Args:
        fake: The discriminator's maps of the filled image.
        share: Share of hole in each pixel of the initial fill, 0-1; patches that touch any count.
        kind: Form of the adversarial loss.
    """
    losses = [
        generator_adversarial(each, kind, touched(share, *each.shape[-2:])) for each in fake.logits
    ]
    return torch.stack(losses).mean()


def discriminator_judged(
    real: DiscriminatorOutput,
    fake: DiscriminatorOutput,
    share: Float[Tensor, "B 1 h w"],
    kind: AdversarialLoss,
) -> Float[Tensor, ""]:
    """What the discriminator minimises, in the same patches of real and filled images.

    Args:
        real, fake: Its maps of the true and of the filled image.
        share, kind: As for `generator_judged`.
    """
    losses = [
        discriminator_adversarial(true, filled, kind, touched(share, *true.shape[-2:]))
        for true, filled in zip(real.logits, fake.logits, strict=True)
    ]
    return torch.stack(losses).mean()


def touched(
    share: Float[Tensor, "B 1 h w"], height: int, width: int
) -> Float[Tensor, "B 1 {height} {width}"]:
    """1 in cells of a smaller map that touch the hole, else 0."""
    return F.adaptive_max_pool2d((share > 0).float(), (height, width))
