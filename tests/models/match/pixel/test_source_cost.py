"""What a source costs by itself: far, rare and repeated ones cost more."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.match.pixel.pixel_search import Field, PatchGrid
from kintsugi.models.match.pixel.source_cost import (
    mean_distance,
    place_cost,
    rarity,
    with_repetition,
)
from tests.models.match.patterns import noise
from tests.models.match.test_patch_swap import mask_of


def grid_of(image: Tensor) -> PatchGrid:
    return PatchGrid.of(image, mask_of(*image.shape[-2:], (8, 16, 8, 16)), 3)


def test_rows_cost_three_times_columns_and_columns_nothing_up_to_the_holes_depth() -> None:
    grid = grid_of(noise(24, 24))
    sketches = torch.randn(len(grid.is_source), 4)
    cost = place_cost(sketches, grid, 24, torch.tensor(4.0))
    at = torch.tensor([15 * grid.width + 15])
    mean = float(mean_distance(sketches, grid))
    assert float(cost(at, at + 4)) == 0
    assert float(cost(at, at + 5)) == pytest.approx(mean * (1 / 24) ** 2, rel=1e-3)
    assert float(cost(at, at - 10)) == pytest.approx(mean * (6 / 24) ** 2, rel=1e-3)
    assert float(cost(at, at + 12 * grid.width)) == pytest.approx(3 * mean * 0.25, rel=1e-3)


def test_the_mean_distance_is_that_of_two_sources_drawn_at_random() -> None:
    grid = grid_of(noise(24, 24))
    sketches = torch.randn(len(grid.is_source), 4)
    drawn = sketches[grid.sources]
    every = torch.cdist(drawn, drawn).square().mean()
    assert float(mean_distance(sketches, grid)) == pytest.approx(float(every), rel=1e-3)


def test_a_texture_of_which_there_is_more_is_not_rare_though_no_two_patches_are_alike(
    generator: torch.Generator,
) -> None:
    grid = PatchGrid.of(noise(64, 64), mask_of(64, 64, (0, 8, 0, 8)), 3)
    shape = grid.hole.shape
    sketches = torch.randn(len(grid.is_source), 4, generator=generator)
    table = sketches.view(*shape, 4)
    # A thing of another shade, and one of as much shade and less contrast, as large as each other.
    table[20:29, 20:29] += 2.0
    table[45:54, 45:54] *= 0.1
    cost = rarity(sketches, grid, generator=generator).view(shape)
    grass = cost[40:60, 15:35].mean()
    assert float(cost[24, 24]) > 5 * float(grass)
    assert float(cost[49, 49]) > 5 * float(grass)


def test_rarity_ends_at_three_tenths_of_the_mean_distance_of_textures(
    generator: torch.Generator,
) -> None:
    grid = grid_of(noise(64, 64))
    sketches = torch.zeros(len(grid.is_source), 2)
    sketches.view(*grid.hole.shape, 2)[40:49, 40:49] = 3.0
    # What the hole's patches hold does not matter.
    sketches[~grid.is_source] = 50.0
    cost = rarity(sketches, grid, generator=generator)
    # Means and deviations over 9x9 px of the places that are sources.
    known = grid.is_source.view(grid.hole.shape)
    textures = []
    for row, column in zip(*(part.tolist() for part in grid.places(grid.sources)), strict=True):
        around = (slice(max(0, row - 4), row + 5), slice(max(0, column - 4), column + 5))
        values = sketches.view(*grid.hole.shape, 2)[around][known[around]]
        textures.append(torch.cat([values.mean(0), values.std(0, correction=0)]))
    most = 0.3 * 2 * torch.stack(textures).var(0, correction=0).sum()
    assert float(cost.max()) == pytest.approx(float(most), rel=1e-3)
    assert float(cost.view(grid.hole.shape)[44, 44]) == pytest.approx(float(most), rel=1e-3)


def test_in_a_small_image_where_all_is_near_nothing_is_rare(generator: torch.Generator) -> None:
    image = noise(9, 9)
    grid = PatchGrid.of(image, mask_of(9, 9, (0, 1, 0, 1)), 3)
    sketches = torch.randn(len(grid.is_source), 2)
    cost = rarity(sketches, grid, generator=generator)
    assert cost.tolist() == [0.0] * len(cost)


def test_copied_often_costs_more_by_how_rare_it_is(generator: torch.Generator) -> None:
    grid = grid_of(noise(40, 40))
    rare = torch.zeros(len(grid.is_source))
    once, often, common = grid.sources[0], grid.sources[200], grid.sources[-1]
    rare[once] = rare[often] = 1.0
    sketches = torch.randn(len(grid.is_source), 2, generator=generator)
    count = len(grid.queries)
    match = torch.where(torch.arange(count) < count // 2, often, common)
    field = Field(grid, sketches, sketches[grid.queries], match)
    cost = with_repetition(rare, grid, field)
    # Half of the copies are of one place: over 7x7 px so many each, times as many as alike.
    times = (count // 2) / 49 / max(count / len(grid.sources), 0.5)
    assert times > 1.5
    assert float(cost[often]) == pytest.approx(1 + 0.5 * (times - 1), rel=1e-3)
    assert float(cost[once]) == 1
    assert float(cost[common]) == 0
