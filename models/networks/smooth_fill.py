"""A smooth, cheap fill of a hole from the colours around it; knows no network.

Push-pull (Gortler et al. 1996, "The lumigraph", section 3.4): known colours are averaged
down a pyramid until no hole is left, and the pyramid is enlarged back into the hole. Each
level is then smoothed a few times, which brings it near the membrane that solving for
would cost much more.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

# What is taken where nothing at all is known.
MID_GREY = 0.5
# Per level. On 64 photographs of 128 px with a 48 px hole the hole's L1 was 14.0, 13.6, 13.3
# and 13.1 % with 0, 2, 4 and 8, at 1.5, 2.5, 4.3 and 7.9 ms (one thread).
_SMOOTHINGS = 4


def smooth_fill(
    image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 3 H W"]:
    """The image with its hole filled smoothly.

    Args:
        image: RGB 0-1, any sides; what it holds inside the hole is not looked at, be it NaN.
        mask: 1 = hole.

    Returns:
        RGB 0-1, bit-equal to ``image`` where the mask is 0; mid-grey in a photograph that
        is all hole.
    """
    known = 1 - mask
    # For every cell: how far it is known, 0-1, and its colour times that.
    levels = [(torch.where(mask == 1, 0.0, image * known), known)]
    while max(levels[-1][0].shape[-2:]) > 1:
        levels.append(_pulled(*levels[-1]))
    fill = torch.full_like(levels[-1][0], MID_GREY)
    for colours, known in reversed(levels):
        fill = colours + (1 - known) * _enlarged(fill, *colours.shape[-2:])
        for _ in range(_SMOOTHINGS):
            fill = colours + (1 - known) * _neighbours(fill)
    return torch.where(mask == 0, image, fill.clamp(0, 1))


def _pulled(colours: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The next level of the pyramid: of an odd side's last cells what there is of them."""
    colours, share = (F.avg_pool2d(part, 2, ceil_mode=True) for part in (colours, known))
    # A quarter known is known: where less was asked to count, the other side's colours, from
    # further off, came through to the edge of the hole.
    sure = (4 * share).clamp_max(1)
    return colours * (sure / share.clamp_min(1e-6)), sure


def _enlarged(fill: Tensor, height: int, width: int) -> Tensor:
    if fill.shape[-2:] == (height, width):
        return fill
    return F.interpolate(fill, scale_factor=2, mode="bilinear")[..., :height, :width]


def _neighbours(fill: Tensor) -> Tensor:
    """The mean of every cell and those around it; the frame's cells are repeated beyond it."""
    return F.avg_pool2d(F.pad(fill, (1, 1, 1, 1), mode="replicate"), 3, 1)
