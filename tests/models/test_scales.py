"""The plan of a fill: sizes, padding, crop, shrinking without leaks, composing; no network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.scales import (
    FillOptions,
    crop_to_hole,
    feathered,
    grow,
    padded_range,
    plan_scales,
    scale_sizes,
    shrink,
)
from tests.models.test_patch_swap import mask_of


def photo(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("height", "width", "sizes"),
    [
        (64, 64, [(64, 64)]),
        (256, 256, [(256, 256)]),
        (256, 360, [(256, 360)]),
        (512, 512, [(256, 256), (512, 512)]),
        (512, 344, [(256, 176), (512, 344)]),
        (1024, 768, [(256, 192), (512, 384), (1024, 768)]),
        # No side starts below 64 px, however long the other is.
        (1024, 128, [(512, 64), (1024, 128)]),
        (4096, 4096, [(256, 256), (512, 512), (1024, 1024), (2048, 2048), (4096, 4096)]),
    ],
)
def test_sizes_halve_down_to_about_256(
    height: int, width: int, sizes: list[tuple[int, int]]
) -> None:
    assert scale_sizes(height, width, "auto") == sizes


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(8, 400), st.integers(8, 400))
def test_every_size_is_whole_cells_and_the_last_is_the_crops_own(rows: int, columns: int) -> None:
    sizes = scale_sizes(8 * rows, 8 * columns, "auto")
    assert sizes[-1] == (8 * rows, 8 * columns)
    assert sizes == sorted(sizes)
    for height, width in sizes:
        assert height % 8 == 0
        assert width % 8 == 0
        assert min(height, width) >= 64


def test_a_number_of_scales_is_obeyed_or_refused() -> None:
    assert scale_sizes(512, 512, 1) == [(512, 512)]
    assert [size[0] for size in scale_sizes(512, 512, 4)] == [64, 128, 256, 512]
    with pytest.raises(ValueError, match="scales=5 would start at 32 px: choose at most 4"):
        scale_sizes(512, 512, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": 0}, "scales=0"),
        ({"grow_mask": 65}, "grow_mask=65"),
        ({"feather": -1}, "feather=-1"),
    ],
)
def test_refuses_options_out_of_range(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FillOptions(**options)


def test_padding_mirrors_as_often_as_needed() -> None:
    assert padded_range(5, 8, 8).tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert padded_range(3, 4, 8).tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert padded_range(1, 8, 8).tolist() == [0] * 8


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 700))
def test_padding_keeps_the_photograph_where_it_was(side: int) -> None:
    indices = padded_range(side, 8, 64)
    assert len(indices) % 8 == 0
    assert 0 <= len(indices) - side < 8 or len(indices) == 64
    assert indices[:side].tolist() == list(range(side))
    assert (indices.diff().abs() <= 1).all()


@pytest.mark.parametrize(
    ("size", "box", "crop"),
    [
        # Up to 512 px the whole side; beyond, 512 around a small hole, at the border moved in.
        ((400, 512), (10, 20, 10, 20), (0, 400, 0, 512)),
        ((2000, 3000), (900, 1000, 1400, 1500), (694, 1206, 1194, 1706)),
        ((2000, 3000), (0, 100, 2900, 3000), (0, 512, 2488, 3000)),
        # A hole of 600 has 300 px beside it; one of 1,500 takes the whole side.
        ((2000, 3000), (700, 1300, 0, 1500), (400, 1600, 0, 3000)),
    ],
)
def test_crop_is_the_hole_and_as_much_again(
    size: tuple[int, int], box: tuple[int, int, int, int], crop: tuple[int, int, int, int]
) -> None:
    assert crop_to_hole(mask_of(*size, box)) == crop


def test_crop_holds_every_hole() -> None:
    mask = mask_of(1500, 1500, (10, 12, 700, 702), (1490, 1495, 720, 725))
    top, bottom, left, right = crop_to_hole(mask)
    assert mask[..., top:bottom, left:right].sum() == mask.sum()
    assert (top, bottom, right - left) == (0, 1500, 512)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (64, 96), (40, 72)])
def test_shrinking_leaks_nothing_of_the_hole(size: tuple[int, int]) -> None:
    image = photo(64, 96)
    mask = mask_of(64, 96, (11, 30, 13, 55), (60, 64, 0, 3))
    shrunk, small = shrink(image, mask, *size)
    filled, _ = shrink(image * (1 - mask) + 1e6 * mask, mask, *size)
    assert torch.equal(shrunk, filled)
    assert (shrunk * small == 0).all()
    # A pixel that covers any hole pixel is hole.
    assert small.mean() >= mask.mean()
    # The mean of known pixels only: a constant stays itself up to the hole's edge.
    flat, _ = shrink(torch.full_like(image, 0.5), mask, *size)
    torch.testing.assert_close(flat, (0.5 * (1 - small)).expand_as(flat))


def test_shrinking_to_the_same_size_is_exact() -> None:
    image, mask = photo(32, 32), mask_of(32, 32, (3, 9, 3, 9))
    same, small = shrink(image, mask, 32, 32)
    assert torch.equal(small, mask)
    assert torch.equal(same, image * (1 - mask))


def test_halving_takes_the_mean_of_four() -> None:
    image = photo(8, 8)
    shrunk, small = shrink(image, mask_of(8, 8, (0, 1, 0, 1)), 4, 4)
    torch.testing.assert_close(shrunk[..., 3, 3], image[..., 6:, 6:].mean((2, 3)))
    assert small.nonzero().tolist() == [[0, 0, 0, 0]]


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


@pytest.mark.parametrize("size", [(1, 5), (37, 50), (64, 64), (300, 1000), (700, 530)])
@pytest.mark.parametrize("options", [FillOptions(), FillOptions(grow_mask=1, feather=3)])
def test_composing_keeps_the_rest_to_the_bit(size: tuple[int, int], options: FillOptions) -> None:
    image = photo(*size)
    mask = mask_of(*size, (0, max(1, size[0] // 3), 1, 3))
    plan = plan_scales(image, mask, options)
    filled = torch.full_like(plan.work, 0.25)
    answer = plan.compose(filled)
    touched = grow(mask, options.grow_mask + options.feather).expand_as(image) > 0
    assert torch.equal(answer[~touched], image[~touched])
    hole = grow(mask, options.grow_mask).expand_as(image) > 0
    assert (answer[hole] == 0.25).all()
    if options.feather == 0:
        assert torch.equal(answer[~hole], image[~hole])


def test_the_first_scale_has_no_hole_content_and_the_next_the_last_result() -> None:
    image, mask = photo(512, 512), mask_of(512, 512, (200, 300, 100, 400))
    plan = plan_scales(image, mask, FillOptions())
    first, first_mask = plan.inputs(0, None)
    assert first.shape[-2:] == plan.sizes[0] == (256, 256)
    assert (first * first_mask == 0).all()
    second, second_mask = plan.inputs(1, torch.full((1, 3, 256, 256), 0.75))
    assert torch.equal(second_mask, mask)
    assert torch.equal(second * (1 - mask), image * (1 - mask))
    torch.testing.assert_close(second * mask, 0.75 * mask.expand_as(image))


def test_up_sampling_does_not_overshoot() -> None:
    plan = plan_scales(photo(512, 512), mask_of(512, 512, (0, 500, 0, 500)), FillOptions())
    edges = (photo(256, 256) > 0.5).float()
    image, _ = plan.inputs(1, edges)
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize(
    ("image_size", "box", "options", "message"),
    [
        ((9, 9), (0, 1, 0, 1), FillOptions(), "mask is 8x8 but image is 9x9"),
        ((8, 8), (0, 0, 0, 0), FillOptions(), "mask is empty"),
        ((8, 8), (0, 8, 0, 8), FillOptions(), "covers the whole image: leave"),
        ((8, 8), (0, 8, 0, 5), FillOptions(grow_mask=3), "whole image after growing it by 3 px"),
        ((8, 8), (0, 2, 0, 5), FillOptions(scales=2), "scales=2 would start at 32 px"),
    ],
)
def test_refuses(
    image_size: tuple[int, int],
    box: tuple[int, int, int, int],
    options: FillOptions,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_scales(photo(*image_size), mask_of(8, 8, box), options)
