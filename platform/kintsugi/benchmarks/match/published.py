"""The match as style-swap publishes it: what the benchmark measures ours against; fills nothing.

Its score matrix has a row for every known window and a column for every window of the
map: 15 GiB and more at 1024 px, which is why it is written here and not in models/.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.match.windows import (
    KEPT,
    PATCH,
    SMALLEST_NORM,
    Search,
    candidate_windows,
    hole_cells,
    window_norms,
    windows_touching,
)

# Bytes of scores that `plain_winners` holds at one time.
_SCORES_AT_ONCE = 128 * 2**20
# Cosines closer than this are equal: fp32 sums of 2304 products differ by as much.
TIE = 1e-6


@torch.no_grad()
def published_swap(features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Patch-swap by two convolutions, as in "Fast Patch-based Style Transfer" (2016).

    Every window of the map is convolved with the normalised known patches, the arg-max
    over patches becomes a one-hot map, a transposed convolution of it with the patches
    adds them up where they belong, and division by the number of overlaps averages them.

    Args:
        features: 1 C h w.
        mask: 1 1 H W, 1 = hole, at a whole multiple of the map's size.

    Returns:
        Features with the hole replaced, 1 C h w, and the matches as
        `models.match.patch_swap.match_patches` gives them, 1 h-2 w-2.

    Raises: ValueError when the hole leaves no known window.
    """
    height, width = features.shape[-2:]
    hole = hole_cells(mask, height, width)[0, 0] > 0
    known = candidate_windows(hole, 0).flatten().nonzero().flatten()
    if not len(known):
        raise ValueError("no window of the map is free of the hole: leave more of it known")
    patches = F.unfold(features, PATCH)[0].T[known].reshape(len(known), -1, PATCH, PATCH)
    norms = patches.flatten(1).norm(dim=1).clamp_min(SMALLEST_NORM)
    winners = F.conv2d(features, patches / norms.view(-1, 1, 1, 1)).argmax(dim=1, keepdim=True)
    chosen = features.new_zeros(1, len(known), height - 2, width - 2).scatter_(1, winners, 1)
    total = F.conv_transpose2d(chosen, patches)
    once = features.new_ones(1, 1, PATCH, PATCH)
    overlaps = F.conv_transpose2d(features.new_ones(1, 1, height - 2, width - 2), once)
    matches = torch.where(windows_touching(hole), known[winners[0, 0]], KEPT)
    return torch.where(hole, total / overlaps, features), matches[None]


@torch.no_grad()
def plain_winners(search: Search) -> Tensor:
    """The nearest candidate of every query by plain convolution with the queries' patches.

    Independent of the searches in models/ and affordable for some hundred queries at any
    size: what their winners are checked against.

    Returns: h-2 w-2 int64, -1 where nothing is asked.
    """
    weight = torch.where(search.candidates, window_norms(search.candidate_keys).reciprocal(), 0.0)
    penalty = torch.where(search.candidates, 0.0, -torch.inf)
    winners = torch.full(search.queries.shape, KEPT, dtype=torch.int64)
    found = []
    asked = search.queries.nonzero()
    for places in torch.split(asked, max(1, _SCORES_AT_ONCE // (4 * weight.numel()))):
        patches = windows_at(search.query_keys, places)
        scores = F.conv2d(search.candidate_keys[None], patches)[0]
        found.append(scores.mul_(weight).add_(penalty).flatten(1).argmax(dim=1))
    winners[search.queries] = torch.cat(found)
    return winners


def same_winners(search: Search, matches: Tensor, reference: Tensor) -> float:
    """Share of the queries whose match is the reference's, or as similar as it.

    Args:
        search: What was asked.
        matches, reference: h-2 w-2; places that are no queries do not count.

    Returns: 0-1.
    """
    one, other = (_similarities(search, indices) for indices in (matches, reference))
    return float((one >= other - TIE).double().mean())


def windows_at(keys: Tensor, places: Tensor) -> Tensor:
    """Windows of C h w keys by their top-left cells, N 2 (row, column): N C 3 3."""
    width = keys.shape[-1]
    offsets = torch.arange(PATCH)
    rows = places[:, 0, None, None] + offsets[:, None]
    columns = places[:, 1, None, None] + offsets
    cells = keys.flatten(1)[:, (rows * width + columns).flatten()]
    return cells.reshape(len(keys), len(places), PATCH, PATCH).transpose(0, 1)


def _similarities(search: Search, indices: Tensor) -> Tensor:
    """Normalised cross-correlation of every query with the window it is given, float64."""
    width = search.candidates.shape[1]
    values = []
    asked, given = search.queries.nonzero(), indices[search.queries]
    for places, chosen in zip(torch.split(asked, 1024), torch.split(given, 1024), strict=True):
        query = windows_at(search.query_keys, places).flatten(1).double()
        sources = torch.stack([chosen // width, chosen % width], dim=1)
        match = windows_at(search.candidate_keys, sources).flatten(1).double()
        norms = query.norm(dim=1) * match.norm(dim=1)
        values.append((query * match).sum(1) / norms.clamp_min(SMALLEST_NORM**2))
    return torch.cat(values)
