"""Another size, or padded: nothing of the hole leaks, and the photograph stays where it was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.models.plan.resizing import padded_range, padded_side, shrink
from tests.models.match.test_patch_swap import mask_of
from tests.models.plan.test_fill_plan import photo


def test_padding_mirrors_as_often_as_needed() -> None:
    assert padded_range(5, 8, 8).tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert padded_range(3, 4, 8).tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
    assert padded_range(1, 8, 8).tolist() == [0] * 8


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 700))
def test_padding_keeps_the_photograph_where_it_was(side: int) -> None:
    indices = padded_range(side, 8, 64)
    assert len(indices) % 8 == 0
    assert len(indices) == padded_side(side)
    assert 0 <= len(indices) - side < 8 or len(indices) == 64
    assert indices[:side].tolist() == list(range(side))
    assert (indices.diff().abs() <= 1).all()


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (64, 96), (40, 72)])
def test_shrinking_leaks_nothing_of_the_hole(size: tuple[int, int]) -> None:
    image = photo(64, 96)
    mask = mask_of(64, 96, (11, 30, 13, 55), (60, 64, 0, 3))
    shrunk, small = shrink(image, mask, *size)
    filled, _ = shrink(image * (1 - mask) + 1e6 * mask, mask, *size)
    assert torch.equal(shrunk, filled)
    assert torch.equal(shrunk, shrink(image.where(mask == 0, torch.nan), mask, *size)[0])
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
