"""Scores in float64: what decides between candidates whose quick scores are too close.

The quick search is `kintsugi.models.match.exact`; this one is slow and is asked about few queries.
Queries and candidates are named by their flat index in their grid of windows.
"""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from kintsugi.models.match.windows import PATCH, SMALLEST_NORM, Search

# Cosines nearer to each other than this are equal, and the lowest index wins: float64 sums
# of the same window come out different by some 1e-15, depending on where it lies.
TIE = 1e-12
# Offsets of a window's nine cells.
_OFFSETS = [(down, right) for down in range(PATCH) for right in range(PATCH)]


def similarities_in_float64(
    search: Search, queries: Int64[Tensor, "n"], candidates: Int64[Tensor, "n"], *, budget: int
) -> Float64[Tensor, "n"]:
    """The normalised cross-correlation of pairs; 0 where one of the two windows counts as zero.

    Args:
        budget: Bytes for the windows held at one time.
    """
    at_once = max(1, budget // (3 * 8 * PATCH**2 * len(search.query_keys)))
    parts = []
    for some, others in zip(
        torch.split(queries, at_once), torch.split(candidates, at_once), strict=True
    ):
        query = windows_at(search.query_keys, some)
        candidate = windows_at(search.candidate_keys, others)
        norms = _reciprocal(query.square().sum((0, 1))) * _reciprocal(
            candidate.square().sum((0, 1))
        )
        parts.append((query * candidate).sum((0, 1)) * norms)
    return torch.cat(parts) if parts else queries.new_zeros(0, dtype=torch.float64)


def best_of_pairs(
    queries: Int64[Tensor, "n"], candidates: Int64[Tensor, "n"], values: Float64[Tensor, "n"]
) -> tuple[Int64[Tensor, "m"], Int64[Tensor, "m"]]:
    """Per query its best candidate, among equals the lowest: (queries, candidates)."""
    asked, place = torch.unique(queries, return_inverse=True)
    best = values.new_full((len(asked),), -torch.inf).scatter_reduce(0, place, values, "amax")
    equal = values >= best[place] - TIE
    chosen = torch.full_like(asked, torch.iinfo(torch.int64).max)
    return asked, chosen.scatter_reduce(0, place[equal], candidates[equal], "amin")


def nearest_in_float64(
    search: Search, queries: Int64[Tensor, "n"], *, budget: int
) -> Int64[Tensor, "n"]:
    """The best candidate of every query by trying all; among equals the lowest.

    Equal queries are tried once.
    """
    channels, _, width = search.candidate_keys.shape
    per_query = 8 * (3 * channels * PATCH**2 + 4 * width)
    chosen = []
    for some in torch.split(queries, max(1, budget // per_query)):
        windows = windows_at(search.query_keys, some).flatten(0, 1).T
        windows, place = torch.unique(windows, dim=0, return_inverse=True)
        rows = max(1, budget // (8 * width * (4 * len(windows) + channels)) - 2)
        chosen.append(_try_all(search, windows, rows)[place])
    return torch.cat(chosen)


def windows_at(
    keys: Float[Tensor, "C h w"], indices: Int64[Tensor, "n"]
) -> Float64[Tensor, "9 C n"]:
    """The cells of windows, in reading order, channels of a cell together."""
    width = keys.shape[2]
    corner = indices // (width - 2) * width + indices % (width - 2)
    cells = keys.flatten(1)
    return torch.stack(
        [cells[:, corner + (down * width + right)].double() for down, right in _OFFSETS]
    )


def _try_all(search: Search, windows: Float64[Tensor, "n K"], rows: int) -> Int64[Tensor, "n"]:
    """The best candidate of each of these windows, ``rows`` rows of candidates at a time."""
    height, width = search.candidate_keys.shape[-2:]
    windows = windows * _reciprocal(windows.square().sum(1))[:, None]
    parts = windows.chunk(PATCH**2, dim=1)
    best = windows.new_full((len(windows),), -torch.inf)
    chosen = torch.zeros(len(windows), dtype=torch.int64, device=windows.device)
    for top in range(0, height - 2, rows):
        bottom = min(top + rows, height - 2)
        cells = search.candidate_keys[:, top : bottom + 2].double().flatten(1)
        # Columns of one window next to another: the flat offset of a cell is the same for all.
        count = (bottom - top) * width - 2
        scores, squares = windows.new_zeros(len(windows), count), windows.new_zeros(count)
        for part, (down, right) in zip(parts, _OFFSETS, strict=True):
            moved = cells[:, down * width + right :][:, :count]
            scores.addmm_(part, moved)
            squares += moved.square().sum(0)
        places = torch.arange(count, device=windows.device)
        row, column = top + places // width, places % width
        inside = column < width - 2
        index = torch.where(inside, row * (width - 2) + column, 0)
        allowed = inside & search.candidates.flatten()[index]
        scores = (scores * _reciprocal(squares)).masked_fill(~allowed, -torch.inf)
        value = scores.amax(1)
        equal = (scores >= value[:, None] - TIE) & allowed
        first = torch.where(equal, index, torch.iinfo(torch.int64).max).amin(1)
        better = value > best + TIE
        best, chosen = torch.where(better, value, best), torch.where(better, first, chosen)
    return chosen


def _reciprocal(squares: Tensor) -> Tensor:
    """1 / |x| of squared norms, 0 for what counts as zero."""
    norms = squares.sqrt()
    return torch.where(norms < SMALLEST_NORM, 0.0, norms.clamp_min(SMALLEST_NORM).reciprocal())
