"""The whole method in one process: Infer, Match, Translate, at every scale, compose."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.feature2image import Feature2Image
from models.image2feature import Image2Feature
from models.patch_swap import patch_swap
from models.scales import FillOptions, plan_scales


@dataclass(frozen=True)
class MatchingConfig:
    """How a release matches; the defaults are the paper's.

    Attributes:
        guard: Cells around the hole that are not copied from.
    """

    guard: int = 0


class Inpainter(nn.Module):
    """Image2Feature, patch-swap and Feature2Image, and the scales around them.

    Every node of the serving graph runs one of the three methods below; this class runs
    all of them, and the two give the same answer.
    """

    def __init__(
        self,
        image2feature: Image2Feature,
        feature2image: Feature2Image,
        matching: MatchingConfig = MatchingConfig(),
    ) -> None:
        super().__init__()
        self.image2feature = image2feature
        self.feature2image = feature2image
        self.matching = matching
        self.eval()

    def forward(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        """One scale, from the hole to the network's whole image (paper figure 2).

        Args:
            image: RGB 0-1; sides multiples of 8, at least 64.
            mask: 1 = hole.
        """
        return self.translate(self.match(self.infer(image, mask), mask))

    def infer(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 256 h w"]:
        """Features of the coarse fill: the first scale."""
        features: Tensor = self.image2feature(image, mask).features
        return features

    def encode(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 256 h w"]:
        """Features of the image as it is: every later scale."""
        return self.image2feature.encode(image)

    def match(
        self, features: Float[Tensor, "B 256 h w"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 256 h w"]:
        """Features with the hole's patches replaced by known ones."""
        return patch_swap(features, mask, guard=self.matching.guard)

    def translate(self, features: Float[Tensor, "B 256 h w"]) -> Float[Tensor, "B 3 4*h 4*w"]:
        """The image of a feature map, 0-1."""
        image: Tensor = self.feature2image(features)
        return image

    @torch.inference_mode()
    def inpaint(
        self,
        image: Float[Tensor, "1 3 H W"],
        mask: Float[Tensor, "1 1 Hm Wm"],
        options: FillOptions = FillOptions(),
    ) -> Float[Tensor, "1 3 H W"]:
        """Fill the hole of one photograph of any size.

        Args:
            image: RGB 0-1; what it holds inside the hole is not looked at.
            mask: 1 = hole.
            options: Scales, growing and feathering of the mask.

        Returns:
            RGB 0-1, bit-equal to ``image`` outside the hole (after growing, feathering).

        Raises:
            ValueError: sizes differ, the mask is empty or full, too many scales.
        """
        plan = plan_scales(image, mask, options)
        filled: Tensor | None = None
        for level in range(len(plan.sizes)):
            image_s, mask_s = plan.inputs(level, filled)
            features = self.infer(image_s, mask_s) if level == 0 else self.encode(image_s)
            filled = self.translate(self.match(features, mask_s))
        assert filled is not None
        return plan.compose(filled)
