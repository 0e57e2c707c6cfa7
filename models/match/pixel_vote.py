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

from models.match.pixel_search import NO_SOURCE, Field, PatchGrid

# Of the distances, the share that lies below the one at which a patch counts exp(-1/2).
_NEAR_SHARE = 0.3
# Distances from which that one is taken, evenly spread, at most.
_DISTANCES = 2**16
# However far its source is, a patch counts as much as this: where all are far, all count.
_LEAST_WEIGHT = 1e-4
# Patches whose centre is so far that they count less are left out.
_LEAST_NEARNESS = 1e-3
# The smallest distance that is told from none: a hundredth of a grey level, squared.
_LEAST_DISTANCE = 1e-6
# Each pixel further from what is known, a patch counts by this much less: trust grows inwards.
_TRUST_BY_DEPTH = 1.1
# Pixels for which colours are gathered at one time.
_PIXELS_AT_ONCE = 2**14


class Ballot:
    """What every patch over the hole brings, and how much it counts."""

    def __init__(self, grid: PatchGrid, field: Field, depth: Float[Tensor, " q"]) -> None:
        """``depth``: pixels from each query to what is known."""
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
        """The padded image with its hole voted anew.

        Args:
            image: What stays: outside the hole, and where no patch brings anything.
            width: Standard deviation in pixels of how much a patch counts by the distance of
                its centre; None: all count the same.
        """
        grid = self._grid
        offsets, nearness = self._offsets(width)
        voted = image[0].flatten(1).T.contiguous()
        for places in torch.split(grid.hole.flatten().nonzero()[:, 0], _PIXELS_AT_ONCE):
            centres = places - offsets[:, None]
            match = self._match[centres]
            # Beyond a patch's own hole no source: weight 0, whatever is gathered there.
            weight = self._weight[centres] * nearness[:, None]
            colours = self._pixels[(match + offsets[:, None]).clamp_min(0)]
            total = weight.sum(0)
            mean = torch.einsum("kp,kpc->pc", weight, colours) / _positive(total)[:, None]
            voted[places] = torch.where(total[:, None] > 0, mean, voted[places])
        return voted.T.reshape(image.shape)

    def gradients(self, move: int, *, width: float) -> Float[Tensor, "3 h w"]:
        """Differences between each pixel and the one ``move`` flat positions on, voted.

        Where neither of the two is in the hole, and where no patch has both: 0.
        """
        grid = self._grid
        offsets, nearness = self._offsets(width)
        # Patches that hold a pixel and not the next one know no difference: left out.
        row, column = (part(offsets, grid) for part in (_row_of, _column_of))
        holds = (row < grid.radius) if move == grid.width else (column < grid.radius)
        offsets, nearness = offsets[holds], nearness[holds]
        flat = grid.hole.flatten()
        across = flat.clone()
        across[:-move] |= flat[move:]
        differences = self._pixels.new_zeros(len(flat), 3)
        for places in torch.split(across.nonzero()[:, 0], _PIXELS_AT_ONCE):
            centres = (places - offsets[:, None]).clamp(0, len(flat) - 1)
            weight = self._weight[centres] * nearness[:, None]
            source = (self._match[centres] + offsets[:, None]).clamp_min(0)
            beyond = (source + move).clamp_max(len(flat) - 1)
            stepped = self._pixels[beyond] - self._pixels[source]
            total = weight.sum(0)
            voted = torch.einsum("kp,kpc->pc", weight, stepped) / _positive(total)[:, None]
            differences[places] = voted
        return differences.T.reshape(3, *grid.hole.shape)

    def _offsets(self, width: float | None) -> tuple[Int64[Tensor, " k"], Float[Tensor, " k"]]:
        """From centres to the pixels of their patches, and how much a patch counts there."""
        offsets = self._grid.offsets()
        if width is None:
            return offsets, self._weight.new_ones(len(offsets))
        squared = _row_of(offsets, self._grid) ** 2 + _column_of(offsets, self._grid) ** 2
        nearness = torch.exp(-squared.to(self._weight) / (2 * width**2))
        kept = nearness >= _LEAST_NEARNESS
        return offsets[kept], nearness[kept]


def _row_of(offsets: Tensor, grid: PatchGrid) -> Tensor:
    return torch.div(offsets + grid.radius, grid.width, rounding_mode="floor")


def _column_of(offsets: Tensor, grid: PatchGrid) -> Tensor:
    return offsets - _row_of(offsets, grid) * grid.width


def _positive(total: Tensor) -> Tensor:
    return total.clamp_min(torch.finfo(total.dtype).tiny)


def _quantile(values: Float[Tensor, " n"], share: float) -> Tensor:
    few = values[:: max(1, len(values) // _DISTANCES)]
    return few.kthvalue(max(1, round(share * len(few)))).values


def pad_like(image: Float[Tensor, "1 3 H W"], grid: PatchGrid) -> Float[Tensor, "1 3 h w"]:
    """An image padded as the grid's."""
    return F.pad(image, (grid.radius,) * 4)
