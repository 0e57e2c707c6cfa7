"""The context encoder (Pathak et al. 2016), this method's ancestor, for comparison; knows no loss.

One network draws the whole content of the hole from a code without any place in it: there are
no matches and no features of another network.
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.models.networks.discriminator import DiscriminatorNorm
from kintsugi.models.networks.image2feature import paste_known
from kintsugi.models.networks.layers import ConvBlock, UpBlock, Upsampling, normalise_spectrally

# The side at which it draws, as published: its bottleneck sees the whole picture and has no
# place, so that it cannot be laid over a larger one like a convolution.
CONTEXT_SIDE = 128
# Cells a side before the bottleneck, after five halvings of the picture.
_LEAST_CELLS = 4


class ContextEncoder(nn.Module):
    """Five stride-2 convolutions to a bottleneck of one cell, and the same way back.

    Batch norm on every level but the first, the bottleneck and the last; leaky ReLU on the
    way down, ReLU on the way up, tanh at the end. The published network has a ``width`` of 64
    and a ``bottleneck`` of 4000. Its batch norm at the bottleneck is left out: over one cell
    it depends on nothing but the other pictures of the batch.
    """

    def __init__(
        self, width: int, bottleneck: int, *, upsampling: Upsampling = "transposed"
    ) -> None:
        super().__init__()
        down = [width, width, 2 * width, 4 * width, 8 * width]
        self.down = nn.Sequential(
            ConvBlock(3, width, kernel=4, stride=2, norm=False, activation=_leaky()),
            *(
                ConvBlock(here, there, kernel=4, stride=2, activation=_leaky())
                for here, there in itertools.pairwise(down)
            ),
        )
        self.bottleneck = nn.Sequential(
            nn.Conv2d(8 * width, bottleneck, _LEAST_CELLS),
            _leaky(),
            nn.ConvTranspose2d(bottleneck, 8 * width, _LEAST_CELLS, bias=False),
            nn.BatchNorm2d(8 * width),
            nn.ReLU(inplace=True),
        )
        up = down[::-1]
        self.up = nn.Sequential(
            *(
                UpBlock(here, there, upsampling=upsampling, activation=nn.ReLU(inplace=True))
                for here, there in itertools.pairwise(up)
            ),
            UpBlock(width, 3, upsampling=upsampling, norm=False, activation=nn.Tanh()),
        )

    def forward(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        """Predict the whole frame, 0-1, from the known pixels.

        Pictures of another size than CONTEXT_SIDE are brought to it and the answer back, as
        the paper compares with it; a picture that is no square is squeezed meanwhile.

        Args:
            image: RGB 0-1; what it holds inside the hole is not looked at.
            mask: 1 = hole.
        """
        # -1..1 with the hole at 0. Not by the product alone: nothing times NaN is NaN.
        known = torch.where(mask == 1, 0.0, (image * 2 - 1) * (1 - mask))
        small = _resized(known, (CONTEXT_SIDE, CONTEXT_SIDE))
        predicted: Tensor = self.up(self.bottleneck(self.down(small)))
        return (_resized(predicted, tuple(image.shape[-2:])) + 1) / 2

    def fill(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        """The image with its hole filled, known pixels to the bit; arguments as above."""
        return paste_known(self(image, mask), image, mask)


class ImageDiscriminator(nn.Module):
    """Is this a real picture? One logit for each place of a 128 px window; no condition.

    As its paper found, the discriminator is not to see the incomplete picture: it would
    look for the hole's edge alone.
    """

    def __init__(self, width: int, *, norm: DiscriminatorNorm = "batch") -> None:
        super().__init__()
        batch = norm == "batch"
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.body = nn.Sequential(
            ConvBlock(3, width, kernel=4, stride=2, norm=False, activation=_leaky()),
            *(
                ConvBlock(here, there, kernel=4, stride=2, norm=batch, activation=_leaky())
                for here, there in itertools.pairwise(widths)
            ),
            ConvBlock(8 * width, 8 * width, kernel=4, stride=2, norm=False, activation=_leaky()),
            nn.Conv2d(8 * width, 1, _LEAST_CELLS),
        )
        if norm == "spectral":
            normalise_spectrally(self)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 p q"]:
        """Args: ``image``: 0-1, at least 128 px a side. Returns: logits, positive = real."""
        logits: Tensor = self.body(image * 2 - 1)
        return logits


def _resized(image: Tensor, size: tuple[int, ...]) -> Tensor:
    if image.shape[-2:] == size:
        return image
    # Not in half precision: antialiasing there is coarse, and on some devices missing.
    return F.interpolate(
        image.float(), size=size, mode="bilinear", align_corners=False, antialias=True
    )


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)
