"""Match: replace each feature patch over the hole by its nearest known one; no weights.

The search is exact. The inner product of two 3x3 patches is the sum of nine inner
products of single cells, so one matrix product of cells, added along its diagonals,
gives every patch score with a ninth of the multiplications. It runs in bands of query
rows against bands of candidate rows with a running maximum: the full score matrix
never exists.

Shapes: B batch, C channels, h w feature cells. A window is named by its top-left cell
in the grid of (h - 2) x (w - 2) windows that lie wholly inside the map.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

PATCH = 3
# Bytes for what one band of scores takes, unless the caller says otherwise.
DEFAULT_MEMORY_BUDGET = 256 * 2**20
# Index of a window that is not replaced.
KEPT = -1
# Arrays of a band's cell products that live at one time, and bytes of each number.
_LIVE_BYTES = 2 * 4
# Patches of a smaller norm than this count as zero and match nothing better than others.
SMALLEST_NORM = 1e-8


def patch_swap(
    features: Float[Tensor, "B C h w"],
    mask: Float[Tensor, "B 1 H W"],
    *,
    keys: Float[Tensor, "B K h w"] | None = None,
    guard: int = 0,
    memory_budget: int | None = None,
) -> Float[Tensor, "B C h w"]:
    """Patch-swap (paper section 3.3): match, then paste.

    Args:
        features: Feature map whose hole holds the coarse prediction; its patches are copied.
        mask: 1 = hole, at image size: a whole multiple of the map's size.
        keys: What is compared; the features themselves if None.
        guard: Cells around the hole that are no candidates either. With too few known
            cells for it the guard shrinks, at last to 0.
        memory_budget: Bytes for the scores held at one time; None: 256 MiB.

    Returns:
        Features with the hole replaced; known cells are bit-equal to the input's. Where
        no known window exists the features come back as they came.

    Raises:
        ValueError: when shapes disagree or the map is smaller than a patch.
    """
    indices = match_patches(
        features if keys is None else keys, mask, guard=guard, memory_budget=memory_budget
    )
    return paste_patches(features, indices, mask)


def hole_cells(
    mask: Float[Tensor, "B 1 H W"], height: int, width: int
) -> Float[Tensor, "B 1 {height} {width}"]:
    """The mask on a grid of cells: a cell with any hole pixel is hole.

    Raises: ValueError when the mask's sides are not the same whole multiple of the cells'.
    """
    stride = mask.shape[-2] // height
    if mask.shape[-2:] != (height * stride, width * stride):
        raise ValueError(
            f"mask is {mask.shape[-1]}x{mask.shape[-2]} and the feature map {width}x{height}:"
            " the mask's sides must be the same whole multiple of the map's"
        )
    return F.max_pool2d(mask, stride) if stride > 1 else mask


@torch.no_grad()
def match_patches(
    keys: Float[Tensor, "B C h w"],
    mask: Float[Tensor, "B 1 H W"],
    *,
    guard: int = 0,
    memory_budget: int | None = None,
) -> Int64[Tensor, "B h-2 w-2"]:
    """Find, for every window that touches the hole, the most similar window without hole.

    Similarity is the normalised cross-correlation <p, q> / (|p| |q|); |p| is the same
    for all candidates and left out (paper section 3.3, equation of d(p, p')).

    Returns:
        Per window the index ``row * (w - 2) + column`` of its match, or -1 where the
        window keeps its content: it does not touch the hole, or nothing is known. Among
        equals the lowest index wins.
    """
    height, width = keys.shape[-2:]
    if min(height, width) < PATCH:
        raise ValueError(f"feature map is {width}x{height}: a patch needs {PATCH}x{PATCH} cells")
    hole = hole_cells(mask, height, width)
    budget = DEFAULT_MEMORY_BUDGET if memory_budget is None else memory_budget
    return torch.stack(
        [
            _match_one(item.float(), cells[0] > 0, guard=guard, budget=budget)
            for item, cells in zip(keys, hole, strict=True)
        ]
    )


def paste_patches(
    features: Float[Tensor, "B C h w"],
    indices: Int64[Tensor, "B h-2 w-2"],
    mask: Float[Tensor, "B 1 H W"],
) -> Float[Tensor, "B C h w"]:
    """Copy matched windows over the hole and average where they overlap.

    Differentiable with respect to the copied values. Known cells are untouched.
    """
    batch, channels, height, width = features.shape
    hole = hole_cells(mask, height, width) > 0
    cells = features.permute(0, 2, 3, 1).reshape(-1, channels)
    item, row, column = (indices >= 0).nonzero(as_tuple=True)
    source = indices[item, row, column]
    source_row, source_column = source // (width - 2), source % (width - 2)
    total = torch.zeros_like(cells)
    count = cells.new_zeros(len(cells), 1)
    for down in range(PATCH):
        for right in range(PATCH):
            # No two windows share their cell at one offset: each target occurs once.
            to = (item * height + row + down) * width + column + right
            from_ = (item * height + source_row + down) * width + source_column + right
            total = total.index_add(0, to, cells[from_])
            count = count.index_add(0, to, count.new_ones(len(to), 1))
    mean = (total / count.clamp_min(1)).reshape(batch, height, width, channels)
    covered = count.reshape(batch, 1, height, width) > 0
    # In the layout that features come in: what follows shall not depend on who pasted.
    return torch.where(hole & covered, mean.permute(0, 3, 1, 2).contiguous(), features)


@dataclass(frozen=True)
class _Search:
    """One map, its queries and its candidates.

    ``cells`` is C x h x w, ``queries`` (h-2) x (w-2) true where a window is replaced,
    ``weight`` (h-2) x (w-2) is 1 / |q| for candidates and 0 for other windows,
    ``penalty`` 0 for candidates and -inf for other windows.
    """

    cells: Tensor
    queries: Tensor
    weight: Tensor
    penalty: Tensor


def _match_one(
    keys: Float[Tensor, "C h w"], hole: Tensor, *, guard: int, budget: int
) -> Int64[Tensor, "h-2 w-2"]:
    queries = _touches(hole)
    best = torch.full(queries.shape, KEPT, dtype=torch.int64, device=keys.device)
    candidates = _candidates(hole, guard)
    if not queries.any() or not candidates.any():
        return best
    norm = _window_sum((keys * keys).sum(0)).sqrt().clamp_min(SMALLEST_NORM)
    search = _Search(
        cells=keys,
        queries=queries,
        weight=torch.where(candidates, norm.reciprocal(), 0.0),
        penalty=torch.where(candidates, 0.0, -torch.inf),
    )
    left, right = _span(queries.any(0))
    for top, bottom in _bands(queries.any(1), _query_rows(search, right - left, budget)):
        left, right = _span(queries[top:bottom].any(0))
        found = _match_band(search, (top, bottom, left, right), budget)
        wanted = queries[top:bottom, left:right]
        best[top:bottom, left:right][wanted] = found[wanted]
    return best


def _match_band(search: _Search, box: tuple[int, int, int, int], budget: int) -> Tensor:
    """Best candidate of every window in the box of windows (top, bottom, left, right)."""
    top, bottom, left, right = box
    channels, height, width = search.cells.shape
    query = search.cells[:, top : bottom + 2, left : right + 2].reshape(channels, -1).T
    rows_at_once = max(1, budget // (_LIVE_BYTES * len(query) * width) - 2)
    best_score: Tensor | None = None
    best_index: Tensor | None = None
    for start in range(0, height - 2, rows_at_once):
        stop = min(start + rows_at_once, height - 2)
        cells = search.cells[:, start : stop + 2].reshape(channels, -1)
        score = _sum_diagonals(
            (query @ cells).reshape(bottom - top + 2, right - left + 2, stop - start + 2, width)
        )
        score.mul_(search.weight[start:stop]).add_(search.penalty[start:stop])
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


def _query_rows(search: _Search, columns: int, budget: int) -> int:
    """Rows of query windows per band: as many as the budget holds against the whole map."""
    _, height, width = search.cells.shape
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


def _candidates(hole: Tensor, guard: int) -> Tensor:
    """Windows without hole cells, ``guard`` cells off where enough is known for it."""
    for distance in range(guard, 0, -1):
        grown = F.max_pool2d(hole[None, None].float(), 2 * distance + 1, 1, distance)[0, 0] > 0
        windows = ~_touches(grown)
        if windows.any():
            return windows
    return ~_touches(hole)


def _touches(cells: Tensor) -> Tensor:
    """Windows (h-2 x w-2) with at least one true cell."""
    return F.max_pool2d(cells[None, None].float(), PATCH, 1)[0, 0] > 0


def _window_sum(cells: Float[Tensor, "h w"]) -> Float[Tensor, "h-2 w-2"]:
    return F.avg_pool2d(cells[None, None], PATCH, 1)[0, 0] * PATCH**2
