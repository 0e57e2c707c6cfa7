"""Which part of a photograph is worked on at which sizes, and how it goes back; pure functions.

The plan of one fill: grow the mask, crop to the hole with context, pad the crop to
whole cells, run the smallest scale first and each next one on the last one's result
(paper section 3.5), compose. Knows no network: `Inpainter` and the serving graph walk
the same plan.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from models.image2feature import GENERATOR_STRIDE, paste_known

# The longer side at which the hole is first inferred: what G1 is trained at.
FIRST_SIDE = 256
# G1's bottleneck needs more than two cells a side for its reflection padding.
SMALLEST_SIDE = 64
# Photographs up to this side are worked on whole; of larger ones a crop of at least this.
SMALLEST_CROP = 512


@dataclass(frozen=True)
class FillOptions:
    """What a caller may choose about one fill.

    Attributes:
        scales: Number of scales, or "auto": the longer side halves down to about 256 px.
        grow_mask: Pixels by which the hole grows on every side, 0-64.
        feather: Pixels outside the grown hole over which the fill fades out, 0-64.
    """

    scales: int | Literal["auto"] = "auto"
    grow_mask: int = 0
    feather: int = 0

    def __post_init__(self) -> None:
        if self.scales != "auto" and self.scales < 1:
            raise ValueError(f"scales={self.scales}: at least 1, or 'auto'")
        for name, value in (("grow_mask", self.grow_mask), ("feather", self.feather)):
            if not 0 <= value <= 64:
                raise ValueError(f"{name}={value}: choose 0 to 64 pixels")


@dataclass(frozen=True)
class ScalePlan:
    """One photograph's fill: walk ``sizes`` from small to large, then ``compose``.

    Attributes:
        image: The whole photograph, 1 3 H W, 0-1.
        alpha: How much of the answer is fill, 1 1 H W: 1 in the grown hole, 0 off it and
            its feather.
        crop: The part worked on as (top, bottom, left, right) in pixels.
        work: The crop, padded to whole cells, 1 3 h w.
        hole: The grown mask of the padded crop, 1 1 h w.
        sizes: (height, width) of every scale; the last is the padded crop's own.
    """

    image: Tensor
    alpha: Tensor
    crop: tuple[int, int, int, int]
    work: Tensor
    hole: Tensor
    sizes: Sequence[tuple[int, int]]

    def inputs(self, level: int, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """Image and mask of one scale, at ``sizes[level]``.

        Args:
            level: 0 is the smallest scale.
            previous: The image of scale ``level - 1``, up-sampled into the hole here with
                this scale's known pixels around it; None at level 0, where the hole is 0.
        """
        height, width = self.sizes[level]
        image, mask = shrink(self.work, self.hole, height, width)
        if previous is not None:
            enlarged = F.interpolate(
                previous, size=(height, width), mode="bicubic", align_corners=False
            )
            image = paste_known(enlarged.clamp(0, 1), image, mask)
        return image, mask

    def compose(self, filled: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 3 H W"]:
        """Blend the last scale's image into the photograph; bit-equal where alpha is 0."""
        top, bottom, left, right = self.crop
        patch = filled[..., : bottom - top, : right - left]
        alpha = self.alpha[..., top:bottom, left:right]
        answer = self.image.clone()
        answer[..., top:bottom, left:right] = paste_known(
            patch, self.image[..., top:bottom, left:right], alpha
        )
        return answer


