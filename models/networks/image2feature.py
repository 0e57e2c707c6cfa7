"""Infer: the network that fills the hole coarsely (G1) and the features of its answer."""

from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.models.networks.initial_fill import FillNetwork
from kintsugi.models.networks.layers import (
    ConvBlock,
    DilatedConvolutions,
    ResidualBlock,
    UpBlock,
    Upsampling,
)
from kintsugi.models.networks.smooth_fill import smooth_fill
from kintsugi.models.networks.vgg import Vgg19Relu3

# What G1 sees of the hole: nothing, as published, or the mask and a fill, be it smooth or one
# whose colours are predicted.
GeneratorInput = Literal["grey", "smooth", "predicted"]
# The size that G1 draws at: the photograph's, or half of it, enlarged.
GeneratorOutput = Literal["whole", "half"]

NUM_RESIDUAL_BLOCKS = 9
GENERATOR_STRIDE = 8


class Inferred(NamedTuple):
    """What Image2Feature gives: the coarse image (B 3 H W, 0-1) and its relu3_1 features."""

    coarse: Tensor
    features: Tensor


class Fills(NamedTuple):
    """Two fills of a hole, B 3 H W, 0-1, equal to the image outside it.

    Attributes:
        coarse: G1's, whose features are matched.
        initial: A predicted initial fill, which is trained for colours alone and has the
            nearer ones; where G1 begins with none, G1's fill as well.
    """

    coarse: Tensor
    initial: Tensor


