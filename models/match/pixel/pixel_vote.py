"""Patches of pixels that overlap become one image, or its gradients; no weights.

Each pixel of the hole lies in many patches, and each brings a colour from its source: they vote
(Wexler, Shechtman, Irani 2007, section 3.2). Patches whose source is near count more, and so do
those whose centre is near the pixel (the narrower, the sharper). A mean shift towards the colour
on which most agree, as published there, was tried and rejected: `docs/lab.md`.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.pixel.pixel_search import NO_SOURCE, Field, PatchGrid

# Of the distances, the share that lies below the one at which a patch counts exp(-1/2).
_NEAR_SHARE = 0.3
# Distances from which that one is taken, evenly spread, at most.
_DISTANCES = 2**16
# However far its source is, a patch counts as much as this: where all are far, all count.
_LEAST_WEIGHT = 1e-4
# Patches whose centre is so far that they count less are left out.
_LEAST_NEARNESS = 1e-3
# Where all are left out, the standard deviation in pixels of how much those count, at least.
_EDGE_WIDTH = 1.0
# A distance that is as good as none: that of a hundredth of a grey level, squared.
_LEAST_DISTANCE = 1e-6
# Each pixel further from what is known, a patch counts by this much less: trust grows inwards.
_TRUST_BY_DEPTH = 1.1
# Pixels for which colours are gathered at one time.
_PIXELS_AT_ONCE = 2**14


class Ballot:
    """What every patch over the hole brings, and how much it counts.

    Args:
        grid: Whose hole is voted on.
        field: What each query copies, and how far it is from that: nearer counts more.
        depth: Pixels from each query to what is known: nearer counts more.
    """

    def __init__(self, grid: PatchGrid, field: Field, depth: Float[Tensor, " q"]) -> None:
        self._grid = grid
        positions = len(grid.is_source)
        self._match = field.match.new_full((positions,), NO_SOURCE)
        self._match[grid.queries] = field.match
        near = _quantile(field.distance, _NEAR_SHARE).clamp_min(_LEAST_DISTANCE)
        weight = torch.exp(-field.distance / (2 * near)).clamp_min(_LEAST_WEIGHT)
        self._weight = weight.new_zeros(positions)
        self._weight[grid.queries] = weight * _TRUST_BY_DEPTH**-depth
        self._pixels = grid.pixels()

    def colours(
        self, image: Float[Tensor, "1 3 h w"], *, width: float | None = None
    ) -> Float[Tensor, "1 3 h w"]:
        """The padded image, RGB 0-1, with its hole voted.

        Args:
            image: What stays: outside the hole, and where no patch brings anything. It is not
                written to.
            width: Standard deviation in pixels of how much a patch counts by the distance of
                its centre; None: all count the same.
        """
        voted = image[0].flatten(1).T.contiguous()
        for places in torch.split(self._grid.hole.flatten().nonzero()[:, 0], _PIXELS_AT_ONCE):
            mean, total = self._mean(places, width, None)
            voted[places] = torch.where(total > 0, mean, voted[places])
        return voted.T.reshape(image.shape)

    def gradients(self, move: int, *, width: float) -> Float[Tensor, "3 h w"]:
        """Differences between each pixel and the one ``move`` flat positions on, voted.

        Args:
            move: 1 for the pixel to the right, the grid's width for the one below.
            width: As of `colours`.

        Returns:
            The next pixel less this one, -1 to 1; where neither of the two is in the hole, and
            where no patch has both, 0.
        """
        flat = self._grid.hole.flatten()
        across = flat.clone()
        across[:-move] |= flat[move:]
        differences = self._pixels.new_zeros(len(flat), 3)
        for places in torch.split(across.nonzero()[:, 0], _PIXELS_AT_ONCE):
            differences[places], _ = self._mean(places, width, move)
        return differences.T.reshape(3, *self._grid.hole.shape)

    def _mean(
        self, places: Int64[Tensor, " p"], width: float | None, move: int | None
    ) -> tuple[Float[Tensor, "p 3"], Float[Tensor, "p 1"]]:
        """The vote at each place, and how much all counts that is brought: both 0 for nothing."""
        mean, total = self._weighted(places, move, *self._offsets(width, move, _LEAST_NEARNESS))
        left = (total[:, 0] == 0).nonzero()[:, 0]
        if width is not None and len(left):
            # Along the picture's edge no centre is near: those that are the nearest count.
            offsets = self._offsets(max(width, _EDGE_WIDTH), move, 0.0)
            mean[left], total[left] = self._weighted(places[left], move, *offsets)
        return mean, total

    def _weighted(
        self,
        places: Int64[Tensor, " p"],
        move: int | None,
        offsets: Int64[Tensor, " k"],
        nearness: Float[Tensor, " k"],
    ) -> tuple[Float[Tensor, "p 3"], Float[Tensor, "p 1"]]:
        """`_mean` over the patches whose centres lie ``offsets`` before each place."""
        last = len(self._pixels) - 1
        centres = (places - offsets[:, None]).clamp(0, last)
        # Beyond a patch's own hole no source: weight 0, whatever is gathered there.
        weight = self._weight[centres] * nearness[:, None]
        source = (self._match[centres] + offsets[:, None]).clamp(0, last)
        brought = self._pixels[source]
        if move is not None:
            brought = self._pixels[(source + move).clamp_max(last)] - brought
        total = weight.sum(0)[:, None]
        positive = total.clamp_min(torch.finfo(total.dtype).tiny)
        return torch.einsum("kp,kpc->pc", weight, brought) / positive, total

    def _offsets(
        self, width: float | None, move: int | None, least: float
    ) -> tuple[Int64[Tensor, " k"], Float[Tensor, " k"]]:
        """From centres to the pixels of their patches, and how much a patch counts there.

        Without those for which it counts less than ``least``, and, of differences, without those
        at whose patch's edge the next pixel is another one's.
        """
        grid = self._grid
        offsets = grid.offsets()
        row, column = _row_of(offsets, grid), _column_of(offsets, grid)
        nearness = self._weight.new_ones(len(offsets))
        if width is not None:
            nearness = torch.exp(-(row**2 + column**2).to(nearness) / (2 * width**2))
        kept = nearness >= least
        if move is not None:
            kept &= (row < grid.radius) if move == grid.width else (column < grid.radius)
        return offsets[kept], nearness[kept]


def _row_of(offsets: Tensor, grid: PatchGrid) -> Tensor:
    return torch.div(offsets + grid.radius, grid.width, rounding_mode="floor")


def _column_of(offsets: Tensor, grid: PatchGrid) -> Tensor:
    return offsets - _row_of(offsets, grid) * grid.width


def _quantile(values: Float[Tensor, " n"], share: float) -> Tensor:
    few = values[:: max(1, len(values) // _DISTANCES)]
    return few.kthvalue(max(1, round(share * len(few)))).values


def pad_like(image: Float[Tensor, "1 3 H W"], grid: PatchGrid) -> Float[Tensor, "1 3 h w"]:
    """An image padded as the grid's, with 0."""
    return F.pad(image, (grid.radius,) * 4)
