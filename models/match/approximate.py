"""The approximate search: near the exact one's matches at a cost that grows with the hole.

Windows are compared by short sketches (`kintsugi.models.match.sketch`). Each query looks into the
few groups of candidates that are most like it (`kintsugi.models.match.tree`) and around the match
of a smaller scale, then tries what its neighbours found and what lies next to its own
best; at the end the few best are compared by all channels in float32. Knows no mask and
pastes nothing. Shapes: Q queries, N candidates, in reading order; windows and their
indices as in `kintsugi.models.match.windows`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.similarity import similarities
from kintsugi.models.match.sketch import Sketches, sketch_windows
from kintsugi.models.match.tree import grow_leaves, rows_of, search_leaves
from kintsugi.models.match.windows import KEPT, PATCH, Search

# Bytes of one chunk of queries: what stays in a processor's cache (64 MiB took nearly twice
# the time), and on accelerators, which have no use for small chunks, more.
_CHUNK_BYTES = {"cpu": 8 * 2**20}
_ACCELERATOR_CHUNK_BYTES = 128 * 2**20
# Matches of a query that are kept for the comparison by all channels.
_KEPT_MATCHES = 4
# Rounds of trying what the neighbours found.
_ROUNDS = 2
# Candidates among which starts are looked for; of more every second, every third ..., so
# that the cost of a query stays the same. Those between are found through their neighbours.
_MOST_STARTS = 2**18


@dataclass(frozen=True)
class _Grid:
    """The true windows of a grid: which they are, and where each stands among them.

    Attributes:
        row: n, row of each true window in the grid.
        column: n, its column.
        table: Place of each window of the grid among the true ones, or -1.
    """

    row: Int64[Tensor, " n"]
    column: Int64[Tensor, " n"]
    table: Int64[Tensor, "rows columns"]

    @staticmethod
    def of(where: Bool[Tensor, "rows columns"]) -> "_Grid":
        row, column = where.nonzero(as_tuple=True)
        table = torch.full(where.shape, KEPT, dtype=torch.int64, device=where.device)
        table[row, column] = torch.arange(len(row), device=where.device)
        return _Grid(row, column, table)

    @property
    def index(self) -> Int64[Tensor, " n"]:
        return self.row * self.table.shape[1] + self.column

    def find(self, row: Tensor, column: Tensor) -> Tensor:
        """Places of the windows at these rows and columns; -1 for others and off the grid."""
        height, width = self.table.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        found = self.table[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return torch.where(inside, found, KEPT)


@dataclass(frozen=True)
class _Matches:
    """The best matches of every query so far, by sketch, the best first.

    Attributes:
        places: Q k, places of candidates, no two of a query equal; -1 for none.
        scores: Q k, similarity by sketch; -inf for none.
    """

    places: Int64[Tensor, "Q k"]
    scores: Float[Tensor, "Q k"]

    @staticmethod
    def best_of(places: Int64[Tensor, "Q n"], scores: Float[Tensor, "Q n"]) -> "_Matches":
        """The best of n proposals per query, each counted once; among equals the lowest."""
        places, order = places.sort(dim=1, stable=True)
        scores = scores.gather(1, order)
        repeated = F.pad(places[:, 1:] == places[:, :-1], (1, 0))
        scores = scores.masked_fill(repeated | (places < 0), -torch.inf)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, :_KEPT_MATCHES]
        scores = scores.gather(1, order)
        places = places.gather(1, order).masked_fill(scores == -torch.inf, KEPT)
        return _Matches(places, scores)


@torch.no_grad()
def nearest_approximate(
    search: Search,
    *,
    init: Int64[Tensor, "rows columns"] | None = None,
    seed: int = 0,
    memory_budget: int | None = None,
) -> Int64[Tensor, "rows columns"]:
    """A near candidate of every query, in time that grows linearly with the queries.

    Args:
        search: Queries and candidates.
        init: Per query window the index of a window to start at too, as
            `upsample_matches` gives it; -1 where nothing is known. It need not be a
            candidate. The search finds starts by itself as well.
        seed: Decides every random choice.
        memory_budget: Bytes for chunks of queries, at most; the sketches come on top
            (256 for each query, 256 to 512 for each candidate) and later a slice of the
            keys (128 for each cell). It decides between matches only where they differ
            by rounding. None, or more than is of use: 8 MiB, on accelerators 128 MiB.

    Returns: (h-2) x (w-2) int64: per query window the index of its match, -1 elsewhere.
    """
    budget = _chunk_bytes(search, memory_budget)
    generator = torch.Generator().manual_seed(seed)
    sketches = sketch_windows(search, generator=generator, budget=budget)
    queries, candidates = _Grid.of(search.queries), _Grid.of(search.candidates)
    matches = _alike(sketches, generator, budget)
    if init is not None:
        matches = _try(sketches, matches, _given(init[search.queries], candidates), budget)
    neighbours = _around(queries, queries.row, queries.column)
    for _ in range(_ROUNDS):
        proposals = _found_by_neighbours(matches, neighbours, candidates)
        matches = _try(sketches, matches, proposals, budget)
        best = matches.places[:, 0]
        beside = _around(candidates, candidates.row[best], candidates.column[best])
        matches = _try(sketches, matches, beside, budget)
    # The sketches make room for the keys.
    del sketches
    answer = torch.full_like(queries.table, KEPT)
    answer[search.queries] = _best_by_all_channels(search, queries, candidates, matches, budget)
    return answer


def _chunk_bytes(search: Search, memory_budget: int | None) -> int:
    useful = _CHUNK_BYTES.get(search.query_keys.device.type, _ACCELERATOR_CHUNK_BYTES)
    return useful if memory_budget is None else min(memory_budget, useful)


def _alike(sketches: Sketches, generator: torch.Generator, budget: int) -> _Matches:
    """Matches in the groups of candidates that are most like each query."""
    stride = -(-len(sketches.candidates) // _MOST_STARTS)
    some = sketches.candidates[::stride]
    leaves = grow_leaves(some, generator=generator, budget=budget)
    places, scores = search_leaves(sketches.queries, some, leaves, budget=budget)
    return _Matches.best_of(places * stride, scores)


def _given(start: Int64[Tensor, " Q"], candidates: _Grid) -> Int64[Tensor, "Q 9"]:
    """The candidates around the windows where the caller says to start."""
    width = candidates.table.shape[1]
    around = _around(candidates, start // width, start % width)
    return around.masked_fill(start[:, None] < 0, KEPT)


def _steps(device: torch.device) -> tuple[Tensor, Tensor]:
    """The nine steps to a window's neighbours and itself: rows and columns."""
    step = torch.arange(-1, 2, device=device)
    return step.repeat_interleave(3), step.repeat(3)


