"""An initial fill of a hole whose colours a small network predicts; knows no other network.

Beyond the paper. It works at a quarter of the resolution, which is enough for the colours of a
hole as a whole. That takes a few hundredths of the work of G1 and its perceptual loss, so a
short training sees many times as many photographs. The network adds to the smooth fill
(`kintsugi.models.networks.smooth_fill`); untrained it adds nothing.

Pictures look alike at all sizes, so the same network fills at half the resolution, too. There
it sees less far and more finely, which is better near the hole's edge.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.models.networks.depth import depth_in
from kintsugi.models.networks.smooth_fill import smooth_fill

# Pixels a side that are one of the network's, as it is trained, and near the hole's edge.
FILL_STRIDE = 4
FINE_STRIDE = 2
# From the edge on the fine fill gives way to the other; so deep inside nothing is left of it.
FINE_PIXELS = 32
# How much of a pixel of the network must be known; with less it is hole, and filled smoothly.
_LEAST_KNOWN = 0.25
_NORM_GROUPS = 8
# Dilations of the blocks at the lowest resolution; the second and third see far.
_DILATIONS = (1, 2, 4, 1)


class FillNetwork(nn.Module):
    """What every initial fill network has: it adds a correction to the smooth fill.

    A subclass gives ``_correction``. ``end`` is its last convolution: where that is zero, the
    network is the smooth fill.
    """

    end: nn.Conv2d

    def forward(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 H/4 W/4"]:
        """The shrunk image with its hole filled; about 0-1.

        Args:
            image: RGB 0-1, sides multiples of 8; what it holds inside the hole is not looked
                at, be it NaN.
            mask: 1 = hole.
        """
        smooth, correction = self._at(FILL_STRIDE, image, mask)
        return smooth + correction

    def fill(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        """The whole image with its hole filled, 0-1; equal to ``image`` where the mask is 0."""
        coarse, fine = (
            F.interpolate(self._at(stride, image, mask)[1], scale_factor=stride, mode="bilinear")
            for stride in (FILL_STRIDE, FINE_STRIDE)
        )
        depth = depth_in(F.max_pool2d(mask, FINE_STRIDE), FINE_PIXELS // FINE_STRIDE)
        depth = F.interpolate(depth, scale_factor=FINE_STRIDE, mode="bilinear")
        smooth = smooth_fill(image, mask)
        filled = smooth + mask * torch.lerp(fine, coarse, depth)
        return torch.where(mask == 0, smooth, filled.clamp(0, 1))

    def _at(self, stride: int, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The smooth fill of the image shrunk by ``stride``, and what is added to it."""
        smooth = shrunk(image, mask, stride)
        return smooth, self._correction(smooth, F.avg_pool2d(mask, stride))

    def _correction(
        self, smooth: Float[Tensor, "B 3 h w"], share: Float[Tensor, "B 1 h w"]
    ) -> Float[Tensor, "B 3 h w"]:
        """What is added to a shrunk smooth fill, of whose pixels that share is hole."""
        raise NotImplementedError


class FillPredictor(FillNetwork):
    """A U-Net of three levels over the shrunk image, group norm, GELU, residual blocks.

    It sees the image with a smooth fill, and how much of each pixel is hole, four pixels at a
    time in as many channels.

    Args:
        widths: Channels at an eighth, a sixteenth and a thirty-second of the image's sides;
            multiples of 8.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        first, *_, last = widths
        levels = list(pairwise(widths))
        self.start = nn.Conv2d(4 * 4, first, 3, padding=1)
        self.before = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in levels)
        self.middle = nn.Sequential(*(_Block(last, dilation=dilation) for dilation in _DILATIONS))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in levels)
        self.after = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.end = nn.Conv2d(first, 3 * 4, 3, padding=1)

    def _correction(
        self, smooth: Float[Tensor, "B 3 h w"], share: Float[Tensor, "B 1 h w"]
    ) -> Float[Tensor, "B 3 h w"]:
        correction: Tensor = F.pixel_shuffle(self.end(self.features(smooth, share)), 2)
        return correction.float()

    def features(
        self, smooth: Float[Tensor, "B 3 h w"], share: Float[Tensor, "B 1 h w"]
    ) -> Float[Tensor, "B C h/2 w/2"]:
        """What ``end`` sees of a shrunk smooth fill, of whose pixels that share is hole."""
        seen = torch.cat([2 * smooth - 1, share], 1)
        x: Tensor = self.start(F.pixel_unshuffle(seen, 2))
        skipped = []
        for block, down in zip(self.before, self.down, strict=True):
            x = block(x)
            skipped.append(x)
            x = down(x)
        x = self.middle(x)
        for block, up, skip in reversed(list(zip(self.after, self.up, skipped, strict=True))):
            # Where a side is odd, the enlarged map has one row more.
            x = block(F.interpolate(up(x), size=skip.shape[-2:], mode="nearest") + skip)
        return x


class _Block(nn.Module):
    """Norm and two convolutions around a skip; the first is dilated."""

    def __init__(self, width: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(_NORM_GROUPS, width),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.body(x)
        return added


def shrunk(
    image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], stride: int = FILL_STRIDE
) -> Float[Tensor, "B 3 H/{stride} W/{stride}"]:
    """The image at a part of its sides with a smooth fill in its hole.

    Of pixels that are part of the hole only the known colours count.
    """
    known = F.avg_pool2d(1 - mask, stride)
    colours = F.avg_pool2d(torch.where(mask == 1, 0.0, image * (1 - mask)), stride)
    hole = (known < _LEAST_KNOWN).to(mask)
    return smooth_fill(colours / known.clamp_min(1e-6), hole)
