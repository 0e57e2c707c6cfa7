"""Patches that overlap vote: colours and gradients that agree, near and trusted ones first."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.pixel.pixel_search import Field, PatchGrid
from kintsugi.models.match.pixel.pixel_vote import Ballot, pad_like
from tests.models.match.patterns import checker, noise, waves
from tests.models.match.test_patch_swap import Box, mask_of

RADIUS = 3
PERIOD = 8


def ballot_of(
    image: Tensor, mask: Tensor, shift: int, *, wrong: int = 0, depth: float = 0.0
) -> tuple[PatchGrid, Ballot]:
    """Every query copies what lies ``shift`` flat positions on, the first ``wrong`` one more."""
    grid = PatchGrid.of(image, mask, RADIUS)
    start = grid.queries + shift
    start[:wrong] += 1
    assert grid.is_source[start].all()
    # One number for each position: 1 for a wrong match and 0 for a right one.
    known = torch.zeros(len(grid.is_source), 1)
    asked = torch.zeros(len(start), 1)
    asked[:wrong] = 1
    field = Field(grid, known, asked, start)
    return grid, Ballot(grid, field, torch.full((len(start),), depth))


def cut(image: Tensor) -> Tensor:
    """Without the padding."""
    return image[..., RADIUS:-RADIUS, RADIUS:-RADIUS]


PLACES: list[tuple[Box, int]] = [
    # In the middle, along three edges, and in two corners: columns from the hole to its source.
    ((20, 36, 24, 34), 24),
    ((20, 36, 0, 12), 24),
    ((0, 20, 30, 40), -24),
    ((20, 36, 84, 96), -24),
    ((0, 9, 0, 10), 24),
    ((54, 64, 88, 96), -24),
]


@pytest.mark.parametrize(("box", "shift"), PLACES)
@pytest.mark.parametrize("width", [None, 0.8, 1.0, 2.0])
def test_patches_that_agree_give_what_they_copy(box: Box, shift: int, width: float | None) -> None:
    image, mask = checker(64, 96, period=PERIOD), mask_of(64, 96, box)
    grid, ballot = ballot_of(image, mask, shift)
    voted = cut(ballot.colours(pad_like(image * (1 - mask), grid), width=width))
    torch.testing.assert_close(voted, image)
    assert torch.equal(voted[mask.expand_as(image) == 0], image[mask.expand_as(image) == 0])


@pytest.mark.parametrize(("box", "shift"), PLACES)
@pytest.mark.parametrize("width", [0.8, 2.0])
def test_gradients_that_agree_are_those_of_what_is_copied(
    box: Box, shift: int, width: float
) -> None:
    image, mask = checker(64, 96, period=PERIOD), mask_of(64, 96, box)
    grid, ballot = ballot_of(image, mask, shift)
    hole = mask[0] > 0
    for move, axis in ((1, 2), (grid.width, 1)):
        found = cut(ballot.gradients(move, width=width))
        size = image.shape[axis + 1] - 1
        wanted = image[0].diff(dim=axis)
        across = hole.narrow(axis, 0, size) | hole.narrow(axis, 1, size)
        torch.testing.assert_close(found.narrow(axis, 0, size), wanted.where(across, 0))


@pytest.mark.parametrize("width", [0.8, 3.0])
def test_gradients_are_the_differences_of_colours_where_sources_move_together(width: float) -> None:
    """Of any picture: the patches that copy from one place copy one picture."""
    image, mask = waves(64, 96), mask_of(64, 96, (20, 36, 24, 34))
    grid, ballot = ballot_of(image, mask, 24)
    voted = ballot.colours(pad_like(image, grid), width=width)
    inside = (F.avg_pool2d(mask, 3, 1, 1)[0] > 0.99).float()
    for move, axis in ((1, 2), (grid.width, 1)):
        found = cut(ballot.gradients(move, width=width))
        size = image.shape[axis + 1] - 1
        wanted = cut(voted)[0].diff(dim=axis)
        deep = inside.narrow(axis, 0, size)
        torch.testing.assert_close(found.narrow(axis, 0, size) * deep, wanted * deep)


def test_a_vote_stays_between_what_is_brought() -> None:
    image, mask = noise(64, 96), mask_of(64, 96, (20, 36, 24, 34))
    _, ballot = ballot_of(image, mask, 24, wrong=60)
    voted = cut(ballot.colours(F.pad(image, (RADIUS,) * 4)))
    assert voted.min() >= image.min()
    assert voted.max() <= image.max()


def test_far_sources_count_less_and_not_at_all_for_nothing() -> None:
    image, mask = checker(64, 96, period=PERIOD), mask_of(64, 96, (20, 36, 24, 34))
    grid, ballot = ballot_of(image, mask, 24, wrong=100)
    voted = cut(ballot.colours(pad_like(image, grid)))
    # What is wrong has a distance of 1, what is right one of 0.
    assert (voted - image).abs().max() < 0.05
    everywhere = len(grid.queries)
    _, all_wrong = ballot_of(image, mask, 24, wrong=everywhere)
    moved = cut(all_wrong.colours(pad_like(image, grid)))
    torch.testing.assert_close(
        moved[..., 20:36, 24:34], image[..., 20:36, 24 + 24 + 1 : 34 + 24 + 1]
    )


def test_trust_grows_towards_what_is_known() -> None:
    image, mask = waves(64, 96), mask_of(64, 96, (20, 36, 24, 34))
    grid = PatchGrid.of(image, mask, RADIUS)
    # Left of the middle it is copied from one place, right of it from another.
    column = grid.queries % grid.width - RADIUS
    left = column < 29
    start = grid.queries + torch.where(left, 24, 40)
    numbers = torch.zeros(len(grid.is_source), 1), torch.zeros(len(start), 1)
    field = Field(grid, *numbers, start)
    known = pad_like(image, grid)

    def mean_of(depth: Tensor) -> Tensor:
        return cut(Ballot(grid, field, depth).colours(known))[..., 20:36, 24:34]

    level = torch.zeros(len(start))
    sides = [image[..., 20:36, 24 + shift : 34 + shift] for shift in (24, 40)]
    even, trusting = (mean_of(torch.where(left, 0.0, depth)) for depth in (0.0, 20.0))
    assert torch.equal(even, mean_of(level))
    middle = slice(4, 6)
    away = [(voted - sides[0])[..., middle].abs().mean() for voted in (even, trusting)]
    assert away[1] < 0.5 * away[0]
    # The same for all: as if there were none.
    torch.testing.assert_close(mean_of(level + 7), even)


def test_a_narrow_vote_is_sharper() -> None:
    """Where neighbours disagree by a pixel, a wide vote is dull."""
    image, mask = noise(64, 96), mask_of(64, 96, (20, 36, 24, 34))
    grid = PatchGrid.of(image, mask, RADIUS)
    generator = torch.Generator().manual_seed(0)
    shift = 24 + torch.randint(0, 8, (len(grid.queries),), generator=generator)
    numbers = torch.zeros(len(grid.is_source), 1), torch.zeros(len(shift), 1)
    ballot = Ballot(grid, Field(grid, *numbers, grid.queries + shift), torch.zeros(len(shift)))
    voted = (
        cut(ballot.colours(pad_like(image, grid), width=width)) for width in (None, 2.0, 1.0, 0.5)
    )
    spread = [float(each[..., 20:36, 24:34].std()) for each in voted]
    assert spread == sorted(spread)
    assert spread[-1] > 1.3 * spread[0]


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = noise(64, 96), mask_of(64, 96, (20, 36, 24, 34))
    grid, ballot = ballot_of(image, mask, 24, wrong=50)
    known = pad_like(image, grid)
    whole = ballot.colours(known, width=1.0), ballot.gradients(1, width=1.0)
    monkeypatch.setattr("kintsugi.models.match.pixel.pixel_vote._PIXELS_AT_ONCE", 7)
    parts = ballot.colours(known, width=1.0), ballot.gradients(1, width=1.0)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)


def test_outside_the_hole_the_image_stays_and_it_is_not_written_to() -> None:
    image, mask = torch.rand(1, 3, 64, 96), mask_of(64, 96, (20, 36, 24, 34))
    grid, ballot = ballot_of(image, mask, 24)
    begun = torch.rand(1, 3, *grid.hole.shape)
    before = begun.clone()
    voted = ballot.colours(begun)
    outside = ~grid.hole.expand_as(voted)
    assert torch.equal(voted[outside], begun[outside])
    assert not torch.equal(voted, begun)
    assert torch.equal(begun, before)