def _around(grid: _Grid, row: Tensor, column: Tensor) -> Int64[Tensor, "Q 9"]:
    """Places of the windows around each given one, and of itself."""
    down, right = _steps(row.device)
    return grid.find(row[:, None] + down, column[:, None] + right)


def _found_by_neighbours(
    matches: _Matches, neighbours: Int64[Tensor, "Q 9"], candidates: _Grid
) -> Int64[Tensor, "Q 9"]:
    """What each neighbour found, moved back by the step to the neighbour."""
    down, right = _steps(neighbours.device)
    found = matches.places[neighbours.clamp_min(0), 0]
    moved = candidates.find(candidates.row[found] - down, candidates.column[found] - right)
    return moved.masked_fill(neighbours < 0, KEPT)


def _try(
    sketches: Sketches, matches: _Matches, proposals: Int64[Tensor, "Q n"], budget: int
) -> _Matches:
    """The best of the matches so far and the proposals (-1: none)."""
    size = sketches.queries.shape[1]
    at_once = max(1, budget // (4 * size * proposals.shape[1]))
    scores = torch.cat(
        [
            (rows_of(sketches.candidates, places.clamp_min(0)) @ query[..., None])[..., 0]
            for places, query in zip(
                torch.split(proposals, at_once), torch.split(sketches.queries, at_once), strict=True
            )
        ]
    )
    return _Matches.best_of(
        torch.cat([matches.places, proposals], dim=1), torch.cat([matches.scores, scores], dim=1)
    )


def _best_by_all_channels(
    search: Search, queries: _Grid, candidates: _Grid, matches: _Matches, budget: int
) -> Int64[Tensor, " Q"]:
    """Indices of the windows that are best in float32; among equals the lowest."""
    best = matches.places[:, :1]
    places = torch.where(matches.places < 0, best, matches.places).sort(dim=1).values
    windows, query_windows = candidates.index[places], queries.index
    scores = similarities(search, query_windows, windows, budget=budget)
    return windows.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]


