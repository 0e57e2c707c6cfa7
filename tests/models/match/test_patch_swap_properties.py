"""What holds for patch_swap whatever the map: where it lies, how it is turned, what is known."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.match.patch_swap import hole_cells, match_patches, patch_swap

maps = st.tuples(
    st.integers(4, 11), st.integers(4, 11), st.sampled_from([0.02, 0.1, 0.3]), st.integers(0, 9999)
)
Drawn = tuple[int, int, float, int]
quick = settings(max_examples=20, deadline=None, derandomize=True)


def draw(drawn: Drawn, *, batch: int = 1, tied: bool = False) -> tuple[Tensor, Tensor]:
    """Random features and masks; ``tied``: of few small whole numbers, so that ties abound."""
    height, width, density, seed = drawn
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, 3, height, width, generator=random)
    if tied:
        features = features.round().clamp(-1, 1)
    mask = torch.rand(batch, 1, height, width, generator=random) < density
    return features, mask.float()


@quick
@given(maps, st.booleans())
def test_known_cells_are_equal_to_the_bit_and_nothing_is_nan(drawn: Drawn, tied: bool) -> None:
    features, mask = draw(drawn, batch=2, tied=tied)
    got = patch_swap(features, mask)
    known = (mask == 0).expand_as(features)
    assert torch.equal(got[known], features[known])
    assert torch.isfinite(got).all()


@pytest.mark.slow
@quick
@given(maps, st.booleans())
def test_a_batch_is_its_items(drawn: Drawn, tied: bool) -> None:
    features, mask = draw(drawn, batch=3, tied=tied)
    whole = patch_swap(features, mask, guard=1)
    for item in reversed(range(3)):
        alone = slice(item, item + 1)
        assert torch.equal(patch_swap(features[alone], mask[alone], guard=1), whole[alone])


@quick
@given(maps, st.booleans(), st.integers(0, 4), st.integers(0, 4))
def test_matches_move_with_the_map(drawn: Drawn, tied: bool, down: int, right: int) -> None:
    features, mask = draw(drawn, tied=tied)
    height, width = features.shape[-2:]
    # On a larger map, around which there is hole only: the same candidates in the same order.
    larger = torch.randn(1, 3, height + 4, width + 4, generator=torch.Generator().manual_seed(0))
    larger_mask = torch.ones(1, 1, height + 4, width + 4)
    inner = (..., slice(down, down + height), slice(right, right + width))
    larger[inner], larger_mask[inner] = features, mask
    moved = match_patches(larger, larger_mask)[
        ..., down : down + height - 2, right : right + width - 2
    ]
    found = match_patches(features, mask)
    row, column = found // (width - 2) + down, found % (width - 2) + right
    expected = torch.where(found >= 0, row * (width + 2) + column, -1)
    assert torch.equal(moved, expected)


@quick
@given(maps, st.sampled_from([(2,), (3,), (2, 3)]))
def test_matches_turn_with_the_map(drawn: Drawn, axes: tuple[int, ...]) -> None:
    # Holes and candidates come in another order; without ties that is all the same.
    features, mask = draw(drawn)
    turned = patch_swap(features.flip(axes), mask.flip(axes)).flip(axes)
    torch.testing.assert_close(turned, patch_swap(features, mask))


@pytest.mark.slow
@quick
@given(maps, st.booleans(), st.sampled_from([500, 5_000, 50_000]), st.integers(1, 3))
# One score at a time takes as long as all others together.
@example((7, 8, 0.1, 0), True, 1, 1)
@example((8, 6, 0.3, 1), False, 1, 2)
def test_a_limit_and_a_budget_hold(drawn: Drawn, tied: bool, budget: int, uses: int) -> None:
    features, mask = draw(drawn, tied=tied)
    found = match_patches(features, mask, max_uses=uses)
    assert torch.equal(match_patches(features, mask, max_uses=uses, memory_budget=budget), found)
    matched = found[found >= 0]
    assert torch.equal(found >= 0, match_patches(features, mask) >= 0)
    if len(matched):
        hole = hole_cells(mask, *features.shape[-2:])
        windows = torch.nn.functional.max_pool2d(hole, 3, 1)
        least = -(-len(matched) // int((windows == 0).sum()))
        assert matched.bincount().max() <= max(uses, least)


@quick
@given(maps)
def test_the_scale_of_the_keys_decides_nothing(drawn: Drawn) -> None:
    features, mask = draw(drawn, tied=True)
    found = match_patches(features, mask)
    for factor in (2.0**-20, 2.0**20):
        assert torch.equal(match_patches(features * factor, mask), found)
