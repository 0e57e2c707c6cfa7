"""patch_swap where it is easily wrong: ties, zeros, guards, keys, types, gradients, errors."""

import jaxtyping
import pytest
import torch

from kintsugi.models.match.patch_swap import hole_cells, match_patches, paste_patches, patch_swap
from tests.models.match.test_patch_swap import features_of, mask_of
from tests.models.naive_patch_swap import swap_batch


def test_ties_take_the_lowest_index() -> None:
    # A period of four columns and constant rows: every known patch occurs many times.
    pattern = torch.tensor([1.0, 2.0, 4.0, 3.0])
    features = pattern.repeat(5)[None, None, None, :].expand(1, 2, 8, 20).contiguous()
    mask = mask_of(8, 20, (3, 5, 9, 11))
    indices = match_patches(features, mask)[0]
    touched = indices >= 0
    assert touched.sum() == 4 * 4
    for row, column in touched.nonzero().tolist():
        assert indices[row, column] == column % 4


def test_the_tie_of_a_constant_map_is_its_first_known_window() -> None:
    features = torch.ones(1, 3, 9, 9)
    mask = mask_of(9, 9, (0, 2, 0, 9), (6, 8, 3, 5))
    indices = match_patches(features, mask)
    assert set(indices[indices >= 0].tolist()) == {2 * 7}


def test_a_window_is_worth_its_angle_and_not_its_length() -> None:
    features = torch.ones(1, 2, 3, 9)
    features[..., 0:3] = torch.tensor([1.0, 0.5]).view(1, 2, 1, 1) * 100
    features[..., 6:9] = torch.tensor([1.0, 0.9]).view(1, 2, 1, 1)
    mask = mask_of(3, 9, (0, 3, 3, 6))
    indices = match_patches(features, mask)[0, 0]
    # Window 3 is the pure query (1, 1); window 6, at (1, 0.9), is nearest and short.
    assert indices[3] == 6


@pytest.mark.parametrize("zeroed", ["hole", "known", "everything"])
def test_zero_patches_give_no_nan(zeroed: str) -> None:
    features = features_of(0, 1, 4, 8, 8)
    mask = mask_of(8, 8, (3, 6, 3, 6))
    zero = {"hole": mask, "known": 1 - mask, "everything": torch.ones_like(mask)}[zeroed]
    features = features * (1 - zero)
    got = patch_swap(features, mask)
    assert torch.isfinite(got).all()
    expected = torch.from_numpy(swap_batch(features.double().numpy(), mask.double().numpy()))
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("boxes", "why"),
    [
        ([(0, 8, 0, 8)], "all hole"),
        ([(0, 8, 2, 8)], "the known strip is narrower than a patch"),
        ([(2, 3, 0, 8), (5, 6, 0, 8)], "each known strip is narrower than a patch"),
        ([], "no hole"),
    ],
)
def test_features_come_back_as_they_came(boxes: list[tuple[int, int, int, int]], why: str) -> None:
    features = features_of(0, 1, 3, 8, 8)
    mask = mask_of(8, 8, *boxes)
    assert (match_patches(features, mask) == -1).all(), why
    assert torch.equal(patch_swap(features, mask, guard=2), features), why


def test_guard_keeps_its_distance() -> None:
    features = features_of(0, 1, 4, 5, 20)
    mask = mask_of(5, 20, (0, 5, 0, 2))
    for guard in range(4):
        indices = match_patches(features, mask, guard=guard)
        columns = indices[indices >= 0] % 18
        assert columns.min() >= 2 + guard
    # The nearest windows are taken when they may be.
    features[..., 2:5] = features[..., 0:3]
    assert (match_patches(features, mask, guard=0) % 18 == 2).any()


def test_guard_shrinks_until_a_candidate_is_left() -> None:
    features = features_of(0, 1, 4, 5, 9)
    # Columns 4..8 are known: one cell of guard leaves windows 5 and 6, three leave none.
    mask = mask_of(5, 9, (0, 5, 0, 4))
    at_most = [match_patches(features, mask, guard=guard) for guard in range(4)]
    assert int((at_most[2][at_most[2] >= 0] % 7).min()) == 6
    assert torch.equal(at_most[3], at_most[2])
    assert not torch.equal(at_most[1], at_most[2])


