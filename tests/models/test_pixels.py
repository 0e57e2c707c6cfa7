"""Pixels and tensors: every value comes back, and the layout is the one convention."""

import numpy as np
import torch

from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image


def test_every_value_comes_back() -> None:
    pixels = np.arange(256 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)
    assert np.array_equal(tensor_to_image(image_to_tensor(pixels)), pixels)


def test_layout_and_range() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[1, 2] = (255, 51, 0)
    tensor = image_to_tensor(pixels)
    assert tensor.shape == (1, 3, 2, 3)
    torch.testing.assert_close(tensor[0, :, 1, 2], torch.tensor([1.0, 0.2, 0.0]))


def test_values_are_rounded_and_clipped() -> None:
    tensor = torch.tensor([-1.0, 0.4 / 255, 254.6 / 255, 2.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert tensor_to_image(tensor)[..., 0].tolist() == [[0, 0], [255, 255]]


def test_true_is_one() -> None:
    mask = mask_to_tensor(np.array([[True, False]]))
    assert mask.tolist() == [[[[1.0, 0.0]]]]
