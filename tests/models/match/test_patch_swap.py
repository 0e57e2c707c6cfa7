"""patch_swap against an independent float64 reference on many shapes and masks."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from kintsugi.models.match.exact import nearest_exact
from kintsugi.models.match.patch_swap import match_patches, patch_swap
from kintsugi.models.match.windows import Search, candidate_windows, hole_cells, windows_touching
from tests.models.naive_patch_swap import cells_of, score_table, swap_batch

Box = tuple[int, int, int, int]


def features_of(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mask_of(height: int, width: int, *boxes: Box) -> Tensor:
    """1 1 H W with the boxes (top, bottom, left, right) as holes."""
    mask = torch.zeros(1, 1, height, width)
    for top, bottom, left, right in boxes:
        mask[..., top:bottom, left:right] = 1
    return mask


def assert_same_as_reference(features: Tensor, mask: Tensor, **options: int) -> None:
    got = patch_swap(features, mask, **options)
    expected = torch.from_numpy(
        swap_batch(features.double().numpy(), mask.double().numpy(), **options)
    )
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)
    height, width = features.shape[-2:]
    for item in range(len(features)):
        known = torch.from_numpy(~cells_of(mask[item, 0].double().numpy(), height, width))
        assert torch.equal(got[item][:, known], features[item][:, known])


SHAPES: dict[str, tuple[tuple[int, int, int], int, list[Box]]] = {
    "centre": ((8, 12, 12), 4, [(16, 32, 16, 32)]),
    "one pixel": ((4, 8, 8), 4, [(13, 14, 18, 19)]),
    "several": ((4, 12, 10), 4, [(0, 5, 0, 6), (20, 27, 17, 30), (40, 44, 3, 5)]),
    "top edge": ((4, 10, 10), 4, [(0, 12, 12, 24)]),
    "right edge": ((4, 9, 11), 4, [(8, 24, 36, 44)]),
    "all corners": (
        (4, 12, 12),
        2,
        [(0, 5, 0, 5), (0, 5, 19, 24), (19, 24, 0, 5), (19, 24, 19, 24)],
    ),
    "full-height stripe": ((4, 8, 14), 1, [(0, 8, 5, 8)]),
    "larger than the known part": ((6, 12, 12), 4, [(0, 48, 0, 36)]),
    "ring around the known part": (
        (5, 9, 9),
        1,
        [(0, 2, 0, 9), (7, 9, 0, 9), (0, 9, 0, 2), (0, 9, 7, 9)],
    ),
    "one candidate": ((3, 7, 7), 1, [(3, 7, 0, 7), (0, 7, 3, 7)]),
    "one channel": ((1, 9, 9), 1, [(3, 6, 3, 6)]),
    "smallest map": ((4, 3, 3), 4, [(0, 1, 0, 1)]),
    "one row of windows": ((4, 3, 20), 4, [(0, 8, 30, 50)]),
    "no hole": ((4, 6, 6), 4, []),
    "all hole": ((4, 6, 6), 4, [(0, 24, 0, 24)]),
}


@pytest.mark.parametrize("guard", range(4))
@pytest.mark.parametrize("name", SHAPES)
def test_equals_the_reference(name: str, guard: int) -> None:
    (channels, height, width), stride, boxes = SHAPES[name]
    mask = mask_of(height * stride, width * stride, *boxes)
    assert_same_as_reference(features_of(1, 1, channels, height, width), mask, guard=guard)


def test_every_photograph_of_a_batch_has_its_own_mask() -> None:
    features = features_of(2, 4, 5, 9, 10)
    mask = torch.cat(
        [
            mask_of(36, 40, (8, 20, 12, 24)),
            mask_of(36, 40),
            mask_of(36, 40, (0, 36, 0, 40)),
            mask_of(36, 40, (0, 4, 0, 4), (30, 36, 20, 40)),
        ]
    )
    assert_same_as_reference(features, mask, guard=1)


def test_the_order_of_a_batch_does_not_matter() -> None:
    features = features_of(3, 3, 4, 8, 8)
    mask = torch.cat([mask_of(8, 8, (i, i + 3, 2, 6)) for i in (0, 2, 5)])
    order = [2, 0, 1]
    assert torch.equal(patch_swap(features, mask)[order], patch_swap(features[order], mask[order]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_equals_the_reference_on_random_shapes(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(3, 9)), data.draw(st.integers(3, 9))
    stride = data.draw(st.sampled_from([1, 2, 4]))
    density = data.draw(st.sampled_from([0.01, 0.1, 0.4, 0.9]))
    seed = data.draw(st.integers(0, 10_000))
    random = torch.Generator().manual_seed(seed)
    noise = torch.rand(2, 1, height * stride, width * stride, generator=random)
    features = features_of(seed, 2, data.draw(st.integers(1, 6)), height, width)
    assert_same_as_reference(
        features, (noise < density).float(), guard=data.draw(st.integers(0, 3))
    )


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    height=st.integers(4, 10),
    width=st.integers(4, 10),
    budget=st.sampled_from([400, 2_000, 20_000]),
    seed=st.integers(0, 10_000),
)
# One score at a time takes as long as all others together.
@example(height=7, width=9, budget=1, seed=0)
@example(height=9, width=6, budget=1, seed=1)
@pytest.mark.slow
def test_bands_change_no_match(height: int, width: int, budget: int, seed: int) -> None:
    # Small whole numbers: products are exact in any order, so ties abound and are exact.
    random = torch.Generator().manual_seed(seed)
    features = torch.randint(-1, 2, (1, 2, height, width), generator=random).float()
    mask = (torch.rand(1, 1, height, width, generator=random) < 0.15).float()
    hole = hole_cells(mask, height, width)[0, 0] > 0
    search = Search(features[0], features[0], windows_touching(hole), candidate_windows(hole, 0))
    if search.queries.any() and search.candidates.any():
        whole = match_patches(features, mask)[0]
        assert torch.equal(nearest_exact(search, memory_budget=budget), whole)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(height=st.integers(4, 9), width=st.integers(4, 9), seed=st.integers(0, 10_000))
def test_every_match_is_the_best_candidate(height: int, width: int, seed: int) -> None:
    features = features_of(seed, 1, 3, height, width)
    random = torch.Generator().manual_seed(seed)
    mask = (torch.rand(1, 1, height, width, generator=random) < 0.1).float()
    indices = match_patches(features, mask)[0]
    hole = cells_of(mask[0, 0].double().numpy(), height, width)
    table = score_table(features[0].double().numpy(), hole, 0)
    for row in range(height - 2):
        for column in range(width - 2):
            scores = table.get((row, column), {})
            index = int(indices[row, column])
            if not scores:
                assert index == -1
                continue
            chosen = scores[divmod(index, width - 2)]
            assert chosen == pytest.approx(max(scores.values()), abs=1e-6)
