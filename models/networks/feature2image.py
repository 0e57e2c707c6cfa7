"""Translate: the U-Net that turns a feature map back into an image (G2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.models.networks.cells import PIXEL_CHANNELS, pixels_of
from kintsugi.models.networks.layers import ConvBlock, UpBlock, Upsampling
from kintsugi.models.networks.vgg import FEATURE_CHANNELS

# "features" alone (the paper), or the pixels under each of the copied cells as well.
TranslatorInput = Literal["features", "features+pixels"]

# Levels five to seven are 2x2 cells and less on the smallest training crop (128 px):
# too few for batch statistics. The decoder blocks that meet them go without as well.
NUM_NORMED_DOWN = 4
NUM_UNNORMED_UP = 2


@dataclass(frozen=True)
class TranslatorWidths:
    """Channels of the U-Net.

    Attributes:
        first: After the stride-1 block at the feature map's own resolution.
        inner: After each of the six stride-2 blocks, and of the decoder at their level.
        last: At twice the feature map's resolution.
    """

    first: int
    inner: int
    last: int


class Feature2Image(nn.Module):
    """G2: seven convolution blocks, eight up-sampling blocks, skips into the first six.

    At 64x64 cells the encoder ends at one cell and the decoder at 256x256 pixels (paper
    section 3.4). Stride-2 convolutions halve by rounding up and each up-sampling meets
    its skip's size, so any number of cells works. Resize-convolutions instead of
    transposed ones remove the checkerboard (paper section 4.4).

    With "features+pixels", which goes beyond the paper, it also gets the pixels of the copied
    cells. Its image is a blend of what it draws and of those pixels; it chooses the share for
    each pixel. So the detail of what was copied need not be learnt.

    Attributes:
        takes_pixels: Whether it is given pixels.
    """

    def __init__(
        self,
        widths: TranslatorWidths,
        *,
        upsampling: Upsampling = "resize",
        input: TranslatorInput = "features",
    ) -> None:
        super().__init__()
        self.takes_pixels = input == "features+pixels"
        channels = FEATURE_CHANNELS + (PIXEL_CHANNELS if self.takes_pixels else 0)
        first, inner, last = widths.first, widths.inner, widths.last
        self.down = nn.ModuleList(
            [ConvBlock(channels, first, kernel=3, stride=1, activation=_leaky())]
            + [
                ConvBlock(
                    first if level == 1 else inner,
                    inner,
                    kernel=3,
                    stride=2,
                    norm=level < NUM_NORMED_DOWN,
                    activation=_leaky(),
                )
                for level in range(1, 7)
            ]
        )
        # Outputs: five inner blocks, one back at the feature map's size, one at twice it.
        outputs = [inner] * 5 + [first, last]
        # Inputs: the bottleneck, then every output joined with the skip of its size.
        inputs = [inner] + [2 * inner] * 5 + [2 * first]
        self.up = nn.ModuleList(
            UpBlock(
                before,
                after,
                upsampling=upsampling,
                norm=level >= NUM_UNNORMED_UP,
                activation=nn.ReLU(inplace=True),
            )
            for level, (before, after) in enumerate(zip(inputs, outputs, strict=True))
        )
        # A fourth channel says how much of the image is drawn.
        self.head = UpBlock(last, 4 if self.takes_pixels else 3, upsampling=upsampling, norm=False)

    def forward(self, features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 4*h 4*w"]:
        """The image of a feature map.

        Args:
            features: relu3_1 (C = 256), or cells of `kintsugi.models.networks.cells` (C = 304).

        Returns:
            RGB 0-1 of four times the side.
        """
        skips: list[Tensor] = []
        # One layout whatever came: the last bits of the image depend on it, and features
        # arrive in another one through the serving graph. This one is a third faster.
        x = features.contiguous(memory_format=torch.channels_last)
        for block in self.down:
            x = _narrowed(block, x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            if skips:
                skip = skips.pop()
                x = torch.cat([block(x, skip.shape[-2:]), skip], dim=1)
            else:
                x = block(x)
        answer: Tensor = self.head(x)
        drawn = torch.tanh(answer[:, :3])
        # In float32: bfloat16 has steps of 1/256 there, which smooth areas would show.
        image = (drawn.float() + 1) / 2
        if not self.takes_pixels:
            return image
        return torch.lerp(pixels_of(features).float(), image, answer[:, 3:].float().sigmoid())


def add_pixel_inputs(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network without pixels as those of one with them, to train on from.

    It makes nothing of them in what it draws, and half of its image is drawn everywhere.
    """
    grown = dict(state)
    entry = "down.0.0.weight"
    grown[entry] = F.pad(state[entry], (0, 0, 0, 0, 0, PIXEL_CHANNELS))
    weight, bias = "head.conv.weight", "head.conv.bias"
    # A transposed convolution has its outputs in the second place.
    outputs = 0 if len(state[weight]) == len(state[bias]) else 1
    grown[weight] = F.pad(state[weight], (0, 0, 0, 0) + (0, 0) * (1 - outputs) + (0, 1))
    grown[bias] = F.pad(state[bias], (0, 1))
    return grown


def _narrowed(block: nn.Module, x: Tensor) -> Tensor:
    """One step down. A map one column wide is convolved as without autocast.

    In bfloat16 on a CPU the weights' gradient of a strided convolution over it is memory that
    nobody wrote (oneDNN in PyTorch 2.15): now right, now NaN. Crops of 128 px come to it.
    """
    if x.shape[-1] > 1:
        result: Tensor = block(x)
        return result
    with torch.autocast(x.device.type, enabled=False):
        result = block(x.to(next(block.parameters()).dtype))
        return result


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)
