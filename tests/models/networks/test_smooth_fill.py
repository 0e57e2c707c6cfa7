"""The smooth fill: what it keeps, what it gives where little is known, how smooth it is."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.networks.smooth_fill import smooth_fill
from tests.models.match.test_patch_swap import mask_of


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 3), (31, 65), (64, 64), (5, 200)])
def test_known_pixels_are_bit_equal_and_the_hole_lies_between_them(size: tuple[int, int]) -> None:
    image = noise(3, 3, *size)
    mask = (noise(3, 1, *size) > 0.4).float()
    mask[:, :, 0, 0] = 0
    known = (mask == 0).expand_as(image)
    # What is in the hole is not looked at.
    filled = smooth_fill(image.masked_fill(~known, torch.nan), mask)
    assert torch.equal(filled[known], image[known])
    for item in range(3):
        for channel in range(3):
            seen = image[item, channel][mask[item, 0] == 0]
            assert filled[item, channel].min() >= seen.min() - 1e-6
            assert filled[item, channel].max() <= seen.max() + 1e-6


def test_what_is_all_hole_becomes_mid_grey_and_what_has_none_stays() -> None:
    image = noise(2, 3, 20, 33)
    mask = torch.zeros(2, 1, 20, 33)
    mask[1] = 1
    filled = smooth_fill(image, mask)
    assert torch.equal(filled[0], image[0])
    assert torch.equal(filled[1], torch.full_like(image[1], 0.5))


def test_a_photograph_is_filled_alike_in_any_batch() -> None:
    image, mask = noise(2, 3, 40, 40), mask_of(40, 40, (10, 30, 5, 20)).repeat(2, 1, 1, 1)
    mask[1] = mask[1].flip(-1)
    both = smooth_fill(image, mask)
    for item in (slice(0, 1), slice(1, 2)):
        assert torch.equal(smooth_fill(image[item], mask[item]), both[item])


def test_one_known_colour_fills_the_hole_and_a_slope_goes_on() -> None:
    box = (16, 48, 16, 48)
    mask = mask_of(64, 64, box)
    flat = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    torch.testing.assert_close(smooth_fill(flat, mask), flat, rtol=0, atol=1e-6)
    slope = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    filled = smooth_fill(slope, mask)
    error = (filled - slope)[..., 16:48, 16:48].abs()
    assert error.mean() < 0.05
    # No step anywhere that eyes would find: the slope itself climbs 1/63 a pixel.
    assert filled.diff(dim=-1).abs().max() < 5 / 63
    assert filled.diff(dim=-2).abs().max() < 5 / 63


def test_a_pixel_that_is_partly_hole_is_a_blend() -> None:
    image, mask = torch.zeros(1, 3, 9, 9), torch.zeros(1, 1, 9, 9)
    image[..., 4, 4], mask[..., 4, 4] = 1.0, 0.75
    assert smooth_fill(image, mask)[0, 0, 4, 4].item() == pytest.approx(0.25, abs=0.06)
