"""The 3x3 windows of a feature map: which touch the hole, which may be copied; no search.

Shapes: C channels, h w feature cells. A window is named by its top-left cell in the grid
of (h - 2) x (w - 2) windows that lie wholly inside the map; its index there is
``row * (w - 2) + column``.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

PATCH = 3
# Index of a window that is not replaced.
KEPT = -1
# Patches of a smaller norm than this count as zero and match nothing better than others.
SMALLEST_NORM = 1e-8


@dataclass(frozen=True)
class Search:
    """One question: the nearest candidate of every query.

    Similarity is the normalised cross-correlation <p, q> / (|p| |q|); |p| is the same for
    all candidates (paper section 3.3, equation of d(p, p')).

    Attributes:
        query_keys: What the queries are compared by, C h w, float32.
        candidate_keys: What the candidates are compared by, C H W, float32; the same
            tensor as ``query_keys`` when a map is searched for its own hole.
        queries: (h-2) x (w-2), true where a window is to be matched; at least one.
        candidates: (H-2) x (W-2), true where a window may be copied; at least one.
    """

    query_keys: Tensor
    candidate_keys: Tensor
    queries: Tensor
    candidates: Tensor


def hole_cells(
    mask: Float[Tensor, "B 1 H W"] | Bool[Tensor, "B 1 H W"], height: int, width: int
) -> Float[Tensor, "B 1 {height} {width}"]:
    """The mask, 1 or true = hole, on a grid of cells: a cell with any hole pixel is hole.

    Raises: ValueError when the mask's sides are not the same whole multiple of the cells'.
    """
    stride = mask.shape[-2] // height
    if mask.shape[-2:] != (height * stride, width * stride):
        raise ValueError(
            f"mask is {mask.shape[-1]}x{mask.shape[-2]} and the feature map {width}x{height}:"
            " the mask's sides must be the same whole multiple of the map's"
        )
    if not mask.is_floating_point():
        mask = mask.float()
    return F.max_pool2d(mask, stride) if stride > 1 else mask


def windows_touching(cells: Bool[Tensor, "h w"]) -> Bool[Tensor, "h-2 w-2"]:
    """Windows with at least one true cell."""
    return F.max_pool2d(cells[None, None].float(), PATCH, 1)[0, 0] > 0


def candidate_windows(hole: Bool[Tensor, "h w"], guard: int) -> Bool[Tensor, "h-2 w-2"]:
    """Windows without hole cells, ``guard`` cells off where enough is known for it."""
    for distance in range(guard, 0, -1):
        grown = F.max_pool2d(hole[None, None].float(), 2 * distance + 1, 1, distance)[0, 0] > 0
        windows = ~windows_touching(grown)
        if windows.any():
            return windows
    return ~windows_touching(hole)


def window_norms(keys: Float[Tensor, "C h w"]) -> Float[Tensor, "h-2 w-2"]:
    """|q| of every window, at least the smallest that counts."""
    squares = (keys * keys).sum(0)
    sums = F.avg_pool2d(squares[None, None], PATCH, 1)[0, 0] * PATCH**2
    return sums.sqrt().clamp_min(SMALLEST_NORM)
