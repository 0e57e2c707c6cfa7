"""The exact search: one product of cells, added along its diagonals; no approximation.

The inner product of two 3x3 windows is the sum of nine inner products of single cells,
so one matrix product of cells, added along its diagonals, gives every score with a ninth
of the multiplications. Rows of candidates run past a box of queries; what is kept of each
are the contenders: the candidates that no rounding error can rule out. Nearly always that
is one. Where it is several, float64 decides.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.scoring.boxes import HALO, Box, cover
from kintsugi.models.match.scoring.contenders import Contenders
from kintsugi.models.match.scoring.float64 import (
    best_of_pairs,
    nearest_in_float64,
    similarities_in_float64,
)
from kintsugi.models.match.scoring.score_error import scale_for, score_error
from kintsugi.models.match.windows import KEPT, SMALLEST_NORM, Search, window_norms
from kintsugi.models.precision import Precision

# Bytes of scores at one time. On a CPU so many that they stay in its caches.
DEFAULT_MEMORY_BUDGET = 12 * 2**20
DEFAULT_MEMORY_BUDGET_CUDA = 512 * 2**20
# Arrays of a step's cell products that live at one time, and bytes of each number.
_LIVE_BYTES = 5 * 4
# Candidates that pass a box of queries at one time are at most so many columns wide.
_COLUMNS = 128


@dataclass(frozen=True)
class _Scoring:
    """A search and what its scores need.

    Attributes:
        weight: 1 / |q| of candidates, 0 for other windows; (H-2) x (W-2).
        slack: Two scores of a query this far apart are surely in the right order; h-2 x
            w-2, -inf where nothing is asked.
        dtype: What cells are multiplied in.
        scale: What they are multiplied by before.
        numbers: How many cell products a step may make.
    """

    search: Search
    weight: Tensor
    slack: Tensor
    dtype: torch.dtype
    scale: float
    numbers: int


def nearest_exact(
    search: Search, *, memory_budget: int | None = None, precision: Precision = "float32"
) -> Int64[Tensor, "rows columns"]:
    """The nearest candidate of every query; among equals the lowest index.

    The answer is that of exact arithmetic (cosines closer than 1e-12 are equal): it depends
    neither on the budget, nor the precision, nor the number of threads.

    Args:
        search: Queries and candidates.
        memory_budget: Bytes for the scores held at one time; None: 12 MiB, on CUDA 512.
            At least one query is scored against one candidate.
        precision: What cells are multiplied in. Half precision pays only where its products
            are several times as fast: it leaves several contenders to most queries, and
            in smooth photographs so many to most that float32 must score them again. On
            other devices than the CPU it is always float32.

    Returns: per query window the index of its match, -1 elsewhere.
    """
    device = search.query_keys.device
    if memory_budget is None:
        memory_budget = (
            DEFAULT_MEMORY_BUDGET_CUDA if device.type == "cuda" else DEFAULT_MEMORY_BUDGET
        )
    dtype = _dtype(device, precision)
    best, undecided = _search(search, dtype, memory_budget)
    if dtype != torch.float32 and undecided.any():
        again = replace(search, queries=undecided)
        found, still = _search(again, torch.float32, memory_budget)
        best, undecided = torch.where(undecided, found, best), still
    asked = undecided.flatten().nonzero().flatten()
    if len(asked):
        best.view(-1)[asked] = nearest_in_float64(search, asked, budget=memory_budget)
    return best


def _dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """What cells are multiplied in.

    CUDA may add products of half precision up in half precision too
    (``allow_bf16_reduced_precision_reduction``); then no bound on a score's error would hold.
    """
    chosen: torch.dtype = getattr(torch, precision)
    return chosen if device.type == "cpu" else torch.float32


def _search(
    search: Search, dtype: torch.dtype, budget: int
) -> tuple[Int64[Tensor, "rows columns"], Bool[Tensor, "rows columns"]]:
    """The matches that scores of this type make sure of, and the queries left open."""
    best = torch.full_like(search.queries, KEPT, dtype=torch.int64)
    undecided = search.queries.clone()
    norms = window_norms(search.candidate_keys)
    # A window that counts as zero is 0 to all: no better than what is no candidate.
    counting = search.candidates & (norms > SMALLEST_NORM)
    if not counting.any():
        return best, undecided
    scale = scale_for(search, dtype)
    weight = torch.where(counting, norms.reciprocal(), 0.0) / scale**2
    slack = 2 * score_error(search, counting, dtype) * window_norms(search.query_keys)
    scoring = _Scoring(
        search=search,
        weight=weight,
        slack=slack.masked_fill(~search.queries, -torch.inf),
        dtype=dtype,
        scale=scale,
        numbers=budget // _LIVE_BYTES,
    )
    columns = min(_COLUMNS, max(1, math.isqrt(scoring.numbers) - HALO))
    side = max(1, math.isqrt(scoring.numbers // (columns + HALO)) - HALO)
    areas = cover(counting, rows=len(counting), columns=columns)
    for box in cover(search.queries, rows=side, columns=side):
        queries, candidates = _match_box(scoring, box, areas, budget)
        best.view(-1)[queries] = candidates
        undecided.view(-1)[queries] = False
    return best, undecided


def _match_box(
    scoring: _Scoring, box: Box, areas: list[Box], budget: int
) -> tuple[Int64[Tensor, "n"], Int64[Tensor, "n"]]:
    """Queries of the box whose match is sure, and their matches, as flat indices."""
    slack = F.pad(_part(scoring.slack, box), (0, HALO), value=-torch.inf)
    contenders = Contenders(slack.flatten())
    for area in areas:
        for scores, indices in _Sweep(scoring, box, area):
            contenders.add(scores, indices)
    pairs = contenders.settled()
    windows = scoring.slack.shape[1]
    row, column = pairs.queries // slack.shape[1], pairs.queries % slack.shape[1]
    queries = (box.top + row) * windows + box.left + column
    alone = queries.bincount()[queries] == 1
    several = ~alone
    asked, chosen = best_of_pairs(
        queries[several],
        pairs.candidates[several],
        similarities_in_float64(
            scoring.search, queries[several], pairs.candidates[several], budget=budget
        ),
    )
    return torch.cat([queries[alone], asked]), torch.cat([pairs.candidates[alone], chosen])


class _Sweep:
    """The scores of a box of queries while the rows of an area of candidates pass by.

    A row of cells is multiplied once; the sums of its products are held until the two rows
    after it have come. Box and area keep the columns of their halo, so that the neighbours of
    a cell lie at one flat distance: scores of the area's halo are 0, those of the box's are
    to be ignored.
    """

    def __init__(self, scoring: _Scoring, box: Box, area: Box) -> None:
        self._scoring, self._area = scoring, area
        self._queries = _cells(scoring, scoring.search.query_keys, box).T
        self._line, self._width = box.right - box.left + HALO, area.right - area.left + HALO
        count = len(self._queries) * self._width
        self._at_once = min(max(1, scoring.numbers // count), area.bottom - area.top)
        room = (count * self._at_once,)
        # Sums are held until the step that brings the second row after theirs.
        steps = 1 + -(-HALO // self._at_once)
        self._products = self._queries.new_empty(room)
        self._sums = [torch.empty(room, device=self._queries.device) for _ in range(steps)]
        self._scores = torch.empty(room, device=self._queries.device)

    def __iter__(self) -> Iterator[tuple[Float[Tensor, "n rows columns"], Int64[Tensor, "rows _"]]]:
        """Scores, which the next step overwrites, and the candidates' indices."""
        area, line, windows = self._area, self._line, self._scoring.weight.shape[1]
        weight = F.pad(_part(self._scoring.weight, area), (0, HALO))
        columns = torch.arange(area.left, area.right + HALO, device=weight.device)
        count = len(self._queries) - HALO * line
        sums: tuple[Tensor, ...] = ()
        for top, bottom in self._steps(area.top, area.top + HALO):
            sums += self._sum_rows(top, bottom)
        for top, bottom in self._steps(area.top, area.bottom):
            sums = sums[-HALO:] + self._sum_rows(top + HALO, bottom + HALO)
            scores = self._scores[: count * (bottom - top) * self._width]
            scores = scores.view(count, bottom - top, self._width)
            for row in range(bottom - top):
                torch.add(sums[row][:count], sums[row + 1][line:-line], out=scores[:, row])
                scores[:, row] += sums[row + 2][2 * line :]
            scores *= weight[top - area.top : bottom - area.top]
            rows = torch.arange(top, bottom, device=weight.device)[:, None]
            yield scores, rows * windows + columns

    def _steps(self, top: int, bottom: int) -> Iterator[tuple[int, int]]:
        for start in range(top, bottom, self._at_once):
            yield start, min(start + self._at_once, bottom)

    def _sum_rows(self, top: int, bottom: int) -> tuple[Tensor, ...]:
        """For every row of cells, the sums along its row of every query cell's products."""
        cells = _cells(
            self._scoring,
            self._scoring.search.candidate_keys,
            self._area._replace(top=top, bottom=bottom - HALO),
        )
        shape = (len(self._queries), cells.shape[1])
        products = self._products[: shape[0] * shape[1]]
        torch.mm(self._queries, cells, out=products.view(shape))
        self._sums.append(self._sums.pop(0))
        sums = self._sums[-1][: len(products)]
        _sum_three(products.float(), step=shape[1] + 1, out=sums)
        return sums.view(shape[0], bottom - top, self._width).unbind(1)


def _cells(scoring: _Scoring, keys: Float[Tensor, "C h w"], box: Box) -> Float[Tensor, "C n"]:
    """The cells under a box of windows, as they are multiplied."""
    part = keys[:, box.top : box.bottom + HALO, box.left : box.right + HALO].flatten(1)
    return part if scoring.dtype == torch.float32 else (part * scoring.scale).to(scoring.dtype)


def _sum_three(values: Float[Tensor, "n"], *, step: int, out: Float[Tensor, "n"]) -> None:
    """Every value with those one and two steps on; 0 where they would lie beyond the end."""
    inner = out[: -2 * step]
    torch.add(values[: -2 * step], values[step:-step], out=inner)
    inner += values[2 * step :]
    out[-2 * step :] = 0


def _part(grid: Tensor, box: Box) -> Tensor:
    return grid[box.top : box.bottom, box.left : box.right]