def test_keys_decide_and_features_are_copied() -> None:
    features, keys = features_of(0, 1, 4, 9, 9), features_of(1, 1, 7, 9, 9)
    mask = mask_of(36, 36, (12, 24, 8, 20))
    got = patch_swap(features, mask, keys=keys, guard=1)
    expected = swap_batch(
        features.double().numpy(), mask.double().numpy(), keys=keys.double().numpy(), guard=1
    )
    torch.testing.assert_close(got.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    assert not torch.equal(got, patch_swap(features, mask, guard=1))


def test_gradients_reach_the_copied_values() -> None:
    features = features_of(0, 1, 2, 6, 7).double().requires_grad_()
    mask = mask_of(6, 7, (2, 4, 2, 4))
    indices = match_patches(features, mask)
    assert torch.autograd.gradcheck(lambda x: paste_patches(x, indices, mask), features)

    pasted = paste_patches(features, indices, mask)
    (gradient,) = torch.autograd.grad((pasted * mask).sum(), features)
    # What was in the hole is gone; each of the 4 cells x 2 channels is a mean of copies.
    assert (gradient * mask).abs().max() == 0
    assert gradient.sum() == pytest.approx(4 * 2)


def test_a_cell_with_any_hole_pixel_is_hole() -> None:
    mask = mask_of(8, 12, (3, 5, 11, 12))
    cells = hole_cells(mask, 2, 3)
    assert cells[0, 0].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert torch.equal(hole_cells(mask, 8, 12), mask)


@pytest.mark.parametrize("size", [(33, 32), (32, 64), (4, 4), (16, 16)])
def test_refuses_a_mask_that_does_not_fit(size: tuple[int, int]) -> None:
    features = features_of(0, 1, 2, 8, 8)
    if size == (16, 16):
        features = features_of(0, 1, 2, 8, 6)
    with pytest.raises(ValueError, match="whole multiple"):
        patch_swap(features, torch.zeros(1, 1, *size))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_compared_in_float32_and_copied_as_they_are(dtype: torch.dtype) -> None:
    features = features_of(0, 1, 5, 10, 12).to(dtype)
    mask = mask_of(40, 48, (12, 24, 12, 28))
    indices = match_patches(features, mask)
    assert torch.equal(indices, match_patches(features.float(), mask))
    got = paste_patches(features, indices, mask)
    assert got.dtype == dtype
    # A mean of nine is rounded once.
    expected = paste_patches(features.double(), indices, mask).to(dtype)
    torch.testing.assert_close(got, expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_answer_lies_in_memory_as_the_features_do(layout: torch.memory_format) -> None:
    features = features_of(0, 2, 5, 9, 11).contiguous(memory_format=layout)
    mask = mask_of(9, 11, (2, 6, 3, 8)).expand(2, -1, -1, -1)
    got = patch_swap(features, mask)
    assert got.stride() == features.stride()
    assert torch.equal(got, patch_swap(features.contiguous(), mask))


def test_cells_that_no_window_covers_keep_what_they_hold() -> None:
    features = features_of(0, 1, 3, 6, 6)
    features[..., 0, 0] = torch.inf
    mask = mask_of(6, 6, (2, 4, 2, 5))
    indices = torch.full((1, 4, 4), -1)
    indices[0, 1, 1] = 3
    got = paste_patches(features, indices, mask)
    expected = features.clone()
    expected[..., 2:4, 2:4] = features[..., 1:3, 4:6]
    assert torch.equal(got, expected)


def test_refuses_a_map_smaller_than_a_patch() -> None:
    with pytest.raises(ValueError, match="3x3"):
        match_patches(torch.zeros(1, 2, 2, 5), torch.zeros(1, 1, 8, 20))


@pytest.fixture
def untyped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the shape checks that only tests have."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("untyped")
def test_refuses_shapes_that_disagree() -> None:
    features, mask = features_of(0, 2, 3, 8, 9), torch.zeros(2, 1, 8, 9)
    indices = torch.full((2, 6, 7), -1)
    for wrong in (mask[:1], mask[:, 0], mask.expand(2, 3, 8, 9)):
        with pytest.raises(
            ValueError, match=r"mask is .* features 2x3x8x9: give a mask of 2x1xHxW"
        ):
            match_patches(features, wrong)
        with pytest.raises(ValueError, match="mask is "):
            paste_patches(features, indices, wrong)
    with pytest.raises(ValueError, match="keys are 2x5x16x18 and features 2x3x8x9"):
        patch_swap(features, torch.zeros(2, 1, 16, 18), keys=features_of(0, 2, 5, 16, 18))
    for wrong in (indices[:1], indices[0], indices[:, :, 1:]):
        with pytest.raises(ValueError, match=r"init are .* give 2x6x7"):
            match_patches(features, mask, init=wrong)
        with pytest.raises(ValueError, match=r"indices are .* give 2x6x7"):
            paste_patches(features, wrong, mask)


def test_refuses_a_guard_of_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="guard=-1"):
        match_patches(features_of(0, 1, 2, 8, 8), torch.zeros(1, 1, 8, 8), guard=-1)


def test_a_mask_may_be_of_booleans() -> None:
    features, mask = features_of(0, 1, 3, 8, 8), mask_of(32, 32, (8, 20, 12, 20))
    assert torch.equal(patch_swap(features, mask > 0), patch_swap(features, mask))
    small = mask_of(8, 8, (2, 5, 3, 5))
    assert torch.equal(patch_swap(features, small > 0), patch_swap(features, small))
