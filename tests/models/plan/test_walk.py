"""The walk over a crop's scales: it begins with what the plan says and ends with the last fill."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.plan.fill_plan import FillOptions, ScalePlan
from kintsugi.models.plan.walk import ScaleFill, ScaleInput, walk_scales
from tests.models.match.test_patch_swap import mask_of
from tests.models.plan.test_fill_plan import photo, plan_one


def plan_of(scales: int) -> ScalePlan:
    image, mask = photo(280, 264), mask_of(280, 264, (60, 120, 80, 160))
    return plan_one(image, mask, FillOptions(scales=scales))


def fill_of(scale: ScaleInput) -> ScaleFill:
    """Another one at each scale."""
    image = torch.full_like(scale.image, 0.1 * (scale.level + 1))
    return ScaleFill(image, torch.tensor([scale.level]))


def walked(plan: ScalePlan) -> tuple[list[ScaleInput], list[ScaleFill], Tensor]:
    """What each scale began and ended with, and the end."""
    walk = walk_scales(plan)
    scales, fills = [next(walk)], [fill_of(ScaleInput(0, *plan.inputs(0, None), Tensor(), None))]
    for _ in range(len(plan.sizes) - 1):
        scales.append(walk.send(fills[-1]))
        fills.append(fill_of(scales[-1]))
    with pytest.raises(StopIteration) as end:
        walk.send(fills[-1])
    return scales, fills, end.value.value


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_scale_begins_as_the_plan_says(count: int) -> None:
    plan = plan_of(count)
    assert len(plan.sizes) == count
    scales, fills, _ = walked(plan)
    for level, scale in enumerate(scales):
        before = None if level == 0 else fills[level - 1].image
        image, mask = plan.inputs(level, before)
        assert scale.level == level
        assert tuple(scale.image.shape[-2:]) == plan.sizes[level]
        assert torch.equal(scale.image, image)
        assert torch.equal(scale.mask, mask)
        assert torch.equal(scale.needed, plan.needed(level))


def test_what_was_copied_goes_on_to_the_next_scale() -> None:
    scales, fills, _ = walked(plan_of(3))
    assert scales[0].previous is None
    assert scales[1].previous is fills[0].matches
    assert scales[2].previous is fills[1].matches


@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_ends_with_the_last_scales_image(count: int) -> None:
    _, fills, end = walked(plan_of(count))
    assert end is fills[-1].image