def upsample_matches(
    indices: Int64[Tensor, "B h w"], source_cells: tuple[int, int], target_cells: tuple[int, int]
) -> Int64[Tensor, "B h2 w2"]:
    """Carry matches to a map of another size, to start its search there (`init`).

    A window keeps its offset from the first window that stems from the same one: on twice
    the size, the query at twice the place, plus 0 or 1, looks at twice its match's place,
    plus 0 or 1. Matches that would leave the map are moved back to its border.

    Args:
        indices: Matches on the grid of windows of the source, -1 for none.
        source_cells: Cells of that map as (height, width).
        target_cells: Cells of the map to come, as (height, width).

    Returns: B (h_t - 2) (w_t - 2); -1 where the window that it stems from has no match. A
    match need not be a candidate there.

    Raises:
        ValueError: ``indices`` is not of the source's windows, or a map has no window.
    """
    height, width = indices.shape[1:]
    if (height + PATCH - 1, width + PATCH - 1) != tuple(source_cells):
        raise ValueError(
            f"matches are {width}x{height} windows but the source has"
            f" {source_cells[1]}x{source_cells[0]} cells: it must have {PATCH - 1} more a side"
        )
    if min(target_cells) < PATCH or min(source_cells) < PATCH:
        raise ValueError(
            f"maps of {source_cells[1]}x{source_cells[0]} and {target_cells[1]}x"
            f"{target_cells[0]} cells: a patch needs {PATCH}x{PATCH}"
        )
    from_row, row_offset = _stems(source_cells[0], target_cells[0], indices.device)
    from_column, column_offset = _stems(source_cells[1], target_cells[1], indices.device)
    found = indices[:, from_row][:, :, from_column]
    row = _carried(found // width, source_cells[0], target_cells[0]) + row_offset[:, None]
    column = _carried(found % width, source_cells[1], target_cells[1]) + column_offset
    last_row, last_column = target_cells[0] - PATCH, target_cells[1] - PATCH
    carried = row.clamp(max=last_row) * (last_column + 1) + column.clamp(max=last_column)
    return torch.where(found < 0, KEPT, carried)


def _stems(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of each window along one axis of the target: the source's, and the offset from it."""
    window = torch.arange(target - PATCH + 1, device=device)
    stem = (window * source // target).clamp(max=source - PATCH)
    return stem, window - _carried(stem, source, target)


def _carried(window: Tensor, source: int, target: int) -> Tensor:
    """The first window of the target that stems from this one, along one axis."""
    return -(-window * target // source)


def mean_similarity(
    search: Search, indices: Int64[Tensor, "rows columns"], *, memory_budget: int | None = None
) -> float:
    """Mean similarity of the queries with their matches, by all channels in float32.

    How close a search comes to the exact one is (its mean - the mean of random matches) /
    (the exact one's - the mean of random matches).

    Raises:
        ValueError: no query has a match.
    """
    budget = _chunk_bytes(search, memory_budget)
    matched = (indices.flatten() >= 0).nonzero().flatten()
    if len(matched) == 0:
        raise ValueError("no window has a match: give the indices that a search returned")
    matches = indices.flatten()[matched, None]
    return float(similarities(search, matched, matches, budget=budget).mean())


def random_matches(search: Search, seed: int = 0) -> Int64[Tensor, "rows columns"]:
    """A random candidate for every query: what a search is measured against."""
    generator = torch.Generator().manual_seed(seed)
    candidates = search.candidates.flatten().nonzero().flatten()
    answer = torch.full(search.queries.shape, KEPT, dtype=torch.int64, device=candidates.device)
    count = int(search.queries.sum())
    picked = torch.randint(len(candidates), (count,), generator=generator).to(candidates.device)
    answer[search.queries] = candidates[picked]
    return answer
