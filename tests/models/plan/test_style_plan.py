"""Sizes and tiles of a style transfer: every pixel once in all, and joins that fade."""

import itertools

import pytest
import torch

from kintsugi.models.plan.style_plan import (
    STYLE_SIDE,
    TILE_OVERLAP,
    TILE_SIDE,
    StylePlan,
    plan_style,
    prepare_style,
)


def photo(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


STYLE = photo(16, 16)


def walk(plan: StylePlan) -> torch.Tensor:
    """A transfer whose networks change nothing."""
    canvas = plan.canvas()
    for box in plan.boxes:
        plan.paste(canvas, box, plan.tile(box))
    return canvas


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (64, 64), (1024, 17), (1000, 1024)])
def test_small_content_is_one_tile_and_comes_back_to_the_bit(size: tuple[int, int]) -> None:
    content = photo(*size)
    plan = plan_style(content, STYLE, 1.0)
    assert plan.boxes == [(0, size[0], 0, size[1])]
    height, width = plan.tile(plan.boxes[0]).shape[-2:]
    assert (height % 8, width % 8) == (0, 0)
    assert min(height, width) >= 64
    assert torch.equal(walk(plan), content)


@pytest.mark.parametrize("side", [1025, 1031, 1920, 1921, 2816, 2817, 4096, 5001, 20_000])
def test_tiles_of_a_long_side(side: int) -> None:
    content = photo(3, side)
    plan = plan_style(content, STYLE, 1.0)
    spans = [(left, right) for _, _, left, right in plan.boxes]
    assert (spans[0][0], spans[-1][1]) == (0, side)
    for (_, before), (start, stop) in itertools.pairwise(spans):
        assert start % 8 == 0
        assert stop - start <= TILE_SIDE
        assert before - start >= TILE_OVERLAP - 8
    # Nearly as many as fit, and nearly equal.
    assert len(spans) * (TILE_SIDE - TILE_OVERLAP) < side + TILE_SIDE
    torch.testing.assert_close(walk(plan), content)


def test_tiles_of_both_axes_fade_into_each_other() -> None:
    plan = plan_style(torch.zeros(1, 3, 1100, 1300), STYLE, 1.0)
    assert len(plan.boxes) == 4
    canvas = plan.canvas()
    for value, box in enumerate(plan.boxes):
        plan.paste(canvas, box, torch.full_like(plan.tile(box), float(value)))
    assert (canvas[..., 0, 0].unique(), canvas[..., -1, -1].unique()) == (0, 3)
    for axis, step in ((3, 1), (2, 2)):
        difference = canvas.diff(dim=axis)
        assert (difference > -1e-5).all()
        assert difference.max() <= 1.01 * step / 64


def test_the_outer_pixels_of_a_tile_do_not_count() -> None:
    plan = plan_style(torch.ones(1, 3, 8, 1500), STYLE, 1.0)
    left, right = (torch.ones_like(plan.tile(box)) for box in plan.boxes)
    width = plan.boxes[0][3]
    left[..., width - 20 :] = 1e9
    right[..., :20] = 1e9
    canvas = plan.canvas()
    for box, image in zip(plan.boxes, (left, right), strict=True):
        plan.paste(canvas, box, image)
    torch.testing.assert_close(canvas, torch.ones_like(canvas))


@pytest.mark.slow
def test_the_style_is_prepared_as_content_is_unless_it_is_large() -> None:
    for size in ((16, 16), (100, 130), (512, 512), (256, 1024)):
        style = photo(*size)
        plan = plan_style(style, style, 1.0)
        assert torch.equal(plan.style, plan.tile(plan.boxes[0]))
    for size in ((513, 512), (700, 700), (4000, 3000), (20, 90_000)):
        style = photo(*size)
        height, width = prepare_style(style).shape[-2:]
        # Nearly all of the area, of which nothing is left over.
        assert 0.95 * STYLE_SIDE**2 <= height * width <= STYLE_SIDE**2
        assert abs(prepare_style(style).mean() - style.mean()) < 0.01


@pytest.mark.parametrize("length", [4096, 4097, 300_000])
def test_of_a_long_strip_the_middle_is_the_style(length: int) -> None:
    style = torch.zeros(1, 3, 16, length)
    style[..., (length - 4096) // 2 : (length + 4096) // 2] = 1
    for strip in (style, style.mT):
        prepared = prepare_style(strip)
        assert sorted(prepared.shape[-2:]) == [64, 4096]
        assert (prepared == 1).all()


def test_refuses_a_wrong_strength_and_a_style_without_texture() -> None:
    with pytest.raises(ValueError, match="at least 16x16"):
        plan_style(STYLE, photo(16, 15), 1.0)
    with pytest.raises(ValueError, match="choose 0"):
        plan_style(STYLE, STYLE, 2.0)
