"""What the benchmark checks matches against: plain convolution, and how similar winners are.

The published form that it times is `kintsugi.models.paper.patch_swap`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.windows import KEPT, PATCH, SMALLEST_NORM, Search, window_norms

# Bytes of scores that `plain_winners` holds at one time.
_SCORES_AT_ONCE = 128 * 2**20
# Cosines closer than this are equal: fp32 sums of 2304 products differ by as much.
TIE = 1e-6


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
