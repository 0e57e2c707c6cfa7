"""Holes to crops: near ones together, distant ones apart, specks never thousands of crops."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.plan.crops import (
    LARGEST_CROP,
    MOST_CROPS,
    Box,
    Crop,
    _joined,
    _padded_area,
    crops_of,
)
from tests.models.match.test_patch_swap import mask_of


def area(crop: Crop) -> int:
    top, bottom, left, right = crop.box
    return (bottom - top) * (right - left)


def box_of(hole: Tensor) -> Box:
    (crop,) = crops_of(hole)
    return crop.box


def specks(count: int, height: int, width: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    mask = torch.zeros(1, 1, height, width)
    for row, column in torch.rand(count, 2, generator=generator).tolist():
        top, left = int(row * (height - side)), int(column * (width - side))
        mask[..., top : top + side, left : left + side] = 1
    return mask


def assert_cover(hole: Tensor, crops: list[Crop]) -> None:
    """Every hole pixel is one crop's own, with context around it inside the photograph."""
    left_over = hole.clone()
    owned = torch.zeros_like(hole)
    for (first, last, start, end), (top, bottom, left, right) in crops:
        assert 0 <= top <= first < last <= bottom <= hole.shape[2]
        assert 0 <= left <= start < end <= right <= hole.shape[3]
        left_over[..., first:last, start:end] = 0
        owned[..., first:last, start:end] += 1
        # Room for the widest feather, or the photograph's border.
        assert first - top >= 64 or top == 0
        assert start - left >= 64 or left == 0
        assert bottom - last >= 64 or bottom == hole.shape[2]
        assert right - end >= 64 or right == hole.shape[3]
    assert not left_over.any()
    assert owned.max() == 1


@pytest.mark.parametrize(
    ("size", "box", "crop"),
    [
        # Up to 512 px the whole side; beyond, 512 around a small hole, at the border moved in.
        ((400, 512), (10, 20, 10, 20), (0, 400, 0, 512)),
        ((2000, 3000), (900, 1000, 1400, 1500), (694, 1206, 1194, 1706)),
        ((2000, 3000), (0, 100, 2900, 3000), (0, 512, 2488, 3000)),
        # A hole of 600 has 300 px next to it; one of 1,500 takes the whole side.
        ((2000, 3000), (700, 1300, 0, 1500), (400, 1600, 0, 3000)),
    ],
)
def test_crop_is_the_hole_and_as_much_again(
    size: tuple[int, int], box: tuple[int, int, int, int], crop: tuple[int, int, int, int]
) -> None:
    assert box_of(mask_of(*size, box)) == crop


def test_near_holes_share_a_crop() -> None:
    mask = mask_of(2000, 2000, (900, 950, 900, 950), (1000, 1010, 1100, 1130))
    assert crops_of(mask) == [
        Crop((900, 1010, 900, 1130), box_of(mask_of(2000, 2000, (900, 1010, 900, 1130))))
    ]


def test_distant_holes_get_crops_of_their_own() -> None:
    boxes = [(10, 60, 20, 70), (1900, 1950, 100, 150), (1000, 1300, 1500, 1800)]
    mask = mask_of(2000, 2000, *boxes)
    crops = crops_of(mask)
    assert [crop.own for crop in crops] == sorted(boxes)
    assert [crop.box for crop in crops] == [
        box_of(mask_of(2000, 2000, box)) for box in sorted(boxes)
    ]


def test_a_photograph_of_up_to_512_px_is_one_crop() -> None:
    assert [c.box for c in crops_of(specks(50, 500, 512, 3))] == [(0, 500, 0, 512)]


@pytest.mark.parametrize("count", [3, 20, 100, 400])
def test_specks_cost_no_more_than_one_pass_in_few_crops(count: int) -> None:
    mask = specks(count, 2000, 2000, 5)
    crops = crops_of(mask)
    assert_cover(mask, crops)
    assert len(crops) <= MOST_CROPS
    assert sum(map(area, crops)) <= 2000 * 2000


