"""How a fill meets its surroundings: growing, feather, colours carried in from the ring."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.compose.colour import RING_PIXELS, align_colours, feathered, grow
from tests.models.match.test_patch_swap import mask_of


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
    inside = mask.expand_as(image) > 0
    left = (aligned - image)[inside].abs().max()
    # A shade of 0.13 is nearly all shade.
    assert left < 0.25 * offset.abs().max()


def test_an_offset_that_varies_is_followed() -> None:
    image, mask = gentle(256, 256), mask_of(256, 256, (64, 192, 64, 192))
    slope = torch.linspace(-0.2, 0.2, 256).expand_as(image)
    inside = mask.expand_as(image) > 0
    left = (align_colours(image + slope, image, mask) - image)[inside]
    # The other way on the other side; smoothed where it changes fastest.
    assert left.abs().mean() < 0.7 * slope[inside].abs().mean()
    moved = (align_colours(image + slope, image, mask) - image - slope)[..., 128, :]
    assert (moved[..., 66] > 0.02).all()
    assert (moved[..., 189] < -0.02).all()


def test_each_hole_gets_the_colour_of_its_own_surroundings() -> None:
    image = gentle(128, 512)
    mask = mask_of(128, 512, (40, 80, 40, 80), (40, 80, 430, 470))
    offset = torch.where(torch.arange(512) < 256, 0.1, -0.1).expand_as(image)
    aligned = align_colours(image + offset, image, mask)
    inside = mask.expand_as(image) > 0
    torch.testing.assert_close(aligned[inside], image[inside], atol=7e-3, rtol=0)


def test_what_differs_along_the_edge_is_moved_there_and_little_further_in() -> None:
    image, mask = torch.full((1, 3, 200, 200), 0.5), mask_of(200, 200, (40, 160, 40, 160))
    rows, columns = torch.arange(200)[:, None] // 20, torch.arange(200) // 20
    uneven = 0.05 + 0.1 * (-1.0) ** (rows + columns)
    deep = (..., slice(80, 120), slice(80, 120))
    moved = image + uneven - align_colours(image + uneven, image, mask)
    # Of 0.05 on average.
    assert 0 < moved[deep].mean() < 0.03
    # At the edge it follows, blurred.
    assert moved[0, 0, 40, 92:98].min() > 0.05
    assert moved[0, 0, 40, 109:115].max() < 0.02
    even = image + 0.05 - align_colours(image + 0.05, image, mask)
    torch.testing.assert_close(even[deep], torch.full((1, 3, 40, 40), 0.05), atol=2e-3, rtol=0)


def test_fine_texture_is_not_carried_into_the_hole() -> None:
    image, mask = torch.full((1, 3, 128, 128), 0.5), mask_of(128, 128, (40, 88, 40, 88))
    checks = (torch.arange(128)[:, None] + torch.arange(128)) % 2 * 0.4 - 0.2
    aligned = align_colours(image + checks, image, mask)
    carried = (aligned - image - checks).abs()
    # But at corners, which hold one more of one kind.
    assert carried.max() < 0.04
    assert (carried > 0.01).float().mean() < 0.02


@pytest.mark.parametrize("feather", [0, 9, 64])
def test_outside_the_hole_it_reaches_as_far_as_the_answer_is_used(feather: int) -> None:
    image, mask = gentle(256, 256), mask_of(256, 256, (100, 160, 100, 160))
    aligned = align_colours(image + 0.1, image, mask, reach=feather)
    used = (grow(mask, feather) > 0).expand_as(image)
    torch.testing.assert_close(aligned[used], image[used], atol=8e-3, rtol=0)
    if feather == 0:
        assert torch.equal(aligned[~used], image[~used] + 0.1)


def test_an_edge_of_the_picture_along_the_hole_is_no_shade() -> None:
    right = torch.full((1, 3, 128, 128), 0.9)
    mask = mask_of(128, 128, (32, 96, 32, 96))
    # What is left of an object that was masked too tightly, and one that ends at the hole.
    rim = right.where(grow(mask, 1) - mask == 0, 0.4)
    beside = right.clone()
    beside[..., :32] = 0.3
    for image in (rim, beside):
        inside = mask.expand_as(image) > 0
        left = (align_colours(right, image, mask) - right)[inside]
        # Of 0.5 and 0.6; most where both meet.
        assert left.abs().max() < 0.1
        assert left.abs().mean() < 0.04


def test_a_soft_mask_is_a_hole_wherever_it_is_over_0() -> None:
    image = torch.full((1, 3, 64, 64), 0.4)
    mask = mask_of(64, 64, (20, 40, 20, 40)) * 0.5
    torch.testing.assert_close(align_colours(image, image, mask, reach=4), image)
    hard = align_colours(image + 0.1, image, (mask > 0).float())
    assert torch.equal(align_colours(image + 0.1, image, mask), hard)


def test_no_number_off_the_hole_stays_there() -> None:
    image, mask = gentle(64, 64), mask_of(64, 64, (20, 40, 20, 40))
    filled = image + 0.1
    filled[..., 10:12, 10:12] = torch.nan
    aligned = align_colours(filled, image, mask)
    assert aligned[mask.expand_as(image) > 0].isfinite().all()
    assert torch.equal(align_colours(filled, image, mask * 0)[..., 20:, :], filled[..., 20:, :])


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
