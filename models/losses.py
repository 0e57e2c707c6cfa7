"""Perceptual loss with the hole-weighted mask M_F, and adversarial losses; knows no network."""

from collections.abc import Callable
from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.windows import hole_cells

# How logits become a loss; the publication's is "log".
AdversarialLoss = Literal["log", "minimax", "lsgan", "hinge"]

# Cells inside the hole along its edge, and how much more they count. The paper gives
# neither; 10 is what its ancestor, the context encoder, uses for its overlap.
OVERLAP_CELLS = 2
OVERLAP_WEIGHT = 10.0


def hole_weights(
    mask: Float[Tensor, "B 1 H W"],
    height: int,
    width: int,
    *,
    overlap_cells: int = OVERLAP_CELLS,
    overlap_weight: float = OVERLAP_WEIGHT,
) -> Float[Tensor, "B 1 {height} {width}"]:
    """M_F (paper section 3.2): 0 outside the hole, 1 inside, more where it meets the known part.

    Args:
        mask: 1 = hole, at image size.
        height: Rows of feature cells.
        width: Columns of feature cells.
        overlap_cells: Width of the heavier band, in cells.
        overlap_weight: Weight in that band.
    """
    hole = hole_cells(mask, height, width)
    # The frame of the image is no boundary to a known part: max_pool2d pads with -inf.
    near_known = F.max_pool2d(1 - hole, 2 * overlap_cells + 1, 1, overlap_cells)
    return hole * (1 + (overlap_weight - 1) * near_known)


def weighted_l1(
    features: Float[Tensor, "B C h w"],
    target: Float[Tensor, "B C h w"],
    weights: Float[Tensor, "B 1 h w"],
) -> Float[Tensor, ""]:
    """L1 distance of two feature maps under M_F: the perceptual loss of stage 1.

    Per photograph the sum of weighted differences over channels times the sum of weights, then
    the mean over photographs: a small hole counts as much as a large one next to it, and the
    loss does not depend on how a batch is split among workers.

    Args:
        features, target: Of any range; gradients flow into ``features``.
        weights: At least 0, 0 where nothing counts. A photograph of zeros alone counts 0.
    """
    return weighted_l1_each(features, target, weights).mean()


def weighted_l1_each(
    features: Float[Tensor, "B C h w"],
    target: Float[Tensor, "B C h w"],
    weights: Float[Tensor, "B 1 h w"],
) -> Float[Tensor, " B"]:
    """`weighted_l1` of each photograph."""
    total = (weights * (features - target).abs()).sum(dim=(1, 2, 3))
    return total / (features.shape[1] * weights.sum(dim=(1, 2, 3)).clamp_min(1))


def context_weights(
    mask: Float[Tensor, "B 1 H W"], *, overlap_px: int, overlap_weight: float
) -> Float[Tensor, "B 1 H W"]:
    """The context encoder's mask: 1 in the hole, more on the known pixels around it, 0 elsewhere.

    Pathak et al. 2016, section 3.2: what is drawn overlaps with what is known by 7 px, where
    it counts 10 times as much.

    Args:
        mask: 1 = hole.
        overlap_px: Width of the band around the hole.
        overlap_weight: Weight in that band.
    """
    near_hole = F.max_pool2d(mask, 2 * overlap_px + 1, 1, overlap_px)
    return mask + overlap_weight * (near_hole - mask)


def weighted_squares(
    image: Float[Tensor, "B C H W"],
    target: Float[Tensor, "B C H W"],
    weights: Float[Tensor, "B 1 H W"],
) -> Float[Tensor, ""]:
    """Squared difference of two images under weights: the context encoder's reconstruction loss.

    Divided by the sum of weights and averaged like `weighted_l1`.
    """
    total = (weights * (image - target).square()).sum(dim=(1, 2, 3))
    return (total / (image.shape[1] * weights.sum(dim=(1, 2, 3)).clamp_min(1))).mean()


def squared_distance(
    features: Float[Tensor, "B C h w"], target: Float[Tensor, "B C h w"]
) -> Float[Tensor, ""]:
    """Mean squared difference over the entire map: the perceptual loss of stage 2."""
    return F.mse_loss(features, target)


