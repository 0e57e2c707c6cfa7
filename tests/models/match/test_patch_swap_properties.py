"""What holds for patch_swap whatever the map: where it lies, how it is turned, what is known."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kintsugi.models.match.patch_swap import match_patches, patch_swap

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


@quick
@given(maps)
def test_the_scale_of_the_keys_decides_nothing(drawn: Drawn) -> None:
    features, mask = draw(drawn, tied=True)
    found = match_patches(features, mask)
    for factor in (2.0**-20, 2.0**20):
        assert torch.equal(match_patches(features * factor, mask), found)
