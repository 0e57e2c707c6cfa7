"""Losses of the initial fill against values worked out by hand: the hole alone counts."""

import math

import pytest
import torch

from kintsugi.models.fill_losses import (
    discriminator_judged,
    feature_distance,
    generator_judged,
    touched,
)
from kintsugi.models.networks.fill_discriminator import DiscriminatorOutput


def a_share() -> torch.Tensor:
    """A hole of 8 by 8 px in the upper left quarter of 32 px."""
    share = torch.zeros(1, 1, 32, 32)
    share[..., :8, :8] = 1
    return share


def judged(local: float, wide: float, elsewhere: float) -> DiscriminatorOutput:
    """Logits in the hole's patches, and what all others say."""
    grids = []
    for logit, cells in ((local, 8), (wide, 4)):
        grid = torch.full((1, 1, cells, cells), elsewhere)
        grid[touched(a_share(), cells, cells) == 1] = logit
        grids.append(grid)
    return DiscriminatorOutput((grids[0], grids[1]), ())


def test_a_cell_that_touches_the_hole_counts() -> None:
    share = a_share()
    assert touched(share, 8, 8).sum() == 4
    share[..., 8, 0] = 0.1
    assert touched(share, 8, 8).sum() == 5


def test_maps_of_any_range_count_the_same_and_only_in_the_hole() -> None:
    target = [torch.full((1, 2, 16, 16), 0.5), torch.full((1, 3, 8, 8), 40.0)]
    maps = [target[0].clone(), target[1].clone()]
    for each in maps:
        each[..., -1, -1] = 1e6
    assert feature_distance(maps, target, a_share()) == 0
    maps = [each * 1.5 for each in target]
    assert feature_distance(maps, target, a_share()).item() == pytest.approx(0.5)
    maps[1] = target[1]
    assert feature_distance(maps, target, a_share()).item() == pytest.approx(0.25)


def test_a_map_of_nothing_divides_by_something() -> None:
    maps = [torch.full((1, 2, 8, 8), 0.001)]
    distance = feature_distance(maps, [torch.zeros(1, 2, 8, 8)], a_share())
    assert distance.item() == pytest.approx(1)


def test_no_gradient_reaches_the_truth() -> None:
    maps, target = (torch.rand(1, 2, 8, 8, requires_grad=True) for _ in range(2))
    feature_distance([maps], [target], a_share()).backward()
    assert maps.grad is not None
    assert target.grad is None


def test_the_fill_is_judged_by_the_holes_patches_of_both_grids_alike() -> None:
    fake = judged(0.3, -0.5, elsewhere=1e6)
    loss = generator_judged(fake, a_share(), "hinge")
    assert loss.item() == pytest.approx((-0.3 + 0.5) / 2)
    loss = generator_judged(fake, a_share(), "log")
    expected = (math.log1p(math.exp(-0.3)) + math.log1p(math.exp(0.5))) / 2
    assert loss.item() == pytest.approx(expected)


def test_the_discriminator_learns_from_the_same_patches() -> None:
    real, fake = judged(0.3, 2.0, elsewhere=-1e6), judged(-0.5, -3.0, elsewhere=1e6)
    loss = discriminator_judged(real, fake, a_share(), "hinge")
    assert loss.item() == pytest.approx(((1 - 0.3) + (1 - 0.5)) / 2)
