"""What a source costs by itself: far, rare and repeated ones cost more."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.match.pixel_search import Field, PatchGrid
from kintsugi.models.match.source_cost import (
    mean_distance,
    place_cost,
    rarity,
    with_repetition,
)
from tests.models.match.patterns import noise
from tests.models.match.test_patch_swap import mask_of


def grid_of(image: Tensor) -> PatchGrid:
    return PatchGrid.of(image, mask_of(*image.shape[-2:], (8, 16, 8, 16)), 3)


def test_rows_cost_more_than_columns_and_columns_nothing_up_to_the_holes_depth() -> None:
    grid = grid_of(noise(24, 24))
    sketches = torch.randn(len(grid.is_source), 4)
    cost = place_cost(sketches, grid, 24, torch.tensor(4.0))
    at = torch.tensor([15 * grid.width + 15])
    assert float(cost(at, at + 4)) == 0
    assert 0 < float(cost(at, at + 10)) < float(cost(at, at + 10 * grid.width))
    # A picture's longer side away, in rows: three mean distances.
    far = float(cost(at, at + 12 * grid.width))
    assert far == pytest.approx(0.25 * 3 * float(mean_distance(sketches, grid)), rel=1e-4)


def test_what_is_like_nothing_else_costs_most(generator: torch.Generator) -> None:
    grid = grid_of(noise(40, 40))
    sketches = torch.zeros(len(grid.is_source), 2)
    alone = grid.sources[0]
    sketches[alone] = 3.0
    cost = rarity(sketches, grid, most=torch.tensor(10.0), generator=generator)
    assert float(cost[alone]) == pytest.approx(0.3 * 10)
    assert float(cost.sum()) == pytest.approx(0.3 * 10)


def test_copied_often_costs_more_by_how_rare_it_is(generator: torch.Generator) -> None:
    grid = grid_of(noise(24, 24))
    rare = torch.zeros(len(grid.is_source))
    once, often, common = grid.sources[0], grid.sources[-1], grid.sources[20]
    rare[once] = rare[often] = 1.0
    sketches = torch.randn(len(grid.is_source), 2, generator=generator)
    match = often.repeat(len(grid.queries))
    field = Field(grid, sketches, sketches[grid.queries], match)
    cost = with_repetition(rare, grid, field)
    assert float(cost[once]) == 1
    assert float(cost[often]) > 1.1
    assert float(cost[common]) == 0
