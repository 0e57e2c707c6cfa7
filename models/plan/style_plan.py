"""One style transfer around the networks: sizes, tiles and how they are joined; no networks.

`Inpainter.stylize` and the serving graph walk the same plan: the style once, then tile by
tile encode, swap, translate. What a tile needs does not grow with the content. Layout
1 3 H W, RGB 0-1; boxes are (top, bottom, left, right) in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.networks.image2feature import GENERATOR_STRIDE
from kintsugi.models.plan.crops import Box
from kintsugi.models.plan.resizing import SMALLEST_SIDE, padded
from kintsugi.models.stylize import check_strength

# A larger style is shrunk to the area of a square of this side: at most 16,384 windows to search.
STYLE_SIDE = 512
# Smaller ones hold no texture that could be copied: four cells.
SMALLEST_STYLE = 16
# Content up to this side is worked on whole.
TILE_SIDE = 1024
# What neighbouring tiles share. The outer 20 px of a tile's edge know too little: features
# see 10 px beyond their cell, and windows two cells beyond that.
TILE_OVERLAP = 128
# Pixels in the middle of the overlap over which one tile fades into the next.
_FADE = 64


@dataclass(frozen=True)
class StylePlan:
    """One transfer: encode ``style``, walk ``boxes``, `paste` each answer onto `canvas`.

    Attributes:
        content: The whole picture, 1 3 H W.
        style: The style, shrunk and padded to whole cells, 1 3 h w.
        strength: 0-1.
        boxes: The content's tiles, row by row.
        rows, columns: (start, stop) of every row and every column of tiles.
    """

    content: Tensor
    style: Tensor
    strength: float
    boxes: Sequence[Box]
    rows: Sequence[tuple[int, int]]
    columns: Sequence[tuple[int, int]]

    def tile(self, box: Box) -> Float[Tensor, "1 3 h w"]:
        """One tile of the content, padded to whole cells."""
        top, bottom, left, right = box
        return padded(self.content[..., top:bottom, left:right])

    def canvas(self) -> Float[Tensor, "1 3 H W"]:
        """What tiles are pasted onto."""
        return torch.zeros_like(self.content)

    def paste(
        self, canvas: Float[Tensor, "1 3 H W"], box: Box, image: Float[Tensor, "1 3 h w"]
    ) -> None:
        """Add the image of one tile; when all are there every pixel's weights sum to 1."""
        top, bottom, left, right = box
        rows = _weights(top, bottom, self.rows).to(image)
        columns = _weights(left, right, self.columns).to(image)
        part = image[..., : bottom - top, : right - left]
        canvas[..., top:bottom, left:right] += part * rows[:, None] * columns


def plan_style(
    content: Float[Tensor, "1 3 H W"], style: Float[Tensor, "1 3 H2 W2"], strength: float
) -> StylePlan:
    """Plan one transfer.

    Args:
        content: RGB 0-1, any size.
        style: RGB 0-1, at least 16 px a side.
        strength: How much of the answer is style, 0-1.

    Raises: ValueError: strength outside 0-1, or the style is too small.
    """
    check_strength(strength)
    rows, columns = (_spans(side) for side in content.shape[-2:])
    boxes = [(top, bottom, left, right) for top, bottom in rows for left, right in columns]
    return StylePlan(content, prepare_style(style), strength, boxes, rows, columns)


def check_style(height: int, width: int) -> None:
    """Raises: ValueError: a style of this size is too small."""
    if min(height, width) < SMALLEST_STYLE:
        raise ValueError(
            f"the style is {width}x{height} px: it needs at least {SMALLEST_STYLE}x{SMALLEST_STYLE}"
        )


def prepare_style(style: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 3 h w"]:
    """The style as it is encoded: at most the area of 512x512 px, padding to whole cells included.

    It keeps its aspect. What still exceeds the area, a few pixels or most of a strip that
    is long and thin, is cut off on both sides of the middle.

    Raises: ValueError when a side is under 16 px.
    """
    height, width = style.shape[-2:]
    check_style(height, width)
    scale = max(STYLE_SIDE / math.sqrt(height * width), SMALLEST_STYLE / min(height, width))
    if scale < 1:
        size = [max(SMALLEST_STYLE, round(side * scale)) for side in (height, width)]
        style = F.interpolate(style, size=size, mode="area")
    return padded(_middle(style))


def _middle(style: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 3 h w"]:
    """The style without those ends of its longer side that would exceed the area once padded."""
    shorter, longer = sorted(style.shape[-2:])
    across = max(SMALLEST_SIDE, _up(float(shorter)))
    most = STYLE_SIDE**2 // across // GENERATOR_STRIDE * GENERATOR_STRIDE
    if longer <= most:
        return style
    axis = 2 if style.shape[2] == longer else 3
    return style.narrow(axis, (longer - most) // 2, most)


def _spans(side: int) -> list[tuple[int, int]]:
    """Where the tiles of one axis begin and end: about equal, each beginning on a cell."""
    count = max(1, math.ceil((side - TILE_OVERLAP) / (TILE_SIDE - TILE_OVERLAP)))
    if count == 1:
        return [(0, side)]
    length = _up((side + (count - 1) * TILE_OVERLAP) / count)
    starts = [_up(tile * (side - length) / (count - 1)) for tile in range(count)]
    return [(start, min(start + length, side)) for start in starts]


def _up(pixels: float) -> int:
    return math.ceil(pixels / GENERATOR_STRIDE) * GENERATOR_STRIDE


def _weights(start: int, stop: int, spans: Sequence[tuple[int, int]]) -> Tensor:
    """Weight of each pixel of the span (start, stop): 1, falling to 0 where another begins."""
    place = spans.index((start, stop))
    pixels = torch.arange(start, stop)
    weights = torch.ones(stop - start)
    if place > 0:
        weights = weights * _rising(pixels, (start + spans[place - 1][1]) / 2)
    if place + 1 < len(spans):
        weights = weights * (1 - _rising(pixels, (stop + spans[place + 1][0]) / 2))
    return weights


def _rising(pixels: Tensor, middle: float) -> Tensor:
    """From 0 to 1 over the fade around ``middle``."""
    return ((pixels + 0.5 - middle) / _FADE + 0.5).clamp(0, 1)
