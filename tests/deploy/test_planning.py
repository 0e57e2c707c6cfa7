"""kintsugi.deploy.planning: what becomes an answer is an image."""

import numpy as np
import pytest
import torch

from kintsugi.deploy.planning import finite_image


def test_an_answer_of_no_numbers_is_no_image() -> None:
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert finite_image(image).shape == (8, 8, 3)
    assert finite_image(image).dtype == np.uint8
    for value in (float("nan"), float("inf")):
        image[0, 1, 2, 3] = value
        with pytest.raises(FloatingPointError, match="no numbers"):
            finite_image(image)
