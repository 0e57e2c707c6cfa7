"""The exact search: one product of cells, added along its diagonals; no approximation.

The inner product of two 3x3 patches is the sum of nine inner products of single cells,
so one matrix product of cells, added along its diagonals, gives every patch score with a
ninth of the multiplications. It runs in bands of query rows against bands of candidate
rows with a running maximum: the full score matrix never exists.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from models.windows import KEPT, Search, window_norms

# Bytes for what one band of scores takes, unless the caller says otherwise.
DEFAULT_MEMORY_BUDGET = 256 * 2**20
# Arrays of a band's cell products that live at one time, and bytes of each number.
_LIVE_BYTES = 2 * 4


@dataclass(frozen=True)
class _Weighted:
    """A search and what its scores are multiplied by and lowered by.

    ``weight`` is 1 / |q| for candidates and 0 for other windows, ``penalty`` 0 for
    candidates and -inf for other windows.
    """

    search: Search
    weight: Tensor
    penalty: Tensor


def nearest_exact(search: Search, *, memory_budget: int | None = None) -> Tensor:
    """The nearest candidate of every query; among equals the lowest index.

    Args:
        search: Queries and candidates.
        memory_budget: Bytes for the scores held at one time; None: 256 MiB.

    Returns: (h-2) x (w-2) int64: per query window the index of its match, -1 elsewhere.
    """
    budget = DEFAULT_MEMORY_BUDGET if memory_budget is None else memory_budget
    queries = search.queries
    best = torch.full(queries.shape, KEPT, dtype=torch.int64, device=queries.device)
    weighted = _Weighted(
        search,
        weight=torch.where(
            search.candidates, window_norms(search.candidate_keys).reciprocal(), 0.0
        ),
        penalty=torch.where(search.candidates, 0.0, -torch.inf),
    )
    left, right = _span(queries.any(0))
    for top, bottom in _bands(queries.any(1), _query_rows(search, right - left, budget)):
        left, right = _span(queries[top:bottom].any(0))
        found = _match_band(weighted, (top, bottom, left, right), budget)
        wanted = queries[top:bottom, left:right]
        best[top:bottom, left:right][wanted] = found[wanted]
    return best


def _match_band(weighted: _Weighted, box: tuple[int, int, int, int], budget: int) -> Tensor:
    """Best candidate of every window in the box of windows (top, bottom, left, right)."""
    top, bottom, left, right = box
    search = weighted.search
    channels, height, width = search.candidate_keys.shape
    query = search.query_keys[:, top : bottom + 2, left : right + 2].reshape(channels, -1).T
    rows_at_once = max(1, budget // (_LIVE_BYTES * len(query) * width) - 2)
    best_score: Tensor | None = None
    best_index: Tensor | None = None
    for start in range(0, height - 2, rows_at_once):
        stop = min(start + rows_at_once, height - 2)
        cells = search.candidate_keys[:, start : stop + 2].reshape(channels, -1)
        score = _sum_diagonals(
            (query @ cells).reshape(bottom - top + 2, right - left + 2, stop - start + 2, width)
        )
        score.mul_(weighted.weight[start:stop]).add_(weighted.penalty[start:stop])
        value, index = score.flatten(2).max(dim=2)
        index += start * (width - 2)
        if best_score is None or best_index is None:
            best_score, best_index = value, index
        else:
            # Strictly greater: among equals the earlier, lower index stays.
            better = value > best_score
            best_score = torch.where(better, value, best_score)
            best_index = torch.where(better, index, best_index)
    assert best_index is not None
    return best_index


def _sum_diagonals(products: Float[Tensor, "a b c d"]) -> Float[Tensor, "a-2 b-2 c-2 d-2"]:
    """Cell products to patch products: add along the diagonals of rows, then of columns."""
    a, b, c, d = products.shape
    rows = products[: a - 2, :, : c - 2] + products[1 : a - 1, :, 1 : c - 1]
    rows += products[2:, :, 2:]
    # Nobody else holds them: no more than two arrays of this size live at a time.
    del products
    score = rows[:, : b - 2, :, : d - 2] + rows[:, 1 : b - 1, :, 1 : d - 1]
    score += rows[:, 2:, :, 2:]
    return score


def _query_rows(search: Search, columns: int, budget: int) -> int:
    """Rows of query windows per band: as many as the budget holds against the whole map."""
    _, height, width = search.candidate_keys.shape
    return max(1, budget // (_LIVE_BYTES * (columns + 2) * height * width) - 2)


def _bands(rows: Tensor, size: int) -> Iterator[tuple[int, int]]:
    """Runs of true rows as (top, bottom), cut into bands of at most ``size`` rows.

    Holes that lie above one another are searched apart: each only as wide as it is.
    """
    wanted = rows.nonzero().flatten().tolist()
    start = 0
    for end in range(1, len(wanted) + 1):
        if end == len(wanted) or wanted[end] > wanted[end - 1] + 1 or end - start == size:
            yield wanted[start], wanted[end - 1] + 1
            start = end


def _span(wanted: Tensor) -> tuple[int, int]:
    """First and one past the last true place."""
    places = wanted.nonzero().flatten()
    return int(places[0]), int(places[-1]) + 1
