"""Match to the pixel: a hole filled with what is copied pixel by pixel; no weights.

Beyond the paper, whose match copies cells of 4x4 pixels and averages nine of them, which do not
agree to the pixel: large holes come out dull. Here the fill of the networks is a guide, which says
what belongs where, and patches of pixels are searched and voted in turns, from coarse to fine
(`kintsugi.models.match.pixel.size_search`). The guide counts most at the coarsest size.

`search_pixels` is one scale of a fill; its first scale works through smaller sizes of its own.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.pixel.pixel_search import NO_SOURCE, PatchGrid
from kintsugi.models.match.pixel.size_search import (
    PATCH_RADIUS,
    Guide,
    SizeSearch,
    size_of,
)
from kintsugi.models.plan.resizing import shrink

# The longer side at which a guided search begins, and the least of the shorter side.
_COARSEST_LONGER, _COARSEST_SHORTER = 16, 8
# Halving ends where the hole would be less deep than this, in pixels, ...
_LEAST_DEPTH = 2
# ... or less than this share of the known pixels would lie in a patch that can be copied: what
# belongs in a hole is mostly what is next to it, and of that there would be no patch.
_LEAST_COVERED = 0.9
# Searches and votes at each size of the first scale, smallest first, and at a later scale.
_TURNS, _LATER_TURNS = (6, 4, 3, 2), 1
# How much the guide's colour counts at each size against that of a patch.
_GUIDE = (1.0, 0.25, 0.12, 0.05)


class Searched(NamedTuple):
    """One scale's fill and what was copied where.

    Attributes:
        image: 1 3 H W, RGB 0-1; outside the hole that which was given.
        sources: 1 H W int32, per pixel the flat position of the pixel copied there by the patch
            around it; -1 where no patch is.
    """

    image: Tensor
    sources: Tensor


# The image, and per pixel the flat position of the pixel copied there.
_Filled = tuple[Float[Tensor, "1 3 H W"], Int64[Tensor, "H W"]]


@torch.no_grad()
def search_pixels(
    image: Float[Tensor, "B C H W"],
    mask: Float[Tensor, "M K h w"],
    *,
    previous: Int[Tensor, "1 hp wp"] | None = None,
    seed: int = 0,
) -> Searched:
    """Fill the hole with pixels copied from what is known.

    Args:
        image: 1 3 H W, RGB 0-1; in the hole the guide at the first scale, then the fill of the
            scale before, enlarged. It is not written to.
        mask: 1 1 H W, over 0 = hole.
        previous: ``sources`` of the scale before, at its size; None at the first scale.
        seed: Decides every random choice.

    Returns:
        The fill. Where no patch is without hole pixels the image comes back as it came.

    Raises: ValueError: more than one image, or sides that disagree.
    """
    if image.shape[:2] != (1, 3) or mask.shape != (1, 1, *image.shape[2:]):
        raise ValueError(
            f"image is {tuple(image.shape)} and mask {tuple(mask.shape)}: give one image of"
            " 1 3 H W and its mask of 1 1 H W"
        )
    generator = torch.Generator().manual_seed(seed)
    if previous is None:
        found = _first_scale(image, mask, generator)
    else:
        found = _later_scale(image, mask, previous[0].long(), generator)
    if found is None:
        return Searched(image.clone(), torch.full_like(mask[0], NO_SOURCE, dtype=torch.int32))
    filled, sources = found
    return Searched(torch.where(mask > 0, filled, image), sources[None].int())


def _first_scale(
    image: Float[Tensor, "1 3 H W"], mask: Float[Tensor, "1 1 H W"], generator: torch.Generator
) -> _Filled | None:
    """By the guide, from coarse to fine; None: nothing can be copied."""
    filled: Tensor | None = None
    sources: Tensor | None = None
    sizes = _sizes(mask)
    for level, size in enumerate(sizes):
        known, hole = (image, mask) if size == sizes[-1] else shrink(image, mask, *size)
        guide = image if size == sizes[-1] else F.interpolate(image, size, mode="area")
        grid = PatchGrid.of(known, hole, PATCH_RADIUS)
        if not grid.can_be_filled:
            # Perhaps there is something to copy at the next size.
            continue
        begun = guide if filled is None else _enlarged(filled, size)
        begun = torch.where(hole > 0, begun, known)
        stage = min(level, len(_TURNS) - 1)
        search = SizeSearch(grid, begun, Guide(guide, _GUIDE[stage]), generator)
        filled, sources = search.run(sources, _TURNS[stage])
    return None if filled is None or sources is None else (filled, sources)


def _later_scale(
    image: Float[Tensor, "1 3 H W"],
    mask: Float[Tensor, "1 1 H W"],
    previous: Int64[Tensor, "h w"],
    generator: torch.Generator,
) -> _Filled | None:
    """From the sources of the scale before; None: nothing can be copied."""
    grid = PatchGrid.of(image, mask, PATCH_RADIUS)
    if not grid.can_be_filled:
        return None
    return SizeSearch(grid, image, None, generator).run(previous, _LATER_TURNS)


def _sizes(mask: Float[Tensor, "1 1 H W"]) -> list[tuple[int, int]]:
    """Sizes of a guided search, from the smallest to the mask's own."""
    hole = (mask > 0).to(mask)
    sizes = [size_of(mask)]
    while True:
        height, width = sizes[0][0] // 2, sizes[0][1] // 2
        if max(sizes[0]) <= _COARSEST_LONGER or min(height, width) < _COARSEST_SHORTER:
            return sizes
        small = F.adaptive_max_pool2d(hole, (height, width))
        if _is_shallow(small) or _covered(small) < _LEAST_COVERED:
            return sizes
        sizes.insert(0, (height, width))


def _covered(hole: Float[Tensor, "1 1 h w"]) -> float:
    """Of the known pixels those that lie in a patch without hole pixels, 0-1."""
    side = 2 * PATCH_RADIUS + 1
    if min(hole.shape[-2:]) < side:
        return 0.0
    sources = F.pad(1 - F.max_pool2d(hole, side, 1), (PATCH_RADIUS,) * 4)
    covered = F.max_pool2d(sources, side, 1, PATCH_RADIUS)
    return float(covered.sum() / (1 - hole).sum().clamp_min(1))


def _is_shallow(hole: Float[Tensor, "1 1 h w"]) -> bool:
    """Whether no pixel of the hole is as deep as the smallest size needs."""
    side = 2 * _LEAST_DEPTH - 1
    return bool(F.max_pool2d(1 - hole, side, 1, side // 2).all())


def _enlarged(image: Float[Tensor, "1 3 h w"], size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size, mode="bicubic", align_corners=False).clamp(0, 1)
