"""The plan of a fill: what is refused, crops, the walk over the scales, composing; no network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kintsugi.models.compose.colour import grow
from kintsugi.models.plan.fill_plan import (
    CropPlans,
    FillOptions,
    FillPlan,
    Mask,
    ScalePlan,
    _checked_mask,
    plan_fill,
)
from tests.models.match.test_patch_swap import mask_of

AS_FILLED = FillOptions(align_colour=False)


def photo(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def plan_one(image: Tensor, mask: Mask, options: FillOptions = FillOptions()) -> ScalePlan:
    """The plan of a photograph that is filled in one crop."""
    (plan,) = plan_fill(image, mask, options).crops
    return plan


def pasted(image: Tensor, plan: ScalePlan, filled: Tensor) -> Tensor:
    """The photograph once one crop is filled."""
    answer = image.clone()
    plan.paste(answer, filled)
    return answer


def pasted_levels(plan: FillPlan, levels: list[float]) -> Tensor:
    """The photograph with each crop's fill of one grey."""
    answer = plan.image.clone()
    for crop, level in zip(plan.crops, levels, strict=True):
        crop.paste(answer, torch.full_like(crop.work, level))
    return answer


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


@pytest.mark.parametrize("size", [(1, 5), (37, 50), (64, 64), (300, 1000), (700, 530)])
@pytest.mark.parametrize("options", [AS_FILLED, replace(AS_FILLED, grow_mask=1, feather=3)])
def test_pasting_keeps_the_rest_to_the_bit(size: tuple[int, int], options: FillOptions) -> None:
    image = photo(*size)
    mask = mask_of(*size, (0, max(1, size[0] // 3), 1, 3))
    plan = plan_one(image, mask, options)
    answer = pasted(image, plan, torch.full_like(plan.work, 0.25))
    touched = grow(mask, options.grow_mask + options.feather).expand_as(image) > 0
    assert torch.equal(answer[~touched], image[~touched])
    hole = grow(mask, options.grow_mask).expand_as(image) > 0
    assert (answer[hole] == 0.25).all()
    if options.feather == 0:
        assert torch.equal(answer[~hole], image[~hole])


def test_the_first_scale_has_no_hole_content_and_the_next_the_last_result() -> None:
    image, mask = photo(512, 512), mask_of(512, 512, (200, 300, 100, 400))
    plan = plan_one(image, mask, AS_FILLED)
    first, first_mask = plan.inputs(0, None)
    assert first.shape[-2:] == plan.sizes[0] == (256, 256)
    assert (first * first_mask == 0).all()
    second, second_mask = plan.inputs(1, torch.full((1, 3, 256, 256), 0.75))
    assert torch.equal(second_mask, mask)
    assert torch.equal(second * (1 - mask), image * (1 - mask))
    torch.testing.assert_close(second * mask, 0.75 * mask.expand_as(image))


def test_up_sampling_does_not_overshoot() -> None:
    plan = plan_one(photo(512, 512), mask_of(512, 512, (0, 500, 0, 500)), FillOptions())
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
        plan_one(photo(*image_size), mask_of(8, 8, box), options)


@pytest.mark.slow
def test_distant_holes_are_filled_one_crop_after_another() -> None:
    image = photo(1200, 1200)
    mask = mask_of(1200, 1200, (10, 40, 10, 40), (1100, 1150, 1100, 1150))
    plan = plan_fill(image, mask, replace(AS_FILLED, feather=8))
    assert [crop.crop for crop in plan.crops] == [(0, 512, 0, 512), (688, 1200, 688, 1200)]
    answer = pasted_levels(plan, [0.25, 0.25])
    assert (answer[mask.expand_as(image) > 0] == 0.25).all()
    untouched = grow(mask, 8).expand_as(image) == 0
    assert torch.equal(answer[untouched], image[untouched])
    assert plan.image is image


@pytest.mark.parametrize("feather", [0, 20])
@pytest.mark.slow
def test_every_hole_in_sight_is_a_hole_and_only_a_crops_own_are_filled(
    feather: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Scratches so long that they are parted: parts see one another's holes.
    monkeypatch.setattr("kintsugi.models.plan.crops.LARGEST_CROP", 512 * 512)
    monkeypatch.setattr("kintsugi.models.plan.crops.PART", 400)
    image = photo(700, 1100)
    mask = mask_of(700, 1100, (350, 360, 0, 1100), (0, 700, 550, 558))
    plan = plan_fill(image, mask, replace(AS_FILLED, feather=feather))
    assert len(plan.crops) == 4
    for crop in plan.crops:
        top, bottom, left, right = crop.crop
        here = mask[..., top:bottom, left:right]
        assert torch.equal(crop.hole[..., : bottom - top, : right - left], here)
        first, hole = crop.inputs(len(crop.sizes) - 1, None)
        assert (first * hole == 0).all()
        assert ((crop.alpha == 1) <= (here == 1)).all()
    # Every hole pixel is fill, of one crop or a blend of two, and nothing of what was there.
    levels = [0.1 * (number + 1) for number in range(len(plan.crops))]
    answer = pasted_levels(plan, levels)
    spoilt = pasted_levels(
        plan_fill(image + 1e6 * mask, mask, replace(AS_FILLED, feather=feather)), levels
    )
    assert torch.equal(answer, spoilt)
    inside = answer[mask.expand_as(image) > 0]
    assert inside.min() >= 0.1 - 1e-6
    assert inside.max() <= 0.4 + 1e-6
    untouched = grow(mask, feather).expand_as(image) == 0
    assert torch.equal(answer[untouched], image[untouched])


@pytest.mark.parametrize(
    "options",
    [FillOptions(), FillOptions(feather=9), FillOptions(align_colour=False)],
)
@pytest.mark.parametrize("size", [(512, 512), (500, 390)])
def test_what_is_not_needed_does_not_matter(size: tuple[int, int], options: FillOptions) -> None:
    image = photo(*size)
    plan = plan_one(image, mask_of(*size, (200, 300, 100, 350)), options)
    previous, last = (photo(*size_) for size_ in plan.sizes)
    spoilt = previous.where(plan.needed(0) > 0, 0.77)
    assert not torch.equal(spoilt, previous)
    assert torch.equal(plan.inputs(1, spoilt)[0], plan.inputs(1, previous)[0])
    spoilt = last.where(plan.needed(1) > 0, 0.77)
    assert not torch.equal(spoilt, last)
    assert torch.equal(pasted(image, plan, spoilt), pasted(image, plan, last))


def test_colours_are_aligned_unless_they_shall_not() -> None:
    image, mask = torch.full((1, 3, 128, 128), 0.4), mask_of(128, 128, (40, 80, 40, 80))
    off = image + 0.1
    inside = mask.expand_as(image) > 0
    plain, aligned = (
        pasted(image, plan_one(image, mask, FillOptions(align_colour=align)), off)
        for align in (False, True)
    )
    assert torch.equal(plain[inside], off[inside])
    torch.testing.assert_close(aligned, image, atol=3e-3, rtol=0)
    by_default = pasted(image, plan_one(image, mask, FillOptions()), off)
    assert torch.equal(by_default, aligned)
    assert torch.equal(aligned[~inside], image[~inside])


@pytest.mark.slow
def test_fine_holes_everywhere_are_not_first_seen_from_afar() -> None:
    # At an eighth every pixel covers a speck, and nothing is known.
    mask = torch.zeros(1, 1, 2048, 2048)
    mask[..., ::8, ::8] = 1
    plan = plan_one(photo(2048, 2048), mask, FillOptions())
    assert plan.sizes == [(512, 512), (1024, 1024), (2048, 2048)]
    assert len(plan_one(photo(2048, 2048), mask, FillOptions(scales=4)).sizes) == 4
    # However much of the picture a compact hole takes.
    large = mask_of(2048, 2048, (100, 2000, 100, 2000))
    assert len(plan_one(photo(2048, 2048), large, FillOptions()).sizes) == 4


@pytest.mark.parametrize("size", [(1, 2), (64, 4096), (4096, 64), (3, 3000)])
def test_any_shape_is_planned(size: tuple[int, int]) -> None:
    image, mask = photo(*size), torch.zeros(1, 1, *size)
    mask[..., 0, 0] = 1
    for plan in plan_fill(image, mask, FillOptions(feather=5)).crops:
        previous = None
        for level, (height, width) in enumerate(plan.sizes):
            inputs, hole = plan.inputs(level, previous)
            assert inputs.shape == (1, 3, height, width)
            assert hole.any()
            assert not hole.all()
            previous = inputs
        assert previous is not None
        plan.paste(image.clone(), previous)


def test_one_pixel_has_nothing_to_fill_from() -> None:
    with pytest.raises(ValueError, match="covers the whole image"):
        plan_fill(photo(1, 1), torch.ones(1, 1, 1, 1), FillOptions())


@pytest.mark.slow
@pytest.mark.parametrize("size", [(12, 200_000), (64, 20_000)])
def test_a_band_is_first_seen_in_a_size_that_g1_takes(size: tuple[int, int]) -> None:
    # Thick, so not parted; in a picture too narrow to be halved with its aspect.
    mask = torch.zeros(1, 1, *size)
    mask[..., : size[0] - 4, :] = 1
    for crop in plan_fill(torch.zeros(1, 3, *size), mask, FillOptions()).crops:
        height, width = crop.sizes[0]
        assert height * width <= 1024 * 1024
        assert crop.inputs(0, None)[0].shape[-2:] == (height, width)


def test_plans_are_made_when_asked_for_and_refusals_come_at_once() -> None:
    image = photo(1200, 1200)
    mask = mask_of(1200, 1200, (10, 40, 10, 40), (1100, 1150, 1100, 1150))
    crops = plan_fill(image, mask, FillOptions()).crops
    assert isinstance(crops, CropPlans)
    assert crops[0] is not crops[0]
    assert [plan.crop for plan in crops[1:]] == [crops[-1].crop] == [(688, 1200, 688, 1200)]
    assert len(list(crops)) == len(crops) == 2
    with pytest.raises(ValueError, match="scales=5 would start at 32 px"):
        plan_fill(image, mask, FillOptions(scales=5))


@pytest.mark.parametrize("worst", [float("nan"), float("inf")])
@pytest.mark.parametrize("options", [FillOptions(feather=40), FillOptions(align_colour=False)])
@pytest.mark.slow
def test_what_is_in_the_hole_does_not_matter_be_it_nan(worst: float, options: FillOptions) -> None:
    image = photo(600, 1300)
    mask = mask_of(600, 1300, (200, 260, 200, 300), (300, 340, 1000, 1010))
    answers = []
    for given in (image, image.where(mask == 0, worst)):
        plan = plan_fill(given, mask, options)
        answer = plan.image.clone()
        for crop in plan.crops:
            previous = None
            for level in range(len(crop.sizes)):
                previous, _ = crop.inputs(level, previous)
            assert previous is not None
            crop.paste(answer, previous)
        answers.append(answer)
    assert answers[1].isfinite().all()
    assert torch.equal(*answers)


def test_a_bool_mask_is_a_mask() -> None:
    image, mask = photo(80, 90), mask_of(80, 90, (10, 30, 10, 30))
    plan, same = (plan_one(image, given, FillOptions()) for given in (mask, mask > 0))
    assert torch.equal(plan.hole, same.hole)
    assert same.hole.dtype == torch.float32


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (photo(8, 8), torch.eye(8)[None, None] * 255, "values of 0 to 255: .*divide by 255"),
        (photo(8, 8), -torch.eye(8)[None, None], "values of -1 to "),
        (photo(8, 8), torch.full((1, 1, 8, 8), torch.nan), "values of nan to nan"),
        (photo(8, 8), torch.ones(1, 1, 8, 8, dtype=torch.uint8), "mask is torch.uint8: send bool"),
        (photo(8, 8).expand(2, 3, 8, 8), torch.ones(2, 1, 8, 8), "one photograph at a time"),
        (photo(8, 8), torch.ones(2, 1, 8, 8), r"mask is of shape \(2, 1, 8, 8\)"),
        (photo(8, 8)[:, :1], torch.ones(1, 1, 8, 8), "as 1 3 height width"),
    ],
)
def test_refuses_other_tensors(image: Tensor, mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _checked_mask(image, mask)