class CoarseGenerator(nn.Module):
    """G1: three stride-2 convolutions, nine dilated residual blocks, three up-samplings.

    Batch norm and ReLU follow every convolution but the last, which ends in tanh
    (paper section 3.2). ``channels`` are the widths after each down-sampling; the
    published network has (64, 128, 256).

    With ``input`` "grey" it sees the image with a grey hole and answers with the tanh. With
    "smooth", which is not the paper's and learns much faster, it sees the image with a
    smooth fill in its hole and the mask as a fourth channel, and adds the tanh to that fill.
    "predicted" is the same with the fill of a `FillNetwork`, whose weights are learnt by
    themselves: no gradient goes there.

    With ``output`` "half" the last up-sampling is left out and the answer enlarged: the paper's
    "128x128" read as the size of G1's image of a photograph of 256 px.

    Attributes:
        initial_fill: The predictor, with "predicted"; else None.
    """

    def __init__(
        self,
        channels: tuple[int, int, int],
        *,
        upsampling: Upsampling = "transposed",
        input: GeneratorInput = "grey",
        output: GeneratorOutput = "whole",
        dilated: DilatedConvolutions = "first",
    ) -> None:
        super().__init__()
        first, second, third = channels
        self.starts_filled = input != "grey"
        self.initial_fill: FillNetwork | None = None
        seen = 4 if self.starts_filled else 3
        self.down = nn.Sequential(
            ConvBlock(seen, first, kernel=4, stride=2, activation=nn.ReLU(inplace=True)),
            ConvBlock(first, second, kernel=4, stride=2, activation=nn.ReLU(inplace=True)),
            ConvBlock(second, third, kernel=4, stride=2, activation=nn.ReLU(inplace=True)),
        )
        self.blocks = nn.Sequential(
            *(ResidualBlock(third, dilated=dilated) for _ in range(NUM_RESIDUAL_BLOCKS))
        )
        widths = [third, second, first] if output == "whole" else [third, second]
        self.up = nn.Sequential(
            *(
                UpBlock(before, after, upsampling=upsampling, activation=nn.ReLU(inplace=True))
                for before, after in pairwise(widths)
            ),
            UpBlock(widths[-1], 3, upsampling=upsampling, norm=False, activation=nn.Tanh()),
        )
        self.enlarges = output == "half"

    def forward(
        self,
        image: Float[Tensor, "B 3 H W"],
        mask: Float[Tensor, "B 1 H W"],
        initial: Float[Tensor, "B 3 H W"] | None = None,
    ) -> Float[Tensor, "B 3 H W"]:
        """Predict the whole frame, 0-1, from the known pixels.

        Args:
            image: RGB 0-1; what it holds inside the hole is not looked at.
            mask: 1 = hole. Sides are multiples of 8, at least 32.
            initial: What `compute_initial_fill` gives, where it is known already.

        Raises:
            ValueError: for other sides.
        """
        height, width = image.shape[-2:]
        if height % GENERATOR_STRIDE or width % GENERATOR_STRIDE or min(height, width) < 32:
            raise ValueError(
                f"image is {width}x{height}: both sides must be multiples of"
                f" {GENERATOR_STRIDE} and at least 32; pad it first"
            )
        if self.starts_filled:
            if initial is None:
                initial = self.compute_initial_fill(image, mask)
            return self._refine(initial, mask)
        # -1..1 with the hole at 0, i.e. mid-grey. Not by the product alone: nothing times
        # NaN is NaN.
        known = torch.where(mask == 1, 0.0, (image * 2 - 1) * (1 - mask))
        return (self._draw(known) + 1) / 2

    def _draw(self, seen: Tensor) -> Tensor:
        drawn: Tensor = self.up(self.blocks(self.down(seen)))
        if not self.enlarges:
            return drawn
        return F.interpolate(drawn, scale_factor=2, mode="bilinear", align_corners=False)

    @torch.no_grad()
    def compute_initial_fill(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        """The fill that the network adds to."""
        if self.initial_fill is None:
            return smooth_fill(image, mask)
        return self.initial_fill.fill(image, mask)

    def _refine(self, initial: Tensor, mask: Tensor) -> Tensor:
        whole = initial + self._draw(torch.cat([initial * 2 - 1, mask], 1))
        # The value is clamped, the gradient is not: a pixel that once left 0-1 finds back.
        # Squashing the sum instead would move known colours, and the darkest and lightest most.
        return whole.detach().clamp(0, 1) + (whole - whole.detach())


class Image2Feature(nn.Module):
    """Infer (paper section 3.2): image and mask to a coarse fill and its features."""

    def __init__(self, generator: CoarseGenerator, encoder: Vgg19Relu3) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder

    def forward(self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]) -> Inferred:
        """Fill the hole coarsely, keep the known pixels, and encode the result.

        Args:
            image: RGB 0-1, sides multiples of 8 and at least 32.
            mask: 1 = hole.

        Returns:
            coarse (B 3 H W, 0-1; equal to ``image`` outside the hole) and
            features (B 256 H/4 W/4).
        """
        coarse = self.fill(image, mask)
        return Inferred(coarse, self.encoder(coarse))

    def fill(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        """The image with its hole filled coarsely; arguments as above."""
        return self.fills(image, mask).coarse

    def fills(self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]) -> Fills:
        """The coarse fill and the initial one; arguments as above."""
        initial = None
        if self.generator.initial_fill is not None:
            initial = self.generator.compute_initial_fill(image, mask)
        coarse = paste_known(self.generator(image, mask, initial), image, mask)
        return Fills(coarse, coarse if initial is None else initial)

    def encode(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 256 h w"]:
        """relu3_1 of ``image`` as it is: the later scales, where nothing is inferred again."""
        features: Tensor = self.encoder(image)
        return features


def paste_known(
    filled: Float[Tensor, "B 3 H W"],
    image: Float[Tensor, "B 3 H W"],
    mask: Float[Tensor, "B 1 H W"],
) -> Float[Tensor, "B 3 H W"]:
    """``filled`` inside the hole, ``image`` outside, to the bit; between 0 and 1 a blend.

    What either holds where the other is taken does not matter, be it NaN.
    """
    blend = image * (1 - mask) + filled * mask
    return torch.where(mask == 0, image, torch.where(mask == 1, filled, blend))
