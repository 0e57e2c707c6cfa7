"""Holes filled with copied pixels: textures go on exactly, at every place and size of a hole."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.match.pixel_synthesis import search_pixels
from tests.models.match.patterns import checker, guided, off_by, stripes
from tests.models.match.test_patch_swap import Box, mask_of


def fill(image: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
    """From a blurred guide; what every fill keeps is checked."""
    begun = guided(image, mask)
    found, sources = search_pixels(begun, mask, seed=seed)
    hole = mask.expand_as(image) > 0
    assert found.shape == image.shape
    assert torch.equal(found[~hole], image[~hole])
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert_sources(sources, mask)
    filled: Tensor = found
    return filled


def assert_sources(sources: Tensor, mask: Tensor) -> None:
    """Where something is copied it is a known pixel, and every hole pixel is copied."""
    height, width = mask.shape[-2:]
    assert sources.shape == (1, height, width)
    assert sources.dtype == torch.int32
    flat = mask.flatten() > 0
    known = sources[sources >= 0].long()
    assert known.max() < height * width
    assert not flat[known].any()


BOXES: dict[str, Box] = {
    "middle": (36, 92, 36, 92),
    "left": (40, 88, 0, 30),
    "right": (40, 88, 98, 128),
    "bottom": (98, 128, 40, 88),
    "corner": (0, 30, 0, 30),
    "other corner": (90, 128, 90, 128),
    "from edge to edge": (50, 80, 0, 128),
    "a pixel at the corner": (127, 128, 127, 128),
    "three from the edge": (60, 70, 115, 125),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("draw", [checker, stripes], ids=["checker", "stripes"])
def test_a_texture_that_repeats_goes_on(draw: Callable[[int, int], Tensor], box: Box) -> None:
    image, mask = draw(128, 128), mask_of(128, 128, box)
    assert off_by(fill(image, mask), image, mask) < 0.01
