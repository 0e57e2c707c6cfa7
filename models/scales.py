"""Which part of a photograph is worked on at which sizes, and how it goes back; pure functions.

The plan of one fill: grow the mask, crop to each group of holes with context, pad the
crop to whole cells, run the smallest scale first and each next one on the last one's
result (paper section 3.5), compose. Knows no network: `Inpainter` and the serving graph
walk the same plan.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from models.colour import RING_PIXELS, align_colours, feathered, grow
from models.crops import Box, Crop, crop_to_hole, crops_of, hole_box
from models.image2feature import GENERATOR_STRIDE, paste_known
from models.resizing import SMALLEST_SIDE, padded, shrink

# The longer side at which the hole is first inferred: what G1 is trained at.
FIRST_SIDE = 256
# Bicubic enlargement by two looks this many pixels beyond.
_BICUBIC_REACH = 4


@dataclass(frozen=True)
class FillOptions:
    """What a caller may choose about one fill.

    Attributes:
        scales: Number of scales, or "auto": the longer side halves down to about 256 px,
            while at least half of what is known stays known.
        grow_mask: Pixels by which the hole grows on every side, 0-64.
        feather: Pixels outside the grown hole over which the fill fades out, 0-64.
        align_colour: Move the fill's colours to those of the known pixels around it.
        seed: Decides every random choice of the approximate match.
    """

    scales: int | Literal["auto"] = "auto"
    grow_mask: int = 0
    feather: int = 0
    align_colour: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scales != "auto" and self.scales < 1:
            raise ValueError(f"scales={self.scales}: at least 1, or 'auto'")
        for name, value in (("grow_mask", self.grow_mask), ("feather", self.feather)):
            if not 0 <= value <= 64:
                raise ValueError(f"{name}={value}: choose 0 to 64 pixels")


@dataclass(frozen=True)
class ScalePlan:
    """One crop's fill: walk ``sizes`` from small to large, then ``compose`` or ``blend``.

    Attributes:
        image: The whole photograph, 1 3 H W, 0-1; the caller's own, no copy.
        crop: The part worked on as (top, bottom, left, right) in pixels.
        alpha: How much of the crop's answer is fill, 1 1 and the crop's size: 1 in the
            grown holes that this crop fills, 0 off them and their feather.
        work: The crop, padded to whole cells, 1 3 h w.
        hole: The grown mask of the padded crop, 1 1 h w: every hole in it, those that
            another crop fills too.
        sizes: (height, width) of every scale; the last is the padded crop's own.
        align_colour: As in `FillOptions`.
    """

    image: Tensor
    crop: Box
    alpha: Tensor
    work: Tensor
    hole: Tensor
    sizes: Sequence[tuple[int, int]]
    align_colour: bool = False

    def inputs(self, level: int, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """Image and mask of one scale, at ``sizes[level]``.

        Args:
            level: 0 is the smallest scale.
            previous: The image of scale ``level - 1``, up-sampled into the hole here with
                this scale's known pixels around it; None at level 0, where the hole is 0.
        """
        image, mask = shrink(self.work, self.hole, *self.sizes[level])
        enlarged = self.degraded(level, previous)
        return (image if enlarged is None else paste_known(enlarged, image, mask)), mask

    def degraded(self, level: int, previous: Tensor | None) -> Tensor | None:
        """The last scale's image at this scale's size, its known pixels as blurred as its hole.

        Returns: 1 3 h w, 0-1, the whole frame; None at level 0, where ``previous`` is None.
        """
        if previous is None:
            return None
        enlarged = F.interpolate(
            previous, size=self.sizes[level], mode="bicubic", align_corners=False
        )
        return enlarged.clamp_(0, 1)

    def needed(self, level: int) -> Float[Tensor, "1 1 h w"]:
        """1 = pixels of this scale's answer that the next scale's ``inputs`` or ``blend`` use.

        Of no use to who also asks for ``degraded``: that takes the whole frame.
        """
        if level < len(self.sizes) - 1:
            _, mask = shrink(self.work, self.hole, *self.sizes[level])
            return grow(mask, _BICUBIC_REACH)
        used = (self.alpha > 0).to(self.alpha)
        if self.align_colour:
            used = grow(used, RING_PIXELS)
        padding = (self.hole.shape[-1] - used.shape[-1], self.hole.shape[-2] - used.shape[-2])
        return F.pad(used, (0, padding[0], 0, padding[1]))

    def blend(
        self, filled: Float[Tensor, "1 3 h w"], under: Float[Tensor, "1 3 Hc Wc"]
    ) -> Float[Tensor, "1 3 Hc Wc"]:
        """The crop's part of the answer; bit-equal to ``under`` where alpha is 0.

        Args:
            filled: The last scale's image.
            under: What the answer holds at ``crop`` so far.
        """
        height, width = self.alpha.shape[-2:]
        patch = filled[..., :height, :width]
        if self.align_colour:
            inside = (..., slice(height), slice(width))
            patch = align_colours(patch, self.work[inside], self.hole[inside])
        return paste_known(patch, under, self.alpha)

    def compose(self, filled: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 3 H W"]:
        """The photograph with this crop's holes filled; bit-equal where alpha is 0."""
        return FillPlan(self.image, [self]).compose([filled])


