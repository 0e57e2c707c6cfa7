"""Which part of a photograph a fill looks at: found with numpy, before anything becomes float.

A plan made on the window is the plan of the whole photograph, moved: every crop that
`kintsugi.models.plan.crops` could choose or weigh against another lies in it, and its corner is
on the grid by which holes are grouped. A test compares the two.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Samples = TypeVar("Samples", bound=npt.NDArray[Any])
# (top, bottom, left, right) in pixels, its ends outside; as `kintsugi.models.plan.crops.Box`.
Box = tuple[int, int, int, int]

# Smallest crop of `kintsugi.models.plan.crops`, which would bring PyTorch; a test holds them equal.
SMALLEST_CROP = 512
BLOCK = 32
MOST_NEAR_GROUPS = 256
NEAR_BLOCKS = 8
# Context of a part, and what rounding to whole pixels and cells adds.
_MARGIN = 512 + 16


def fill_window(mask: npt.NDArray[np.bool_], grow: int) -> Box:
    """The part of a photograph that decides its fill.

    Args:
        mask: H W, True = hole; not empty.
        grow: Pixels by which the hole will grow on every side.
    """
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = max(0, int(rows[0]) - grow), min(height, int(rows[-1]) + 1 + grow)
    left, right = max(0, int(columns[0]) - grow), min(width, int(columns[-1]) + 1 + grow)
    block = _coarsest_block(bottom - top, right - left)
    return (*_span(top, bottom, height, block), *_span(left, right, width, block))


def seen_window(pixels: npt.NDArray[Any], mask: npt.NDArray[np.bool_], grow: int) -> Box:
    """`fill_window`, or the whole where what the fill is made from lies farther away.

    Args:
        pixels: H W 3, or H W 4 where some cannot be seen: 0 in the fourth channel.
        mask: H W, True = hole; not empty.
        grow: As there.
    """
    box = fill_window(mask, grow)
    if pixels.shape[2] == 3:
        return box
    top, bottom, left, right = box
    inside = (slice(top, bottom), slice(left, right))
    if ((pixels[inside][..., 3] > 0) & ~_grown(mask[inside], grow)).any():
        return box
    height, width = mask.shape
    return (0, height, 0, width)


def fill_within(
    pixels: Samples,
    mask: npt.NDArray[np.bool_],
    grow: int,
    fill: Callable[[Samples, npt.NDArray[np.bool_]], Samples],
) -> Samples:
    """Fill the window alone, and give the whole picture back: the same, with memory of the hole.

    Args:
        pixels: H W 3, or H W 4 where some cannot be seen: 0 in the fourth channel.
        mask: H W, True = hole.
        grow: Pixels by which ``fill`` will grow the hole.
        fill: Gives the fill, H W 3, of a picture with a hole; it refuses what is no hole.

    Returns: H W 3.
    """
    if mask.shape != pixels.shape[:2] or not mask.any():
        return fill(pixels, mask)
    top, bottom, left, right = seen_window(pixels, mask, grow)
    inside = (slice(top, bottom), slice(left, right))
    answer: Any = pixels[..., :3].copy()
    part: Any = np.ascontiguousarray(pixels[inside])
    answer[inside] = fill(part, np.ascontiguousarray(mask[inside]))
    filled: Samples = answer
    return filled


def _grown(mask: npt.NDArray[np.bool_], pixels: int) -> npt.NDArray[np.bool_]:
    """As `kintsugi.models.compose.colour.grow`: by so many pixels on every side."""
    for axis in (0, 1) if pixels else ():
        margin = [(pixels + 1, pixels) if each == axis else (0, 0) for each in (0, 1)]
        sums = np.pad(mask, margin).cumsum(axis=axis, dtype=np.int32).swapaxes(0, axis)
        mask = (sums[2 * pixels + 1 :] > sums[: -2 * pixels - 1]).swapaxes(0, axis)
    return mask


def _coarsest_block(rows: int, columns: int) -> int:
    """The largest block on whose grid holes may be grouped, for holes in such a box."""
    block = BLOCK
    while _most_groups(rows, block) * _most_groups(columns, block) > MOST_NEAR_GROUPS:
        block *= 2
    return block


def _most_groups(length: int, block: int) -> int:
    """Groups that fit into a row: any two are more than `NEAR_BLOCKS` blocks apart."""
    return (length // block + 2) // (NEAR_BLOCKS + 1) + 1


def _span(first: int, last: int, side: int, block: int) -> tuple[int, int]:
    """One side of the window of holes from ``first`` to ``last``."""
    first, last = first // block * block, min(side, -(-last // block) * block)
    # As much again as the holes around them, shared out on both sides, or the least there is.
    longest = min(side, max(SMALLEST_CROP, 2 * (last - first)))
    margin = max(-(-(last - first) // 2), _MARGIN)
    start, end = first - margin, last + margin
    if start < 0:
        # A crop that would begin outside is moved in, and ends later.
        end = max(end, longest)
    if end > side:
        start = min(start, side - longest)
    return max(0, start) // block * block, min(side, -(-end // block) * block)