def generator_adversarial(
    fake_logits: Float[Tensor, "B 1 p q"],
    kind: AdversarialLoss = "log",
    patches: Float[Tensor, "B 1 p q"] | None = None,
) -> Float[Tensor, ""]:
    """What the generator minimises, D being logits; mean over patches, in float32.

    Args: ``patches``: 1 for those that count, of each photograph by themselves; None: all.

    - log: -log sigmoid(D(fake)), the non-saturating form of the paper's loss (sections 3.2
      and 3.4; Goodfellow et al. 2014, section 3).
    - minimax: log(1 - sigmoid(D(fake))), the paper's formula to the letter. Its slope vanishes
      where the discriminator is sure, as at the start of training.
    - lsgan: (D(fake) - 1)^2 / 2 (Mao et al. 2017, equation 9: targets 1 for real, 0 for fake).
    - hinge: -D(fake) (Lim and Ye 2017; Miyato et al. 2018, equation 17).
    """
    # Half precision is for convolutions: patches are averaged and squared in float32.
    fake = fake_logits.float()
    match kind:
        case "log":
            return _mean(F.softplus(-fake), patches)
        case "minimax":
            return -_mean(F.softplus(fake), patches)
        case "lsgan":
            return 0.5 * _mean((fake - 1).square(), patches)
        case "hinge":
            return -_mean(fake, patches)
        case _:
            assert_never(kind)


def discriminator_adversarial(
    real_logits: Float[Tensor, "B 1 p q"],
    fake_logits: Float[Tensor, "B 1 p q"],
    kind: AdversarialLoss = "log",
    patches: Float[Tensor, "B 1 p q"] | None = None,
) -> Float[Tensor, ""]:
    """What the discriminator minimises, D being logits; mean over patches, in float32.

    Args: ``patches``: as of `generator_adversarial`.

    - log, minimax: -log sigmoid(D(real)) - log(1 - sigmoid(D(fake))) (paper sections 3.2 and
      3.4).
    - lsgan: (D(real) - 1)^2 / 2 + D(fake)^2 / 2 (Mao et al. 2017, equation 9).
    - hinge: max(0, 1 - D(real)) + max(0, 1 + D(fake)) (Lim and Ye 2017; Miyato et al. 2018,
      equation 16).
    """
    real, fake = real_logits.float(), fake_logits.float()
    match kind:
        case "log" | "minimax":
            return _mean(F.softplus(-real), patches) + _mean(F.softplus(fake), patches)
        case "lsgan":
            return 0.5 * (_mean((real - 1).square(), patches) + _mean(fake.square(), patches))
        case "hinge":
            return _mean(F.relu(1 - real), patches) + _mean(F.relu(1 + fake), patches)
        case _:
            assert_never(kind)


def _mean(values: Tensor, patches: Tensor | None) -> Tensor:
    """Over all of B 1 p q, or over photographs the mean of the patches that count."""
    if patches is None:
        return values.mean()
    total = (patches * values).sum((1, 2, 3))
    return (total / patches.sum((1, 2, 3)).clamp_min(1)).mean()


def gradient_l1(
    image: Float[Tensor, "B 3 H W"],
    target: Float[Tensor, "B 3 H W"],
    mask: Float[Tensor, "B 1 H W"],
) -> Float[Tensor, ""]:
    """Mean absolute difference of neighbouring pixels' differences, where one is in the hole.

    What edges and grain count by; a shift of all colours costs nothing. The mean is over the
    photographs, as in `weighted_l1`. A photograph without hole counts 0.
    """
    total, count = image.new_zeros(len(image)), image.new_zeros(len(image))
    for axis in (2, 3):
        length = image.shape[axis] - 1
        touched = torch.maximum(mask.narrow(axis, 0, length), mask.narrow(axis, 1, length))
        difference = (image - target).diff(dim=axis).abs()
        total = total + (touched * difference).sum((1, 2, 3))
        count = count + image.shape[1] * touched.sum((1, 2, 3))
    return (total / count.clamp_min(1)).mean()


# Losses of an image against the truth that a stage adds where `losses.image` gives them a weight:
# image and target B 3 H W, 0-1, and mask B 1 H W -> one number.
IMAGE_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"gradients": gradient_l1}
