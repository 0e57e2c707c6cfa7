"""Patches of pixels: which are queries and sources, and how near the found ones are."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.pixel.pixel_search import Field, PatchGrid, PlaceCost, Sketcher
from tests.models.match.patterns import Draw, checker, noise, waves
from tests.models.match.test_patch_swap import Box, mask_of

RADIUS = 3
# A patch of 7x7 px: as a sketch nothing of it is lost.
WHOLE = 3 * 7 * 7


def grid_of(image: Tensor, *boxes: Box, radius: int = RADIUS) -> PatchGrid:
    return PatchGrid.of(image, mask_of(*image.shape[-2:], *boxes), radius)


def patches_of(grid: PatchGrid, centres: Tensor) -> Tensor:
    """Cut one by one, as slowly as can be."""
    found = []
    for centre in centres.tolist():
        row, column = divmod(centre, grid.width)
        reach = slice(row - grid.radius, row + grid.radius + 1)
        along = slice(column - grid.radius, column + grid.radius + 1)
        found.append(grid.image[0, :, reach, along].flatten())
    return torch.stack(found)


def field_of(grid: PatchGrid, generator: torch.Generator) -> tuple[Field, Tensor, Tensor]:
    """One that begins at random, and what it compares."""
    sketches = Sketcher(grid, 16, generator)(grid.image)
    drawn = torch.randint(len(grid.sources), (len(grid.queries),), generator=generator)
    queries = sketches[grid.queries]
    return Field(grid, sketches, queries, grid.sources[drawn]), sketches, queries


@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((20, 24), [(8, 12, 9, 14)]),
        ((20, 24), [(0, 4, 0, 5)]),
        ((9, 40), [(0, 9, 20, 21)]),
        ((24, 20), [(2, 3, 2, 3), (18, 24, 12, 20)]),
        ((7, 7), [(3, 4, 3, 4)]),
        ((6, 30), [(2, 3, 2, 3)]),
    ],
)
@pytest.mark.parametrize("radius", [1, 3])
def test_every_patch_inside_touches_the_hole_or_is_a_source(
    size: tuple[int, int], boxes: list[Box], radius: int
) -> None:
    image, mask = torch.rand(1, 3, *size), mask_of(*size, *boxes)
    grid = PatchGrid.of(image, mask, radius)
    queries, sources = set(), set()
    for row in range(radius, size[0] - radius):
        for column in range(radius, size[1] - radius):
            around = mask[0, 0, row - radius : row + radius + 1, column - radius :][
                :, : 2 * radius + 1
            ]
            flat = (row + radius) * (size[1] + 2 * radius) + column + radius
            (queries if around.any() else sources).add(flat)
    assert set(grid.queries.tolist()) == queries
    assert set(grid.sources.tolist()) == sources
    assert grid.is_source.nonzero()[:, 0].tolist() == grid.sources.tolist()
    assert grid.queries.tolist() == sorted(queries)


def test_nothing_of_the_hole_is_in_the_grid() -> None:
    image, mask = torch.rand(1, 3, 20, 20), mask_of(20, 20, (5, 9, 6, 12))
    for content in (1.0, float("nan"), float("inf")):
        grid = PatchGrid.of(image.masked_fill(mask > 0, content), mask, RADIUS)
        assert torch.equal(grid.image, F.pad(image * (1 - mask), (RADIUS,) * 4))


def test_queries_grow_with_the_hole_and_not_with_the_picture() -> None:
    for side in (64, 256):
        grid = grid_of(torch.rand(1, 3, side, side), (20, 30, 20, 40))
        assert len(grid.queries) == (10 + 2 * RADIUS) * (20 + 2 * RADIUS)


def test_pixels_and_offsets_are_those_of_a_patch() -> None:
    grid = grid_of(waves(20, 24), (8, 12, 9, 14))
    centres = grid.sources[::5]
    gathered = grid.pixels()[centres[:, None] + grid.offsets()].transpose(1, 2).flatten(1)
    assert torch.equal(gathered, patches_of(grid, centres))


def test_whole_sketches_are_as_far_apart_as_the_patches(generator: torch.Generator) -> None:
    grid = grid_of(noise(24, 24), (8, 14, 9, 16))
    sketcher = Sketcher(grid, 1000, generator)
    assert sketcher.length == WHOLE
    sketches = sketcher(grid.image)
    centres = torch.cat([grid.sources[::7], grid.queries[::7]])
    expected = torch.cdist(*[patches_of(grid, centres).double()] * 2)
    found = torch.cdist(*[sketches[centres].double()] * 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_short_sketches_are_no_further_apart_and_keep_most(generator: torch.Generator) -> None:
    grid = grid_of(waves(48, 48), (20, 30, 20, 30))
    sketches = Sketcher(grid, 16, generator)(grid.image)[grid.sources]
    patches = patches_of(grid, grid.sources)
    found, whole = (torch.cdist(each, each).square() for each in (sketches, patches))
    assert (found <= whole + 1e-3).all()
    assert found.sum() > 0.95 * whole.sum()


def test_known_sketches_are_about_their_mean_and_those_without_contrast_last(
    generator: torch.Generator,
) -> None:
    grid = grid_of(waves(48, 48), (20, 30, 20, 30))
    sketcher = Sketcher(grid, 8, generator)
    known = sketcher(grid.image)[grid.sources]
    spread = known.std(0)
    # Over the patches that were drawn it is 0.
    assert (known.mean(0).abs() < 0.1 * spread.max()).all()
    assert (spread.diff() > -0.05 * spread.max()).all()
    assert sketcher.contrast == slice(0, 5)


def test_sketches_depend_on_the_seed_alone() -> None:
    grid = grid_of(noise(40, 40), (16, 20, 16, 20))
    one, same, other = (
        Sketcher(grid, 16, torch.Generator().manual_seed(seed))(grid.image) for seed in (3, 3, 4)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("draw", [noise, waves])
def test_an_exhaustive_search_finds_the_nearest_patches(
    draw: Draw, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In several parts, the last of which is smaller.
    monkeypatch.setattr("kintsugi.models.match.pixel.pixel_search._SCORES_AT_ONCE", 20_000)
    grid = grid_of(draw(32, 40), (10, 20, 12, 25))
    sketches = Sketcher(grid, WHOLE, generator)(grid.image)
    field = Field(grid, sketches, sketches[grid.queries], None)
    queries, sources = (patches_of(grid, each).double() for each in (grid.queries, grid.sources))
    distances = torch.cdist(queries, sources).square()
    found = torch.searchsorted(grid.sources, field.match)
    assert torch.equal(grid.sources[found], field.match)
    nearest = distances.min(1).values
    torch.testing.assert_close(
        distances.gather(1, found[:, None])[:, 0], nearest, rtol=1e-4, atol=1e-3
    )
    torch.testing.assert_close(field.distance.double(), nearest, rtol=1e-3, atol=1e-3)
    assert (field.distance >= 0).all()


def test_a_patch_that_is_there_again_is_found_to_the_pixel(generator: torch.Generator) -> None:
    # The queries are compared as if the hole were known: what lies one period away.
    image = noise(48, 64)
    image[..., 32:] = image[..., :32]
    grid = grid_of(image, (20, 26, 44, 50))
    complete = F.pad(image, (RADIUS,) * 4)
    sketcher = Sketcher(grid, 16, generator)
    field = Field(grid, sketcher(grid.image), sketcher(complete)[grid.queries], None)
    assert torch.equal(field.match, grid.queries - 32)
    assert field.distance.max() < 1e-4


@pytest.mark.parametrize("box", [(10, 30, 12, 40), (0, 20, 0, 30), (50, 64, 40, 64)])
def test_what_is_tried_is_a_source_and_taken_only_where_it_is_nearer(
    box: Box, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kintsugi.models.match.pixel.pixel_search._QUERIES_AT_ONCE", 100)
    grid = grid_of(waves(64, 64), box)
    field, sketches, queries = field_of(grid, generator)
    first = field.distance
    for turn in range(12):
        before, places = field.distance, field.match
        if turn % 2:
            field.explore(64 // turn, generator)
        else:
            field.propagate(1 + turn // 4)
        assert grid.is_source[field.match].all()
        assert (field.distance <= before).all()
        assert torch.equal(field.match[field.distance == before], places[field.distance == before])
        expected = (queries - sketches[field.match]).square().sum(1)
        torch.testing.assert_close(field.distance, expected)
    assert field.distance.mean() < 0.2 * first.mean()


def test_what_a_neighbour_found_is_taken_over_shifted(generator: torch.Generator) -> None:
    image = noise(48, 64)
    image[..., 32:] = image[..., :32]
    grid = grid_of(image, (20, 26, 44, 50))
    sketcher = Sketcher(grid, 16, generator)
    queries = sketcher(F.pad(image, (RADIUS,) * 4))[grid.queries]
    # One patch in the middle knows, all others begin at the same wrong place.
    start = torch.full_like(grid.queries, int(grid.sources[0]))
    middle = len(grid.queries) // 2
    start[middle] = grid.queries[middle] - 32
    field = Field(grid, sketcher(grid.image), queries, start)
    right = [1]
    for _ in range(12):
        field.propagate(1)
        right.append(int((field.match == grid.queries - 32).sum()))
    # A cross of four more at least, and all in the end.
    assert right[1] >= 5
    assert right == sorted(right)
    assert right[-1] == len(grid.queries)


def test_scraps_become_whole_pieces(generator: torch.Generator) -> None:
    """In an even picture with a little noise every place matches as well as any other."""
    image = (0.5 + 0.001 * noise(40, 40)).clamp(0, 1)
    grid = grid_of(image, (12, 28, 12, 28))
    field, sketches, queries = field_of(grid, generator)
    before = _pairs_of_one_shift(grid, field.match)
    for _ in range(8):
        field.cohere(1.0)
    assert grid.is_source[field.match].all()
    assert _pairs_of_one_shift(grid, field.match) > before + 0.5
    compared = (queries - sketches[field.match]).square().sum(1)
    torch.testing.assert_close(field.distance, compared)


def test_without_weight_coherence_takes_only_what_is_nearer(generator: torch.Generator) -> None:
    grid = grid_of(noise(40, 40), (12, 28, 12, 28))
    field, _, _ = field_of(grid, generator)
    before = field.distance.clone()
    field.cohere(0.0)
    assert (field.distance <= before).all()


def _pairs_of_one_shift(grid: PatchGrid, match: Tensor) -> float:
    """Of all pairs of queries next to each other in a row the share that copies from one shift."""
    table = torch.full((len(grid.is_source),), 10**6)
    table[grid.queries] = match - grid.queries
    here, there = table[grid.queries], table[grid.queries + 1]
    pairs = there != 10**6
    return float((here == there)[pairs].float().mean())


def test_exploring_stays_within_reach(generator: torch.Generator) -> None:
    grid = grid_of(noise(64, 64), (28, 36, 28, 36))
    field, _, _ = field_of(grid, generator)
    for _ in range(5):
        before = field.match
        field.explore(2, generator)
        rows = field.match // grid.width - before // grid.width
        columns = field.match % grid.width - before % grid.width
        assert rows.abs().max() <= 2
        assert columns.abs().max() <= 2
    assert (rows != 0).any() or (columns != 0).any()


def test_a_search_at_random_nearly_finds_what_an_exhaustive_one_does(
    generator: torch.Generator,
) -> None:
    grid = grid_of(checker(96, 96), (40, 56, 40, 56))
    field, sketches, queries = field_of(grid, generator)
    for _ in range(10):
        field.propagate(1)
        reach = 96
        while reach:
            field.explore(reach, generator)
            reach //= 2
    exhaustive = Field(grid, sketches, queries, None)
    assert (field.distance >= exhaustive.distance - 1e-3).all()
    assert field.distance.mean() < 1.05 * exhaustive.distance.mean() + 1e-3


def test_a_place_costs_what_it_lies_beyond_the_free_range(generator: torch.Generator) -> None:
    grid = grid_of(noise(24, 24), (8, 16, 8, 16))
    rows, columns = grid.places(torch.arange(len(grid.is_source)))
    cost = PlaceCost(torch.stack([2 * rows, columns], 1).float(), torch.tensor([0.0, 5.0]))
    start, moved = torch.tensor([10 * grid.width + 10]), torch.tensor([11 * grid.width + 18])
    assert cost(start, moved).tolist() == [4 + 3**2]
    assert cost(start, start + 5).tolist() == [0]

    field, sketches, queries = field_of(grid, generator)
    far = Field(grid, sketches, queries, field.match, cost)
    assert torch.allclose(far.distance, field.distance + cost(grid.queries, field.match))
    # The least of all of them, compared one by one.
    found = Field(grid, sketches, queries, None, cost)
    every = torch.cdist(queries, sketches[grid.sources]).square()
    every += cost(grid.queries[:, None], grid.sources)
    assert torch.allclose(found.distance, every.min(1).values, atol=1e-3)
    for step in (4, 2, 1):
        far.propagate(step)
    far.cohere(0.0)
    assert torch.allclose(
        far.distance,
        (queries - sketches[far.match]).square().sum(1) + cost(grid.queries, far.match),
        atol=1e-4,
    )