def plan_scales(
    image: Float[Tensor, "1 3 H W"], mask: Float[Tensor, "1 1 Hm Wm"], options: FillOptions
) -> ScalePlan:
    """Plan the fill of one photograph.

    Args:
        image: RGB 0-1, any size.
        mask: 1 = hole; at least one hole pixel and one known pixel.
        options: The caller's choices.

    Raises:
        ValueError: the mask is of another size, empty or full (also after growing), or
            ``scales`` would start below 64 px.
    """
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
    crop = crop_to_hole(hole)
    top, bottom, left, right = crop
    rows, columns = (
        padded_range(side, GENERATOR_STRIDE, SMALLEST_SIDE).to(image.device)
        for side in (bottom - top, right - left)
    )
    work, work_hole = (
        part[..., top:bottom, left:right][..., rows, :][..., columns] for part in (image, hole)
    )
    return ScalePlan(
        image=image,
        alpha=feathered(hole, options.feather),
        crop=crop,
        work=work,
        hole=work_hole,
        sizes=scale_sizes(work.shape[-2], work.shape[-1], options.scales),
    )


def crop_to_hole(hole: Float[Tensor, "1 1 H W"]) -> tuple[int, int, int, int]:
    """The part worth working on: the hole's box with as much again around it.

    Returns: (top, bottom, left, right) in pixels; the whole side where it is at most
    512 px or the hole is large.
    """
    spans = []
    for axis in (2, 3):
        filled = hole[0, 0].any(dim=3 - axis).nonzero().flatten()
        first, last = int(filled[0]), int(filled[-1]) + 1
        side = hole.shape[axis]
        length = min(side, max(SMALLEST_CROP, 2 * (last - first)))
        start = min(max((first + last - length) // 2, 0), side - length)
        spans += [start, start + length]
    top, bottom, left, right = spans
    return top, bottom, left, right


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


def shrink(
    image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"], height: int, width: int
) -> tuple[Float[Tensor, "B 3 h w"], Float[Tensor, "B 1 h w"]]:
    """Image and mask at another size; the hole's content does not leak into known pixels.

    A pixel that covers any hole pixel is hole, and 0. Known pixels are the mean of the
    pixels that they cover. At the same size the known pixels are bit-equal.
    """
    if image.shape[-2:] == (height, width):
        return image * (1 - mask), mask
    # Both pool over the same pixels: where the mask is 0 afterwards, all of them are known.
    small_mask = F.adaptive_max_pool2d(mask, (height, width))
    small = F.interpolate(image, size=(height, width), mode="area")
    return small * (1 - small_mask), small_mask


def grow(mask: Float[Tensor, "B 1 H W"], pixels: int) -> Float[Tensor, "B 1 H W"]:
    """The hole grown by ``pixels`` on every side, with square corners."""
    if pixels == 0:
        return mask
    rows = F.max_pool2d(mask, (2 * pixels + 1, 1), 1, (pixels, 0))
    return F.max_pool2d(rows, (1, 2 * pixels + 1), 1, (0, pixels))


def feathered(hole: Float[Tensor, "1 1 H W"], pixels: int) -> Float[Tensor, "1 1 H W"]:
    """1 in the hole, falling to 0 over ``pixels`` outside it."""
    if pixels == 0:
        return hole
    # Growing by one half and blurring by the other ends exactly at `pixels`.
    wide = grow(hole, pixels // 2)
    radius = pixels - pixels // 2
    padded = F.pad(wide, (radius,) * 4, mode="replicate")
    rows = F.avg_pool2d(padded, (2 * radius + 1, 1), 1)
    ramp = F.avg_pool2d(rows, (1, 2 * radius + 1), 1)
    return torch.maximum(hole, ramp)


def padded_range(side: int, multiple: int, smallest: int) -> Int64[Tensor, " n"]:
    """Indices that pad a side by mirroring, as often as needed, to a multiple of ``multiple``.

    Example: side 5, multiple 8 -> 0 1 2 3 4 3 2 1. A side of one pixel repeats it.
    """
    length = max(smallest, math.ceil(side / multiple) * multiple)
    if side == 1:
        return torch.zeros(length, dtype=torch.int64)
    period = 2 * (side - 1)
    position = torch.arange(length) % period
    return torch.minimum(position, period - position)


def _whole_cells(side: float) -> int:
    return max(SMALLEST_SIDE, round(side / GENERATOR_STRIDE) * GENERATOR_STRIDE)
