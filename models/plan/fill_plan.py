"""Which part of a photograph is worked on at which sizes, and how it goes back; pure functions.

The plan of one fill: grow the mask, crop to each group of holes with context, pad the
crop to whole cells, run the smallest scale first and each next one on the last one's
result (paper section 3.5), compose. Knows no network: `Inpainter` and the serving graph
walk the same plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.compose.colour import MOST_REACH, RING_PIXELS, align_colours, feathered, grow
from kintsugi.models.networks.image2feature import paste_known
from kintsugi.models.plan.crops import Box, Crop, crops_of
from kintsugi.models.plan.resizing import padded, padded_side, shrink
from kintsugi.models.plan.sizes import FIRST_SIDE, scale_sizes, worth_while

# A photograph's mask: 1 or True = hole.
Mask = Float[Tensor, "1 1 Hm Wm"] | Bool[Tensor, "1 1 Hm Wm"]
# Bicubic enlargement by two looks this many pixels beyond.
_BICUBIC_REACH = 4


@dataclass(frozen=True)
class FillOptions:
    """What a caller may choose about one fill.

    Attributes:
        scales: Number of scales, or "auto": the longer side halves down to about 256 px (128
            where the release searches pixels), while at least half of what is known stays known,
            and always to 1024*1024 px.
        grow_mask: Pixels by which the hole grows on every side, 0-64.
        feather: Pixels outside the grown hole over which the fill fades out, 0-64.
        align_colour: Move the fill's colours to those of the known pixels around it, at every
            scale.
        seed: Decides every random choice of the match.
    """

    scales: int | Literal["auto"] = "auto"
    grow_mask: int = 0
    feather: int = 0
    align_colour: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scales != "auto" and self.scales < 1:
            raise ValueError(f"scales={self.scales}: at least 1, or 'auto'")
        for name, value in (("grow_mask", self.grow_mask), ("feather", self.feather)):
            if not 0 <= value <= MOST_REACH:
                raise ValueError(f"{name}={value}: choose 0 to {MOST_REACH} pixels")


@dataclass(frozen=True)
class ScalePlan:
    """One crop's fill: walk ``sizes`` from small to large, then ``paste``.

    Attributes:
        crop: The part worked on as (top, bottom, left, right) in pixels.
        alpha: How much of the crop's answer is fill, 1 1 and the crop's size: 1 in the
            grown holes that this crop fills, 0 off them and their feather.
        work: The crop, padded to whole cells, 1 3 h w.
        hole: The grown mask of the padded crop, 1 1 h w: every hole in it, those that
            another crop fills too, and what cannot be seen.
        sizes: (height, width) of every scale; the last is the padded crop's own.
        align_colour, feather: As in `FillOptions`.
    """

    crop: Box
    alpha: Tensor
    work: Tensor
    hole: Tensor
    sizes: Sequence[tuple[int, int]]
    align_colour: bool
    feather: int

    def inputs(self, level: int, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """Image and mask of one scale, at ``sizes[level]``.

        Args:
            level: 0 is the smallest scale.
            previous: The image of scale ``level - 1``, up-sampled into the hole here with
                this scale's known pixels around it; None at level 0, where the hole is 0.
        """
        image, mask = shrink(self.work, self.hole, *self.sizes[level])
        if previous is None:
            return image, mask
        enlarged = F.interpolate(previous, self.sizes[level], mode="bicubic", align_corners=False)
        enlarged = enlarged.clamp_(0, 1)
        if self.align_colour:
            enlarged = align_colours(enlarged, image, mask)
        return paste_known(enlarged, image, mask), mask

    def needed(self, level: int) -> Float[Tensor, "1 1 h w"]:
        """1 = pixels of this scale's answer that the next scale's ``inputs`` or ``paste`` use."""
        if level < len(self.sizes) - 1:
            _, mask = shrink(self.work, self.hole, *self.sizes[level])
            return grow(mask, _BICUBIC_REACH)
        used = (self.alpha > 0).to(self.alpha)
        if self.align_colour and self.feather:
            used = grow(used, RING_PIXELS)
        padding = (self.hole.shape[-1] - used.shape[-1], self.hole.shape[-2] - used.shape[-2])
        return F.pad(used, (0, padding[0], 0, padding[1]))

    def paste(self, answer: Float[Tensor, "1 3 H W"], filled: Float[Tensor, "1 3 h w"]) -> None:
        """Blend the last scale's image into the answer so far, in place.

        Where alpha is 0 the answer stays as it is, to the bit; where it is 1 it does not
        matter what the answer holds, be it NaN.
        """
        top, bottom, left, right = self.crop
        inside = (..., slice(bottom - top), slice(right - left))
        patch = filled[inside]
        if self.align_colour:
            patch = align_colours(patch, self.work[inside], self.hole[inside], reach=self.feather)
        part = answer[..., top:bottom, left:right]
        part.copy_(paste_known(patch, part, self.alpha))


@dataclass(frozen=True, eq=False)
class CropPlans(Sequence[ScalePlan]):
    """The plans of a photograph's crops, each made again whenever it is asked for.

    However many crops there are, only those plans take memory that the caller holds.
    """

    image: Tensor
    hole: Tensor
    boxes: Sequence[Crop]
    options: FillOptions
    first_side: int
    unseen: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @overload
    def __getitem__(self, index: int) -> ScalePlan: ...

    @overload
    def __getitem__(self, index: slice) -> "CropPlans": ...

    def __getitem__(self, index: int | slice) -> "ScalePlan | CropPlans":
        if isinstance(index, slice):
            return replace(self, boxes=self.boxes[index])
        return _plan_crop(
            self.image,
            self.hole,
            self.boxes[index],
            self.options,
            first_side=self.first_side,
            unseen=self.unseen,
        )


@dataclass(frozen=True)
class FillPlan:
    """One photograph's fill: walk each crop, in any order, and ``paste`` it.

    Each is pasted into one clone of ``image``: pixels that no hole and no feather touches
    stay bit-equal.

    Attributes:
        image: The whole photograph, 1 3 H W, 0-1; the caller's own, no copy.
        crops: One plan per group of holes; those of `plan_fill` are made when asked for.
    """

    image: Tensor
    crops: Sequence[ScalePlan]


def plan_fill(
    image: Float[Tensor, "1 3 H W"],
    mask: Mask,
    options: FillOptions,
    *,
    first_side: int = FIRST_SIDE,
    unseen: Bool[Tensor, "1 1 H W"] | None = None,
) -> FillPlan:
    """Plan the fill of one photograph: a crop for each group of holes.

    Args:
        image: RGB 0-1, any size; what it holds inside the hole does not matter.
        mask: 1 or True = hole; at least one hole pixel and one known pixel.
        options: The caller's choices.
        first_side: The longer side of the first scale under "auto", in pixels.
        unseen: True = a pixel that is transparent: neither filled nor filled from. What crops
            see of them is hole.

    Raises:
        ValueError: more than one photograph; the mask is of another size, no float or bool,
            outside 0-1, empty or full (also after growing; an image of one pixel always
            is), or nothing known can be seen; ``scales`` would start below 64 px or above
            1024*1024 px; or thin holes would take more than 64 crops.
    """
    hole = _grown_hole(image, mask, options)
    crops = crops_of(hole)
    if unseen is not None:
        crops = [_with_something_seen(crop, hole, unseen) for crop in crops]
    for top, bottom, left, right in (crop.box for crop in crops):
        # What does not fit is refused now, not when the crop's turn comes.
        scale_sizes(padded_side(bottom - top), padded_side(right - left), options.scales)
    return FillPlan(image, CropPlans(image, hole, crops, options, first_side, unseen))


def _with_something_seen(crop: Crop, hole: Tensor, unseen: Tensor) -> Crop:
    """The crop, widened until a pixel of it is known and can be seen."""
    height, width = hole.shape[-2:]
    top, bottom, left, right = crop.box
    while True:
        inside = (..., slice(top, bottom), slice(left, right))
        if ((hole[inside] == 0) & ~unseen[inside]).any():
            return Crop(crop.own, (top, bottom, left, right))
        if (top, bottom, left, right) == (0, height, 0, width):
            raise ValueError(
                "all that is known is transparent: the fill is made from what can be seen"
            )
        rows, columns = (bottom - top) // 2, (right - left) // 2
        top, bottom = max(0, top - rows), min(height, bottom + rows)
        left, right = max(0, left - columns), min(width, right + columns)


def _grown_hole(image: Tensor, mask: Tensor, options: FillOptions) -> Float[Tensor, "1 1 H W"]:
    mask = _checked_mask(image, mask)
    hole = grow(mask, options.grow_mask)
    if not hole.any():
        raise ValueError("the mask is empty: mark at least one pixel as hole")
    if hole.all():
        grown = f" after growing it by {options.grow_mask} px" if options.grow_mask else ""
        raise ValueError(f"the mask covers the whole image{grown}: leave some of it known")
    return hole


def _checked_mask(image: Tensor, mask: Tensor) -> Float[Tensor, "1 1 H W"]:
    """The mask in the image's number format and on its device."""
    for name, tensor, channels in (("image", image, 3), ("mask", mask, 1)):
        if tensor.ndim != 4 or tensor.shape[:2] != (1, channels):
            raise ValueError(
                f"{name} is of shape {tuple(tensor.shape)}: send one photograph at a time, as"
                f" 1 {channels} height width"
            )
    if image.shape[-2:] != mask.shape[-2:]:
        raise ValueError(
            f"mask is {mask.shape[-1]}x{mask.shape[-2]} but image is"
            f" {image.shape[-1]}x{image.shape[-2]}: send both at the same size"
        )
    if not mask.is_floating_point() and mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype}: send bool, or floats of 0-1 (divide by 255)")
    mask = mask.to(image)
    low, high = (float(value) for value in mask.aminmax())
    if not 0 <= low <= high <= 1:
        raise ValueError(f"mask holds values of {low:g} to {high:g}: 0-1 only (divide by 255)")
    return mask


def _plan_crop(
    image: Tensor,
    hole: Tensor,
    crop: Crop,
    options: FillOptions,
    *,
    first_side: int,
    unseen: Tensor | None,
) -> ScalePlan:
    top, bottom, left, right = crop.box
    inside = (..., slice(top, bottom), slice(left, right))
    # It fills only its own of the holes that it sees.
    own = torch.zeros_like(hole[inside])
    first, last, start, end = crop.own
    here = (..., slice(first - top, last - top), slice(start - left, end - left))
    own[here] = hole[..., first:last, start:end]
    alpha, dark = feathered(own, options.feather), hole[inside]
    if unseen is not None:
        dark = torch.maximum(dark, unseen[inside].to(dark))
        # Nothing fades out over what is not seen.
        alpha = torch.where((own == 0) & unseen[inside], 0.0, alpha)
    work, work_hole = padded(image[inside]), padded(dark)
    sizes = scale_sizes(work.shape[-2], work.shape[-1], options.scales, first_side=first_side)
    return ScalePlan(
        crop=crop.box,
        alpha=alpha,
        work=work,
        hole=work_hole,
        sizes=worth_while(sizes, work_hole) if options.scales == "auto" else sizes,
        align_colour=options.align_colour,
        feather=options.feather,
    )
