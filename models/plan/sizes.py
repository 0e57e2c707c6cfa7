"""The sizes at which a crop is worked on, small to large; knows no photograph and no network."""

import math
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.networks.image2feature import GENERATOR_STRIDE
from kintsugi.models.plan.resizing import SMALLEST_SIDE

# The longer side at which the hole is first inferred: what G1 is trained at.
FIRST_SIDE = 256
# The same where its fill is a guide for a search of pixels, which needs no detail of it.
GUIDE_SIDE = 128
# G1 sees its whole input and takes 235 MiB per megapixel: its size is not the caller's choice.
LARGEST_FIRST = 1024 * 1024

Size = tuple[int, int]


def scale_sizes(
    height: int, width: int, scales: int | Literal["auto"], *, first_side: int = FIRST_SIDE
) -> list[Size]:
    """Sizes from the first scale to (height, width); each side a multiple of 8.

    Under "auto" the longer side halves down to about ``first_side`` px, the shorter to no less than
    64. Where that leaves more than 1024*1024 px (pictures over 128 times as long as wide)
    only the longer side halves further, so that the first sizes are not of the picture's
    aspect.

    Raises: ValueError when ``scales`` would start with a side under 64 px, or with more
        than 1024*1024 px.
    """
    longer, shorter = max(height, width), min(height, width)
    most = 1 + int(math.log2(shorter / SMALLEST_SIDE))
    if scales == "auto":
        count = min(most, 1 + max(0, round(math.log2(longer / first_side))))
        while _area(_halved(height, width, count - 1)) > LARGEST_FIRST:
            count += 1
    else:
        count = scales
        if count > most:
            raise ValueError(
                f"scales={scales} would start at {shorter / 2 ** (count - 1):.0f} px: choose at"
                f" most {most} for {width}x{height}, or 'auto'"
            )
        first = _halved(height, width, count - 1)
        if _area(first) > LARGEST_FIRST:
            raise ValueError(
                f"scales={scales} would start at {first[1]}x{first[0]} px, more than"
                f" {LARGEST_FIRST} px: choose more scales for {width}x{height}, or 'auto'"
            )
    return [_halved(height, width, halvings) for halvings in range(count - 1, -1, -1)]


def worth_while(sizes: Sequence[Size], hole: Float[Tensor, "1 1 h w"]) -> Sequence[Size]:
    """The sizes without those first ones at which many thin holes leave little known.

    A pixel that covers any hole pixel is hole, so a hole of one pixel covers 16 x 16 after
    four halvings. From the size on at which half of what is known stays known; where that
    is over 1024*1024 px, from the largest that is not.
    """
    known = 1 - float(hole.mean())
    level = 0
    while (
        level + 1 < len(sizes)
        and _area(sizes[level + 1]) <= LARGEST_FIRST
        and 1 - float(F.adaptive_max_pool2d(hole, sizes[level]).mean()) < known / 2
    ):
        level += 1
    return sizes[level:]


def _halved(height: int, width: int, halvings: int) -> Size:
    return _whole_cells(height / 2**halvings), _whole_cells(width / 2**halvings)


def _area(size: Size) -> int:
    return size[0] * size[1]


def _whole_cells(side: float) -> int:
    return max(SMALLEST_SIDE, round(side / GENERATOR_STRIDE) * GENERATOR_STRIDE)
