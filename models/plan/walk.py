"""The walk of one crop over its scales, small to large; knows no network.

What computes (`Inpainter` in one process, the Refiner by calls to other nodes) drives it:
`walk_scales` says what a scale begins with and is sent what it ended with.
"""

from collections.abc import Generator
from typing import NamedTuple

from torch import Tensor

from kintsugi.models.plan.fill_plan import ScalePlan


class ScaleInput(NamedTuple):
    """What one scale begins with.

    Attributes:
        level: 0 is the smallest scale, at which the hole is 0.
        image: 1 3 h w, RGB 0-1, with the fill of the scale before in its hole.
        mask: 1 1 h w, 1 = hole.
        needed: 1 1 h w, 1 = pixels of the answer that are used.
        previous: What the scale before says of its matches; None at level 0.
    """

    level: int
    image: Tensor
    mask: Tensor
    needed: Tensor
    previous: Tensor | None


class ScaleFill(NamedTuple):
    """What one scale ends with.

    Attributes:
        image: 1 3 h w, RGB 0-1.
        matches: What was copied where, for the next scale's search.
    """

    image: Tensor
    matches: Tensor


def walk_scales(plan: ScalePlan) -> Generator[ScaleInput, ScaleFill, Tensor]:
    """Yield the input of each scale, be sent its fill, return the last scale's image.

    `next` starts it; each `send` of a `ScaleFill` gives the next `ScaleInput`, and the last one
    raises `StopIteration`, whose ``value`` is the image, 1 3 h w at the padded crop's size.
    """
    fill: ScaleFill | None = None
    for level in range(len(plan.sizes)):
        before, matches = (None, None) if fill is None else fill
        image, mask = plan.inputs(level, before)
        fill = yield ScaleInput(level, image, mask, plan.needed(level), matches)
    assert fill is not None
    return fill.image
