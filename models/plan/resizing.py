"""A photograph and its hole at another size, or padded; knows no plan and no network's weights."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.networks.image2feature import GENERATOR_STRIDE

# G1's bottleneck needs more than two cells a side for its reflection padding.
SMALLEST_SIDE = 64


def shrink(
    image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], height: int, width: int
) -> tuple[Float[Tensor, "B 3 h w"], Float[Tensor, "B 1 h w"]]:
    """Image and mask at another size; the hole's content does not leak into known pixels.

    A pixel that covers any hole pixel is hole, and 0. Known pixels are the mean of the pixels
    that they cover. At the same size the known pixels are bit-equal.

    Args:
        image: 0-1; anything in the hole, be it NaN.
        mask: 1 = hole, else 0.
        height, width: In pixels.
    """
    if image.shape[-2:] == (height, width):
        return _without_hole(image, mask), mask
    # Both pool over the same pixels: where the mask is 0 afterwards, all of them are known.
    small_mask = F.adaptive_max_pool2d(mask, (height, width))
    small = F.interpolate(image, size=(height, width), mode="area")
    return _without_hole(small, small_mask), small_mask


def _without_hole(image: Tensor, mask: Tensor) -> Tensor:
    # Not by the product alone: nothing times NaN is NaN.
    return torch.where(mask == 1, 0.0, image * (1 - mask))


def padded(part: Float[Tensor, "1 C H W"]) -> Float[Tensor, "1 C h w"]:
    """The part mirrored up to whole cells; the part itself where nothing is missing."""
    for axis in (2, 3):
        indices = padded_range(part.shape[axis], GENERATOR_STRIDE, SMALLEST_SIDE)
        if len(indices) > part.shape[axis]:
            part = part.index_select(axis, indices.to(part.device))
    return part


def padded_range(side: int, multiple: int, smallest: int) -> Int64[Tensor, " n"]:
    """Indices that pad a side by mirroring, as often as needed, to a multiple of ``multiple``.

    Example: side 5, multiple 8 -> 0 1 2 3 4 3 2 1. A side of one pixel repeats it.
    """
    length = padded_side(side, multiple, smallest)
    if side == 1:
        return torch.zeros(length, dtype=torch.int64)
    period = 2 * (side - 1)
    position = torch.arange(length) % period
    return torch.minimum(position, period - position)


def padded_side(side: int, multiple: int = GENERATOR_STRIDE, smallest: int = SMALLEST_SIDE) -> int:
    """A side's length in pixels once padded; by default to what the networks take."""
    return max(smallest, math.ceil(side / multiple) * multiple)
