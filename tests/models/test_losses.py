"""The losses against values worked out by hand."""

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from kintsugi.models.losses import (
    AdversarialLoss,
    discriminator_adversarial,
    generator_adversarial,
    gradient_l1,
    hole_weights,
    squared_distance,
    weighted_l1,
)
from tests.models.match.test_patch_swap import mask_of

Formula = Callable[[float], float]
SMALL_AND_LARGE = ((0, 1, 0, 2), (0, 8, 0, 7))


def rows(weights: Tensor) -> list[list[int]]:
    values: list[list[int]] = weights[0, 0].int().tolist()
    return values


def test_gradients_cost_by_how_edges_differ_where_the_hole_is() -> None:
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, 2:4, 3] = 1
    assert gradient_l1(image + 0.25, image, mask) < 1e-6
    changed = image.clone()
    changed[0, :, 2, 3] += 0.5
    # Of the first photograph's pairs that touch the hole (3 down, 4 across, 3 channels), four
    # differ by 0.5; the second has no hole.
    assert gradient_l1(changed, image, mask).item() == pytest.approx(0.5 * 4 / 7 / 2, abs=1e-5)
    elsewhere = image.clone()
    elsewhere[:, :, 6, 6] += 0.5
    assert gradient_l1(elsewhere, image, mask) == 0


def test_the_band_inside_the_hole_weighs_ten() -> None:
    # Seven cells wide, band of two: three by three are left inside.
    inner, band, outside = [0, 10, 10, 1, 1, 1, 10, 10, 0], [0] + [10] * 7 + [0], [0] * 9
    mask = mask_of(36, 36, (4, 32, 4, 32))
    assert rows(hole_weights(mask, 9, 9)) == [
        outside, band, band, inner, inner, inner, band, band, outside,
    ]  # fmt: skip


def test_the_frame_of_the_image_is_no_boundary() -> None:
    # Nothing is known beyond the frame, so nothing has to fit there.
    mask = mask_of(6, 7, (0, 5, 0, 5))
    inner, band, outside = [1, 1, 1, 10, 10, 0, 0], [10] * 5 + [0] * 2, [0] * 7
    assert rows(hole_weights(mask, 6, 7)) == [inner, inner, inner, band, band, outside]


def test_band_and_weight_are_free() -> None:
    mask = mask_of(1, 7, (0, 1, 1, 6))
    assert rows(hole_weights(mask, 1, 7, overlap_cells=1, overlap_weight=4.0)) == [
        [0, 4, 1, 1, 1, 4, 0]
    ]
    assert rows(hole_weights(mask, 1, 7, overlap_weight=1.0)) == [[0, 1, 1, 1, 1, 1, 0]]


def test_empty_and_full_masks() -> None:
    assert hole_weights(mask_of(16, 16), 4, 4).sum() == 0
    assert torch.equal(hole_weights(torch.ones(1, 1, 16, 16), 4, 4), torch.ones(1, 1, 4, 4))


def test_weighted_l1_by_hand() -> None:
    target = torch.zeros(1, 2, 1, 3)
    features = torch.tensor([[[[1.0, -2.0, 100.0]], [[3.0, 0.0, 100.0]]]])
    weights = torch.tensor([[[[10.0, 1.0, 0.0]]]])
    # (10 * (1 + 3) + 1 * (2 + 0) + 0) over 2 channels times weights of 11.
    assert weighted_l1(features, target, weights).item() == pytest.approx(42 / 22)


def test_a_small_hole_counts_as_much_as_a_large_one() -> None:
    target, features = torch.zeros(1, 4, 8, 8), torch.full((1, 4, 8, 8), 0.5)
    for box in SMALL_AND_LARGE:
        weights = hole_weights(mask_of(8, 8, box), 8, 8)
        assert weighted_l1(features, target, weights).item() == pytest.approx(0.5)


def test_holes_of_one_batch_count_the_same_whatever_their_size() -> None:
    weights = torch.cat([hole_weights(mask_of(8, 8, box), 8, 8) for box in SMALL_AND_LARGE])
    target = torch.zeros(2, 4, 8, 8)
    for wrong in (0, 1):
        features = target.clone()
        features[wrong] = 0.5
        assert weighted_l1(features, target, weights).item() == pytest.approx(0.25)


def test_no_hole_no_loss() -> None:
    features = torch.rand(1, 2, 4, 4)
    assert weighted_l1(features, features + 1, torch.zeros(1, 1, 4, 4)).item() == 0


def test_squared_distance_by_hand() -> None:
    features = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    assert squared_distance(features, torch.ones(1, 1, 2, 2)).item() == (0 + 1 + 4 + 9) / 4


def minus_log_sigmoid(logit: float) -> float:
    return math.log(1 + math.exp(-logit))


# Per logit, written for numbers: what is paid for a real one, for a fake one, by the generator.
FORMULAS: dict[AdversarialLoss, tuple[Formula, Formula, Formula]] = {
    "log": (minus_log_sigmoid, lambda fake: minus_log_sigmoid(-fake), minus_log_sigmoid),
    "minimax": (
        minus_log_sigmoid,
        lambda fake: minus_log_sigmoid(-fake),
        lambda fake: -minus_log_sigmoid(-fake),
    ),
    "lsgan": (
        lambda real: (real - 1) ** 2 / 2,
        lambda fake: fake**2 / 2,
        lambda fake: (fake - 1) ** 2 / 2,
    ),
    "hinge": (
        lambda real: max(0.0, 1 - real),
        lambda fake: max(0.0, 1 + fake),
        lambda fake: -fake,
    ),
}


@pytest.mark.parametrize("kind", get_args(AdversarialLoss))
def test_adversarial_losses_by_hand(kind: AdversarialLoss) -> None:
    # Both sides of every bend, and different numbers of patches in batch, rows and columns.
    reals, fakes = [0.0, 2.0, -0.5, 0.9, 1.5, -3.0], [0.0, -1.0, 0.25, -2.5, 3.0, -0.75]
    real, fake = torch.tensor(reals).view(2, 1, 1, 3), torch.tensor(fakes).view(2, 1, 1, 3)
    of_real, of_fake, of_generator = FORMULAS[kind]
    expected = sum(map(of_real, reals)) / 6 + sum(map(of_fake, fakes)) / 6
    assert discriminator_adversarial(real, fake, kind).item() == pytest.approx(expected)
    expected = sum(map(of_generator, fakes)) / 6
    assert generator_adversarial(fake, kind).item() == pytest.approx(expected)


def test_the_papers_adversarial_loss_is_the_default() -> None:
    real, fake = torch.randn(2, 2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(generator_adversarial(fake), generator_adversarial(fake, "log"))
    assert torch.equal(
        discriminator_adversarial(real, fake), discriminator_adversarial(real, fake, "log")
    )


@pytest.mark.parametrize("kind", get_args(AdversarialLoss))
def test_half_precision_logits_are_averaged_in_float32(kind: AdversarialLoss) -> None:
    logits = torch.full((1, 1, 64, 64), 0.1, dtype=torch.bfloat16)
    losses = generator_adversarial(logits, kind), discriminator_adversarial(logits, logits, kind)
    exact = logits.float()
    assert torch.equal(losses[0], generator_adversarial(exact, kind))
    assert torch.equal(losses[1], discriminator_adversarial(exact, exact, kind))


def test_a_sure_discriminator_still_teaches_the_generator() -> None:
    logits = torch.full((1, 1, 1, 1), -200.0, requires_grad=True)
    loss = generator_adversarial(logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(200)
    assert gradient.item() == pytest.approx(-1)
