"""The patch discriminator of the initial fill: does the hole of this small image look real?

Beyond the paper. It judges at the fill's own resolution. It sees the image and the hole's mask,
so also the edge where both meet, and the maps of a frozen encoder. Such maps let a discriminator
judge contents from its first steps on (Sauer et al. 2021, "Projected GANs converge faster").
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.models.networks.layers import normalise_spectrally
from kintsugi.models.networks.vgg import PYRAMID_CHANNELS

# Pixels a side of one logit, and of one logit that sees far.
LOCAL_STRIDE = 4
WIDE_STRIDE = 8
_SLOPE = 0.2


class DiscriminatorOutput(NamedTuple):
    """What a discriminator says of an image.

    Attributes:
        logits: One per patch, positive = real: B 1 h/4 w/4, and B 1 h/8 w/8 of patches that
            see four times as far.
        activations: The activations of its layers after each activation, from fine to coarse.
    """

    logits: tuple[Tensor, Tensor]
    activations: tuple[Tensor, ...]


class FillDiscriminator(nn.Module):
    """Two grids of patches over a small image, its mask and an encoder's maps.

    Every convolution has a spectral norm (Miyato et al. 2018).

    Args:
        width: Channels of the first block.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        _, middle, deep = PYRAMID_CHANNELS
        joined = 4 * width
        self.first = nn.Conv2d(4, width, 3, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 4, stride=2, padding=1)
        self.third = nn.Conv2d(2 * width, joined, 4, stride=2, padding=1)
        self.from_middle = nn.Conv2d(middle, joined, 4, stride=2, padding=1)
        self.from_deep = nn.Conv2d(deep, joined, 1)
        self.mix = nn.Conv2d(joined, joined, 3, padding=1)
        self.local = nn.Conv2d(joined, 1, 3, padding=1)
        self.fourth = nn.Conv2d(joined, joined, 4, stride=2, padding=1)
        self.spread = nn.Conv2d(joined, joined, 3, padding=2, dilation=2)
        self.wide = nn.Conv2d(joined, 1, 3, padding=1)
        normalise_spectrally(self)

    def forward(
        self,
        image: Float[Tensor, "B 3 h w"],
        share: Float[Tensor, "B 1 h w"],
        pyramid: Sequence[Tensor],
    ) -> DiscriminatorOutput:
        """Judge an image whose hole was filled, or a real one with the same hole.

        Args:
            image: RGB 0-1, sides multiples of 8.
            share: How much of each pixel is hole, 0-1.
            pyramid: The image's maps by `kintsugi.models.networks.vgg.Vgg19Relu3.pyramid`.
        """
        fine = _leaky(self.first(torch.cat([image * 2 - 1, share], 1)))
        half = _leaky(self.second(fine))
        _, middle, deep = pyramid
        quarter = _leaky(
            self.third(half)
            + self.from_middle(_compressed(middle))
            + self.from_deep(_compressed(deep))
        )
        mixed = _leaky(self.mix(quarter))
        eighth = _leaky(self.fourth(mixed))
        spread = _leaky(self.spread(eighth))
        logits = self.local(mixed).float(), self.wide(spread).float()
        return DiscriminatorOutput(logits, (half, quarter, mixed, eighth, spread))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def _compressed(features: Tensor) -> Tensor:
    """An encoder's activations reach far above 1; their logarithm is of an image's range."""
    return torch.log1p(features)
