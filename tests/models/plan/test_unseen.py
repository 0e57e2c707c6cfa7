"""What cannot be seen is neither filled from nor filled, and the cost stays that of the hole."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.plan.fill_plan import FillOptions, plan_fill


def scene(height: int = 96, width: int = 112) -> tuple[Tensor, Tensor, Tensor]:
    """A picture, a hole and a transparent part around a disc."""
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(1, 1, height, width)
    hole[..., 40:56, 48:64] = 1
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    unseen = ((rows - 48) ** 2 + (columns - 56) ** 2 > 36**2)[None, None]
    return image, hole, unseen


def test_what_is_under_the_transparency_changes_nothing() -> None:
    inpainter = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=0)
    image, hole, unseen = scene()
    other = torch.where(unseen, 1 - image, image)
    one, two = (
        inpainter.inpaint(each, hole, FillOptions(feather=8), unseen=unseen)
        for each in (image, other)
    )
    inside = hole.expand_as(one) > 0
    assert torch.equal(one[inside], two[inside])
    assert not torch.equal(
        inpainter.inpaint(image, hole)[inside], inpainter.inpaint(other, hole)[inside]
    )
    # Nothing is written where nothing is seen, also not by the feather.
    covered = unseen.expand_as(one)
    assert torch.equal(one[covered], image[covered])


def test_crops_are_those_of_the_hole() -> None:
    image, hole, unseen = scene(1200, 1600)
    plan = plan_fill(image, hole, FillOptions(), unseen=unseen)
    assert [crop.crop for crop in plan.crops] == [
        crop.crop for crop in plan_fill(image, hole, FillOptions()).crops
    ]
    assert plan.crops[0].hole.mean() > 0.9


def test_a_crop_grows_until_something_is_seen() -> None:
    image, hole, _ = scene(2000, 1600)
    unseen = torch.ones(1, 1, 2000, 1600, dtype=torch.bool)
    unseen[..., 1500:1600, :] = False
    (crop,) = plan_fill(image, hole, FillOptions(), unseen=unseen).crops
    assert crop.crop[1] > 1500
    with pytest.raises(ValueError, match="all that is known is transparent"):
        plan_fill(image, hole, FillOptions(), unseen=torch.ones_like(unseen))
