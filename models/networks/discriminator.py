"""The two PatchGAN discriminators: D1 judges image pairs, D2 a feature map with its image."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kintsugi.models.networks.layers import ConvBlock, normalise_spectrally
from kintsugi.models.networks.vgg import FEATURE_CHANNELS

# Batch norm on some blocks, as published, or a spectral norm on every convolution instead.
DiscriminatorNorm = Literal["batch", "spectral"]


class PairDiscriminator(nn.Module):
    """D1: does this image belong to this incomplete one? (paper section 3.2)

    The 70x70 PatchGAN of pix2pix on the two images joined along their channels; batch
    norm on all blocks but the first and the last, or a spectral norm on each of them.
    ``width`` is the first block's channels.
    """

    def __init__(self, width: int, *, norm: DiscriminatorNorm = "batch") -> None:
        super().__init__()
        batch = norm == "batch"
        self.body = nn.Sequential(
            ConvBlock(6, width, kernel=4, stride=2, norm=False, activation=_leaky()),
            ConvBlock(width, 2 * width, kernel=4, stride=2, norm=batch, activation=_leaky()),
            ConvBlock(2 * width, 4 * width, kernel=4, stride=2, norm=batch, activation=_leaky()),
            ConvBlock(4 * width, 8 * width, kernel=4, stride=1, norm=batch, activation=_leaky()),
            ConvBlock(8 * width, 1, kernel=4, stride=1, norm=False),
        )
        if norm == "spectral":
            normalise_spectrally(self)

    def forward(
        self, condition: Float[Tensor, "B 3 H W"], image: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, "B 1 p q"]:
        """Args: ``condition``: the incomplete image, hole 0; ``image``: real or filled; both 0-1.

        Returns: one logit per patch, positive = real.
        """
        logits: Tensor = self.body(torch.cat([condition, image], dim=1) * 2 - 1)
        return logits


class FeatureDiscriminator(nn.Module):
    """D2: does this image belong to this feature map? (paper section 3.4)

    The image comes down to the map's size by two stride-2 convolutions, the map passes
    a 1x1 convolution, and three more convolutions judge both with the same 70 px field.
    How the two are joined is not published; this is our reading. ``norm`` as in D1.
    """

    def __init__(self, width: int, *, norm: DiscriminatorNorm = "batch") -> None:
        super().__init__()
        batch = norm == "batch"
        self.image = nn.Sequential(
            ConvBlock(3, width, kernel=4, stride=2, norm=False, activation=_leaky()),
            ConvBlock(width, 2 * width, kernel=4, stride=2, norm=batch, activation=_leaky()),
        )
        self.features = nn.Sequential(nn.Conv2d(FEATURE_CHANNELS, 2 * width, 1), _leaky())
        self.body = nn.Sequential(
            ConvBlock(4 * width, 4 * width, kernel=4, stride=2, norm=batch, activation=_leaky()),
            ConvBlock(4 * width, 8 * width, kernel=4, stride=1, norm=batch, activation=_leaky()),
            ConvBlock(8 * width, 1, kernel=4, stride=1, norm=False),
        )
        if norm == "spectral":
            normalise_spectrally(self)

    def forward(
        self, features: Float[Tensor, "B 256 h w"], image: Float[Tensor, "B 3 4*h 4*w"]
    ) -> Float[Tensor, "B 1 p q"]:
        """Args: ``image``: 0-1. Returns: one logit per patch, positive = real."""
        joined = torch.cat([self.image(image * 2 - 1), self.features(features)], dim=1)
        logits: Tensor = self.body(joined)
        return logits


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)