@dataclass(frozen=True)
class FillPlan:
    """One photograph's fill: walk each crop by itself, in any order, then ``compose``.

    Attributes:
        image: The whole photograph, 1 3 H W, 0-1; the caller's own, no copy.
        crops: One plan per group of holes.
    """

    image: Tensor
    crops: Sequence[ScalePlan]

    def compose(self, filled: Iterable[Float[Tensor, "1 3 h w"]]) -> Float[Tensor, "1 3 H W"]:
        """Blend the last image of every crop, in the order of ``crops``, into the photograph.

        An iterator is asked for one crop's image at a time. Pixels that no hole and no
        feather touches are bit-equal.
        """
        answer = self.image.clone()
        for plan, image in zip(self.crops, filled, strict=True):
            top, bottom, left, right = plan.crop
            part = answer[..., top:bottom, left:right]
            part.copy_(plan.blend(image, part))
        return answer


def plan_fill(
    image: Float[Tensor, "1 3 H W"], mask: Float[Tensor, "1 1 Hm Wm"], options: FillOptions
) -> FillPlan:
    """Plan the fill of one photograph: a crop for each group of holes.

    Args:
        image: RGB 0-1, any size.
        mask: 1 = hole; at least one hole pixel and one known pixel.
        options: The caller's choices.

    Raises:
        ValueError: the mask is of another size, empty or full (also after growing; an
            image of one pixel always is), or ``scales`` would start below 64 px.
    """
    hole = _grown_hole(image, mask, options)
    return FillPlan(image, [_plan_crop(image, hole, crop, options) for crop in crops_of(hole)])


def plan_scales(
    image: Float[Tensor, "1 3 H W"], mask: Float[Tensor, "1 1 Hm Wm"], options: FillOptions
) -> ScalePlan:
    """Plan the fill of one photograph in a single crop, however far apart its holes are.

    Arguments and errors as in `plan_fill`.
    """
    hole = _grown_hole(image, mask, options)
    whole = Crop(own=hole_box(hole), box=crop_to_hole(hole))
    return _plan_crop(image, hole, whole, options)


def _grown_hole(image: Tensor, mask: Tensor, options: FillOptions) -> Float[Tensor, "1 1 H W"]:
    if image.shape[-2:] != mask.shape[-2:]:
        raise ValueError(
            f"mask is {mask.shape[-1]}x{mask.shape[-2]} but image is"
            f" {image.shape[-1]}x{image.shape[-2]}: send both at the same size"
        )
    hole = grow(mask, options.grow_mask)
    if not hole.any():
        raise ValueError("the mask is empty: mark at least one pixel as hole")
    if hole.all():
        grown = f" after growing it by {options.grow_mask} px" if options.grow_mask else ""
        raise ValueError(f"the mask covers the whole image{grown}: leave some of it known")
    return hole


def _plan_crop(image: Tensor, hole: Tensor, crop: Crop, options: FillOptions) -> ScalePlan:
    top, bottom, left, right = crop.box
    inside = (..., slice(top, bottom), slice(left, right))
    # Of the holes in sight only this crop's own are filled by it.
    own = torch.zeros_like(hole[inside])
    first, last, start, end = crop.own
    here = (..., slice(first - top, last - top), slice(start - left, end - left))
    own[here] = hole[..., first:last, start:end]
    work, work_hole = padded(image[inside]), padded(hole[inside])
    sizes = scale_sizes(work.shape[-2], work.shape[-1], options.scales)
    return ScalePlan(
        image=image,
        crop=crop.box,
        alpha=feathered(own, options.feather),
        work=work,
        hole=work_hole,
        sizes=_worth_while(sizes, work_hole) if options.scales == "auto" else sizes,
        align_colour=options.align_colour,
    )


def _worth_while(
    sizes: Sequence[tuple[int, int]], hole: Float[Tensor, "1 1 h w"]
) -> Sequence[tuple[int, int]]:
    """The sizes without those first ones at which many thin holes leave little known.

    A pixel that covers any hole pixel is hole, so a hole of one pixel covers 16 x 16 after
    four halvings. From the size on at which half of what is known stays known.
    """
    known = 1 - float(hole.mean())
    for level, size in enumerate(sizes[:-1]):
        if 1 - float(F.adaptive_max_pool2d(hole, size).mean()) >= known / 2:
            return sizes[level:]
    return sizes[-1:]


def scale_sizes(height: int, width: int, scales: int | Literal["auto"]) -> list[tuple[int, int]]:
    """Sizes from the first scale to (height, width); each side a multiple of 8.

    Raises: ValueError when ``scales`` would start with a side under 64 px.
    """
    longer, shorter = max(height, width), min(height, width)
    most = 1 + int(math.log2(shorter / SMALLEST_SIDE))
    count = min(most, 1 + max(0, round(math.log2(longer / FIRST_SIDE))))
    if scales != "auto":
        count = scales
    if count > most:
        raise ValueError(
            f"scales={scales} would start at {shorter / 2 ** (count - 1):.0f} px: choose at most"
            f" {most} for {width}x{height}, or 'auto'"
        )
    return [
        (_whole_cells(height / 2**halvings), _whole_cells(width / 2**halvings))
        for halvings in range(count - 1, -1, -1)
    ]


def _whole_cells(side: float) -> int:
    return max(SMALLEST_SIDE, round(side / GENERATOR_STRIDE) * GENERATOR_STRIDE)
