"""Object-shaped holes: one piece each, anywhere, as large at every size of the picture."""

import numpy as np
import pytest
from scipy import ndimage

from kintsugi.masks.objects import draw_object
from kintsugi.masks.sets import parse_mask_set


@pytest.mark.parametrize("side", [64, 256, 512])
def test_each_is_one_piece_of_an_objects_size(side: int) -> None:
    rng = np.random.default_rng(0)
    masks = [draw_object(side, side, rng) for _ in range(60)]
    for mask in masks:
        _, pieces = ndimage.label(mask, structure=np.ones((3, 3)))
        assert pieces == 1
    shares = [mask.mean() for mask in masks]
    assert min(shares) > 0.02
    assert max(shares) < 0.4
    assert 0.07 < float(np.median(shares)) < 0.15


def test_it_is_no_box_and_no_blob() -> None:
    rng = np.random.default_rng(1)
    fullness, roundness = [], []
    for _ in range(60):
        mask = draw_object(256, 256, rng)
        rows, columns = np.nonzero(mask)
        fullness.append(mask.sum() / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1)))
        outline = (mask ^ ndimage.binary_erosion(mask)).sum()
        roundness.append(4 * np.pi * mask.sum() / outline**2)
    # A box has 1 and a disc 0.79 of its bounding box; a disc's roundness is 1 and more.
    assert np.median(fullness) < 0.6
    assert np.median(roundness) < 0.7
    # Some are plain, some have limbs.
    assert np.std(roundness) > 0.1


def test_sets_of_it_have_a_name() -> None:
    masks = parse_mask_set("object-1024", seed=3)
    first = masks.mask_of("a.png")
    assert first.shape == (1024, 1024)
    assert np.array_equal(first, masks.mask_of("a.png"))
    assert not np.array_equal(first, masks.mask_of("b.png"))
    assert not np.array_equal(first, parse_mask_set("object-1024", seed=4).mask_of("a.png"))
