"""The whole method in one process: Infer, Match, Translate, at every scale, compose."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kintsugi.models.match.pixel.pixel_synthesis import Searched
from kintsugi.models.matching import (
    Encoded,
    Matched,
    MatchingConfig,
    keys_image,
    match,
    search_scale,
)
from kintsugi.models.networks.feature2image import Feature2Image
from kintsugi.models.networks.image2feature import Image2Feature
from kintsugi.models.plan.fill_plan import FillOptions, FillPlan, Mask, ScalePlan, plan_fill
from kintsugi.models.plan.style_plan import plan_style
from kintsugi.models.plan.tiles import encode_tiled, translate_tiled
from kintsugi.models.plan.walk import ScaleFill, ScaleInput, walk_scales
from kintsugi.models.precision import Precision, autocast
from kintsugi.models.progress import Progress, Step, no_progress
from kintsugi.models.stylize import swap_style

# Called before each step of a long computation; what it raises ends the computation there.
CancelCheck = Callable[[], None]


def never_cancelled() -> None:
    """Never ends anything."""


def _scales_of(crop: int, crops: int, progress: Progress) -> Callable[[int, int], None]:
    return lambda scale, scales: progress(Step(crop, crops, scale, scales))


class Inpainter(nn.Module):
    """Image2Feature, patch-swap and Feature2Image, and the scales around them.

    Every node of the serving graph runs one or two of the five steps below; this class runs
    all of them, and the two give the same answer.

    Raises: ValueError when the match takes pixels that Feature2Image is not given.

    Attributes:
        matching: How this release matches.
        precision: The number format in which the networks compute; weights and results
            are float32. The match always compares in float32.
    """

    def __init__(
        self,
        image2feature: Image2Feature,
        feature2image: Feature2Image,
        matching: MatchingConfig = MatchingConfig(),
        *,
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        if matching.colour and not feature2image.takes_pixels:
            raise ValueError(
                f"colour={matching.colour} takes pixels, which this Feature2Image is not given:"
                ' choose 0, or train one with model.translator_input = "features+pixels"'
            )
        self.image2feature = image2feature
        self.feature2image = feature2image
        self.matching = matching
        self.precision = precision
        self.eval()

    def forward(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        """One scale, from the hole to the network's whole image (paper figure 2).

        Args:
            image: RGB 0-1; sides multiples of 8, at least 64.
            mask: 1 = hole.
        """
        return self.translate(self.match(self.infer(image, mask), mask).features)

    def infer(self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]) -> Encoded:
        """The first scale: fill the hole coarsely, then encode."""
        with self._autocast():
            coarse, initial = (fill.float() for fill in self.image2feature.fills(image, mask))
        compared = keys_image(self.matching, coarse, mask)
        features = self.features(coarse, initial)
        return Encoded(features, None if compared is None else self.features(compared))

    def encode(self, image: Float[Tensor, "B 3 H W"]) -> Encoded:
        """Every later scale: features of an image with a fill in its hole, compared as they are."""
        return Encoded(self.features(image), None)

    def features(
        self,
        image: Float[Tensor, "B 3 H W"],
        colours: Float[Tensor, "B 3 H W"] | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """relu3_1 of an image of any size that is a multiple of 4: 256 channels.

        Where Feature2Image takes pixels, 304: those of ``colours`` behind the features, or the
        image's own.
        """
        behind = image if colours is None else colours
        with self._autocast():
            return encode_tiled(
                self.image2feature.encoder,
                image,
                behind=behind if self.feature2image.takes_pixels else None,
            )

    def match(
        self,
        encoded: Encoded,
        mask: Float[Tensor, "B 1 H W"],
        *,
        previous: Tensor | None = None,
        seed: int = 0,
    ) -> Matched:
        """The features, the hole's patches replaced by known ones; `kintsugi.models.matching`."""
        return match(self.matching, encoded, mask, previous=previous, seed=seed)

    def translate(
        self,
        features: Float[Tensor, "B C h w"],
        needed: Float[Tensor, "1 1 H W"] | None = None,
    ) -> Float[Tensor, "B 3 4*h 4*w"]:
        """The image of a feature map, 0-1.

        Args:
            features: Cells; after a match, those of `Matched`.
            needed: Where it is 0 the image may be left out.
        """
        with self._autocast():
            return translate_tiled(self.feature2image, features, needed=needed)

    def search(
        self,
        image: Float[Tensor, "1 3 H W"],
        mask: Float[Tensor, "1 1 H W"],
        *,
        guide: Float[Tensor, "1 3 H W"] | None = None,
        encoded: Float[Tensor, "1 C h w"] | None = None,
        previous: Tensor | None = None,
        seed: int = 0,
    ) -> Searched:
        """The hole filled with copied pixels; see `kintsugi.models.matching.search_scale`."""
        return search_scale(image, mask, guide=guide, encoded=encoded, previous=previous, seed=seed)

    @torch.inference_mode()
    def inpaint(
        self,
        image: Float[Tensor, "1 3 H W"],
        mask: Mask,
        options: FillOptions = FillOptions(),
        *,
        unseen: Bool[Tensor, "1 1 H W"] | None = None,
        check: CancelCheck = never_cancelled,
        progress: Progress = no_progress,
    ) -> Float[Tensor, "1 3 H W"]:
        """Fill the holes of one photograph of any size.

        Args:
            image: RGB 0-1; what it holds inside the hole is not looked at.
            mask: 1 or True = hole.
            options: Scales, growing and feathering of the mask, seed.
            unseen: True = a transparent pixel, which is neither filled nor filled from.
            check: Called before every step of every scale; it gives the work up by raising.
            progress: Called as every scale of every crop begins.

        Returns:
            RGB 0-1, bit-equal to ``image`` outside the hole (after growing, feathering).

        Raises:
            ValueError: as `kintsugi.models.plan.fill_plan.plan_fill`.
        """
        plan = plan_fill(image, mask, options, first_side=self.matching.first_side, unseen=unseen)
        return self.fill_plan(plan, options.seed, check=check, progress=progress)

    @torch.inference_mode()
    def fill_plan(
        self,
        plan: FillPlan,
        seed: int = 0,
        *,
        check: CancelCheck = never_cancelled,
        progress: Progress = no_progress,
    ) -> Float[Tensor, "1 3 H W"]:
        """`inpaint` of what is planned already, with this release's ``matching.first_side``."""
        answer = plan.image.clone()
        # One crop's plan at a time.
        for number, crop in enumerate(plan.crops):
            on_progress = _scales_of(number, len(plan.crops), progress)
            crop.paste(answer, self._walk(crop, seed, check, on_progress))
        return answer

    def _walk(
        self,
        crop: ScalePlan,
        seed: int,
        check: CancelCheck,
        on_progress: Callable[[int, int], None],
    ) -> Tensor:
        """The last scale's image of one crop."""
        walk = walk_scales(crop)
        scale = next(walk)
        while True:
            on_progress(scale.level, len(crop.sizes))
            check()
            fill = self._fill_scale(scale, seed, check)
            try:
                scale = walk.send(fill)
            except StopIteration as end:
                image: Tensor = end.value
                return image

    def _fill_scale(self, scale: ScaleInput, seed: int, check: CancelCheck) -> ScaleFill:
        image, mask = scale.image, scale.mask
        if scale.level and self.matching.pixels:
            return ScaleFill(*self.search(image, mask, previous=scale.previous, seed=seed))
        encoded = self.infer(image, mask) if scale.level == 0 else self.encode(image)
        check()
        matched = self.match(encoded, mask, previous=scale.previous, seed=seed)
        guiding = encoded.features if self.matching.pixels else None
        # Without a pixel search nothing needs them any more, and they are large.
        del encoded
        check()
        drawn = self.translate(matched.features, scale.needed)
        if not self.matching.pixels:
            return ScaleFill(drawn, matched.indices)
        check()
        guided = self.search(image, mask, guide=drawn, encoded=guiding, seed=seed)
        return ScaleFill(*guided)

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(next(self.parameters()).device, self.precision)

    @torch.inference_mode()
    def stylize(
        self,
        content: Float[Tensor, "1 3 H W"],
        style: Float[Tensor, "1 3 H2 W2"],
        *,
        strength: float = 1.0,
        seed: int = 0,
        check: CancelCheck = never_cancelled,
        progress: Progress = no_progress,
    ) -> Float[Tensor, "1 3 H W"]:
        """Give one picture the look of another.

        Every patch of the content's features is swapped for its nearest one of the
        style's. Content over 1024 px goes through in overlapping tiles, so that only the
        pictures themselves grow with its size; a style of more than 512x512 px is shrunk
        to that area (see `kintsugi.models.plan.style_plan.prepare_style`).

        Args:
            content: RGB 0-1, any size.
            style: RGB 0-1, at least 16 px a side.
            strength: 0-1; 0 is the content as the networks see it, 1 all style.
            seed: Decides every random choice of the match.
            check: Called before every step of every tile; it gives the work up by raising.
            progress: Called as every tile begins.

        Raises:
            ValueError: strength outside 0-1, or the style is too small.
        """
        plan = plan_style(content, style, strength)
        style_features = self.features(plan.style)
        canvas = plan.canvas()
        for number, box in enumerate(plan.boxes):
            progress(Step(number, len(plan.boxes), 0, 1))
            check()
            of_tile = self.features(plan.tile(box))
            check()
            swapped = swap_style(of_tile, style_features, strength=strength, seed=seed)
            del of_tile
            check()
            plan.paste(canvas, box, self.translate(swapped))
        return canvas
