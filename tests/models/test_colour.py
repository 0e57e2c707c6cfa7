"""How a fill meets its surroundings: growing, feather, colours carried in from the ring."""

import pytest
import torch
from torch import Tensor

from models.colour import RING_PIXELS, align_colours, feathered, grow
from tests.models.test_patch_swap import mask_of


def test_growing_by_pixels_with_square_corners() -> None:
    mask = mask_of(12, 12, (5, 7, 0, 1))
    assert torch.equal(grow(mask, 2), mask_of(12, 12, (3, 9, 0, 3)))
    assert grow(mask, 0) is mask


@pytest.mark.parametrize("pixels", [0, 1, 2, 5, 16, 64])
def test_feather_falls_monotonously_to_zero(pixels: int) -> None:
    hole = mask_of(200, 200, (80, 120, 80, 120))
    alpha = feathered(hole, pixels)
    assert (alpha[hole > 0] == 1).all()
    assert (alpha[grow(hole, pixels) == 0] == 0).all()
    ramp = alpha[0, 0, 100, 119:]
    assert (ramp.diff() <= 1e-6).all()
    assert ((ramp > 0) & (ramp < 1)).sum() >= min(pixels, 1)


def test_feather_at_the_border_ends_there() -> None:
    alpha = feathered(mask_of(40, 40, (0, 40, 0, 10)), 8)
    torch.testing.assert_close(alpha[0, 0, 0], alpha[0, 0, 20])


def photo(height: int, width: int) -> torch.Tensor:
    """Noise around mid-grey: room for an offset on both sides."""
    generator = torch.Generator().manual_seed(0)
    return 0.4 + 0.2 * torch.rand(1, 3, height, width, generator=generator)


HOLES = [
    (64, 128, 64, 192),
    # At a corner, as thin as one pixel, and nearly everything.
    (0, 100, 0, 90),
    (50, 51, 0, 256),
    (1, 200, 0, 256),
]


def gentle(height: int, width: int) -> Tensor:
    """Shades from one corner to the other: neighbouring pixels are all but equal."""
    rows, columns = torch.linspace(0, 0.2, height)[:, None], torch.linspace(0, 0.2, width)
    return (0.3 + rows + columns).expand(1, 3, height, width)


@pytest.mark.parametrize("box", HOLES)
def test_a_constant_offset_is_taken_away(box: tuple[int, int, int, int]) -> None:
    image, mask = gentle(200, 256), mask_of(200, 256, box)
    offset = torch.tensor([0.1, -0.2, 0.05]).view(1, 3, 1, 1)
    filled = image + offset
    aligned = align_colours(filled, image, mask)
    inside, ring = ((part > 0).expand_as(image) for part in (mask, grow(mask, RING_PIXELS)))
    torch.testing.assert_close(aligned[inside], image[inside], atol=6e-3, rtol=0)
    # On the ring to the bit nearly, for the feather; further off nobody looks.
    around = ring & ~inside
    torch.testing.assert_close(aligned[around], image[around])
    assert torch.equal(aligned[~ring], filled[~ring])


def test_an_offset_that_varies_is_followed() -> None:
    image, mask = gentle(256, 256), mask_of(256, 256, (96, 160, 96, 160))
    slope = torch.linspace(-0.2, 0.2, 256).expand_as(image)
    left = (align_colours(image + slope, image, mask) - image)[mask.expand_as(image) > 0]
    assert left.abs().max() < 0.02
    assert (slope * mask).abs().max() > 0.04


def test_each_hole_gets_the_colour_of_its_own_surroundings() -> None:
    image = gentle(128, 512)
    mask = mask_of(128, 512, (40, 80, 40, 80), (40, 80, 430, 470))
    offset = torch.where(torch.arange(512) < 256, 0.1, -0.1).expand_as(image)
    aligned = align_colours(image + offset, image, mask)
    inside = mask.expand_as(image) > 0
    torch.testing.assert_close(aligned[inside], image[inside], atol=5e-3, rtol=0)


def test_fine_texture_is_not_carried_into_the_hole() -> None:
    image, mask = torch.full((1, 3, 128, 128), 0.5), mask_of(128, 128, (40, 88, 40, 88))
    checks = (torch.arange(128)[:, None] + torch.arange(128)) % 2 * 0.4 - 0.2
    aligned = align_colours(image + checks, image, mask)
    # Corners hold one more of one kind.
    torch.testing.assert_close(aligned, image + checks, atol=0.01, rtol=0)


def test_what_the_hole_holds_is_not_looked_at() -> None:
    image, mask = photo(96, 96), mask_of(96, 96, (30, 60, 30, 60))
    filled = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    aligned = align_colours(filled, image, mask)
    for inside in (1e6, torch.nan):
        assert torch.equal(align_colours(filled, image.where(mask == 0, inside), mask), aligned)
    # Nor what is further off than the ring.
    far = grow(mask, RING_PIXELS) == 0
    assert not far.any() or torch.equal(
        align_colours(filled.where(~far, 0.9), image, mask)[mask.expand_as(image) > 0],
        aligned[mask.expand_as(image) > 0],
    )


def test_colours_stay_in_range_and_without_anything_known_as_they_are() -> None:
    image, filled = photo(64, 64), torch.rand(1, 3, 64, 64)
    everything = torch.ones(1, 1, 64, 64)
    assert torch.equal(align_colours(filled, image, everything), filled)
    aligned = align_colours(filled, image * 0, mask_of(64, 64, (20, 40, 20, 40)))
    assert aligned.min() >= 0
    assert aligned.max() <= 1
