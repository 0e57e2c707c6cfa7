"""How deep pixels or cells lie in a hole; knows no network."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def depth_in(hole: Float[Tensor, "B 1 H W"], deepest: int) -> Float[Tensor, "B 1 H W"]:
    """The distance from what is known, as a share of ``deepest``.

    Args:
        hole: Over 0 = hole.
        deepest: So many pixels inside the hole's edge, along a row, a column or a diagonal, is
            as deep as anything.

    Returns:
        0 outside the hole, 1 / deepest in its outermost pixels, 1 from ``deepest`` on. The
        frame of the picture is no edge of a hole that reaches it: nothing is known there.
    """
    inside = (hole > 0).to(hole)
    depth = torch.zeros_like(inside)
    for _ in range(deepest):
        depth += inside / deepest
        inside = 1 - F.max_pool2d(1 - inside, 3, 1, 1)
    return depth