def test_dust_over_a_4k_photograph_is_parted() -> None:
    mask = specks(3000, 4096, 4096, 5)
    crops = crops_of(mask)
    assert_cover(mask, crops)
    assert len(crops) == 9
    assert max(map(area, crops)) <= LARGEST_CROP
    assert sum(map(area, crops)) < 1.6 * 4096 * 4096


def test_a_thin_scratch_over_a_4k_photograph_is_parted() -> None:
    mask = torch.zeros(1, 1, 4096, 4096)
    diagonal = torch.arange(4096)
    for offset in range(8):
        mask[..., diagonal[offset:], diagonal[: 4096 - offset]] = 1
    crops = crops_of(mask)
    assert_cover(mask, crops)
    assert max(map(area, crops)) <= LARGEST_CROP
    assert sum(map(area, crops)) < 4096 * 4096


def test_a_thick_hole_is_never_parted() -> None:
    mask = mask_of(4096, 4096, (500, 3500, 500, 3500))
    assert crops_of(mask) == [Crop((500, 3500, 500, 3500), (0, 4096, 0, 4096))]


def test_groups_whose_boxes_overlap_are_joined_whatever_it_costs() -> None:
    # An L and a line through the corner that it leaves free: one crop is twice the work.
    groups = [(0, 1500, 0, 1500), (0, 100, 1300, 2900)]
    assert _joined(groups, 8000, 8000) == [(0, 1500, 0, 2900)]
    apart = [(0, 1500, 0, 1500), (0, 100, 1500, 3100)]
    assert sorted(_joined(apart, 8000, 8000)) == sorted(apart)


def test_a_ring_and_what_it_encloses_are_one_group() -> None:
    # Their boxes overlap: apart, each would fill a part of the other.
    mask = mask_of(3000, 3000, (0, 3000, 0, 3000))
    mask[..., 10:2990, 10:2990] = 0
    mask[..., 1500:1510, 1500:1510] = 1
    assert_cover(mask, crops_of(mask))


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (64, 4096), (4096, 64), (33, 31)])
def test_any_shape(size: tuple[int, int]) -> None:
    mask = torch.zeros(1, 1, *size)
    mask[..., 0, 0] = 1
    mask[..., -1, -1] = 1
    crops = crops_of(mask)
    assert_cover(mask, crops)
    assert len(crops) == (2 if max(size) > 1000 else 1)


@pytest.mark.slow
def test_no_number_of_holes_takes_long() -> None:
    # More groups than are compared with one another: the grid becomes coarser.
    mask = specks(500, 4, 200_000, 2)
    assert_cover(mask, crops_of(mask))


@pytest.mark.parametrize("size", [(16, 260_000), (260_000, 16), (16, 1_000_000), (800, 10_000)])
def test_narrow_pictures_are_parted_into_few_long_crops(size: tuple[int, int]) -> None:
    # Narrow ones are padded to 64 px: the first two would be of 16 megapixels.
    hole = torch.zeros(1, 1, *size)
    hole[..., ::7, ::5] = 1
    crops = crops_of(hole)
    assert max(_padded_area(crop.box) for crop in crops) <= LARGEST_CROP
    assert 1 < len(crops) <= 40
    if min(size) == 16:
        assert_cover(hole, crops)


def test_a_picture_that_takes_too_many_crops_is_refused() -> None:
    hole = torch.zeros(1, 1, 2, 5_000_000)
    hole[..., ::2] = 1
    with pytest.raises(ValueError, match=r"5000000x2 .* would take 77 crops, more than 64: cut"):
        crops_of(hole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_holes_on_a_gpu_are_the_same_crops() -> None:
    hole = specks(100, 2000, 2000, 5)
    assert crops_of(hole.cuda()) == crops_of(hole)
