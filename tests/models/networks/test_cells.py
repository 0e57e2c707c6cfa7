"""Pixels behind features: each under its cell, and back to the bit."""

import torch

from kintsugi.models.networks.cells import append_pixels, features_of, pixels_of


def test_each_cell_has_its_own_pixels_and_they_come_back() -> None:
    features, image = torch.rand(2, 256, 3, 5), torch.rand(2, 3, 12, 20)
    cells = append_pixels(features, image)
    assert cells.shape == (2, 304, 3, 5)
    assert torch.equal(features_of(cells), features)
    assert torch.equal(features_of(features), features)
    assert torch.equal(pixels_of(cells), image)
    moved = cells.roll(1, dims=3)
    assert torch.equal(pixels_of(moved), image.roll(4, dims=3))
