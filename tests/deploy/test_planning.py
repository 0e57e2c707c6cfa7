"""kintsugi.deploy.planning: what becomes an answer is an image."""

import numpy as np
import pytest
import torch

from kintsugi.deploy.options import InpaintOptions
from kintsugi.deploy.planning import fill_options, finite_image, plan_photo
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image
from kintsugi.models.plan.fill_plan import plan_fill
from tests.deploy.conftest import draw_photo


def test_an_answer_of_no_numbers_is_no_image() -> None:
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert finite_image(image).shape == (8, 8, 3)
    assert finite_image(image).dtype == np.uint8
    for value in (float("nan"), float("inf")):
        image[0, 1, 2, 3] = value
        with pytest.raises(FloatingPointError, match="no numbers"):
            finite_image(image)


@pytest.mark.parametrize("options", [{}, {"feather": 40}, {"grow_mask": 9, "feather": 64}])
def test_pasted_crop_by_crop_as_into_one_float_image(options: dict[str, int]) -> None:
    """Crops whose feathers touch, and holes at the border: the same pixels to the bit."""
    pixels, mask = draw_photo(700, 2600), np.zeros((700, 2600), np.bool_)
    mask[10:200, 20:240] = mask[300:330, 1300:1331] = mask[600:, 2400:] = True
    mask[90:120, 680:700] = mask[500:520, 900:1000] = True
    asked = InpaintOptions(**options)
    whole = plan_fill(image_to_tensor(pixels), mask_to_tensor(mask), fill_options(asked))
    expected = whole.image.clone()
    plan = plan_photo(pixels, mask, asked, 256)
    assert len(plan) == len(whole.crops) > 1
    generator = torch.Generator().manual_seed(0)
    for one, other in zip(whole.crops, plan.crops(), strict=True):
        assert torch.equal(one.work, other.work)
        assert torch.equal(one.hole, other.hole)
        filled = torch.rand(one.work.shape, generator=generator)
        one.paste(expected, filled)
        plan.paste(other, filled)
    np.testing.assert_array_equal(plan.answer(), tensor_to_image(expected))
