"""Match: replace each feature patch over the hole by its nearest known one; no weights.

Shapes: B batch, C channels, h w feature cells; windows and their indices as in
`models.match.windows`. The searches are behind `models.match.method`.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from models.match.method import Method, check_method, nearest
from models.match.spread_limit import check_max_uses
from models.match.windows import (
    KEPT,
    PATCH,
    Search,
    candidate_windows,
    hole_cells,
    windows_touching,
)

# Cells that are pasted at one time: what is copied for them stays in the processor's caches.
_CELLS_AT_ONCE = 1024


def patch_swap(
    features: Float[Tensor, "B C h w"],
    mask: Float[Tensor, "B 1 H W"],
    *,
    keys: Float[Tensor, "B K h w"] | None = None,
    guard: int = 0,
    method: Method = "exact",
    init: Int64[Tensor, "B h-2 w-2"] | None = None,
    max_uses: int | None = None,
    seed: int = 0,
    memory_budget: int | None = None,
) -> Float[Tensor, "B C h w"]:
    """Patch-swap (paper section 3.3): match, then paste.

    Args:
        features: Feature map whose hole holds the coarse prediction; its patches are copied.
        mask: 1 = hole, at image size: a whole multiple of the map's size.
        keys: What is compared; the features themselves if None.
        guard, method, init, max_uses, seed, memory_budget: As `match_patches` takes them.

    Returns:
        Features with the hole replaced; known cells are bit-equal to the input's. Where
        no known window exists the features come back as they came.

    Raises:
        ValueError: shapes disagree, the map is smaller than a patch, another method, or
            ``max_uses`` less than 1.
    """
    indices = match_patches(
        features if keys is None else keys,
        mask,
        guard=guard,
        method=method,
        init=init,
        max_uses=max_uses,
        seed=seed,
        memory_budget=memory_budget,
    )
    return paste_patches(features, indices, mask)


@torch.no_grad()
def match_patches(
    keys: Float[Tensor, "B C h w"],
    mask: Float[Tensor, "B 1 H W"],
    *,
    guard: int = 0,
    method: Method = "exact",
    init: Int64[Tensor, "B h-2 w-2"] | None = None,
    max_uses: int | None = None,
    seed: int = 0,
    memory_budget: int | None = None,
) -> Int64[Tensor, "B h-2 w-2"]:
    """Find, for every window that touches the hole, the most similar window without hole.

    Similarity is the normalised cross-correlation <p, q> / (|p| |q|); |p| is the same
    for all candidates and left out (paper section 3.3, equation of d(p, p')).

    Args:
        keys: What is compared, in any floating type; compared in float32.
        mask: 1 = hole, at image size: a whole multiple of the map's size.
        guard: Cells around the hole that are no candidates either. With too few known
            cells for it the guard shrinks, at last to 0.
        method: "exact", "approximate", or "auto": exact where that is affordable
            (`models.match.method`).
        init: Where the approximate search starts: indices on this map's own grid, as
            `models.match.approximate.upsample_matches` carries them up.
        max_uses: How many windows over the hole may copy one known window, at least 1
            (more where there are too few for that); None: as many as like, the paper's.
        seed: Decides every random choice of the approximate search.
        memory_budget: Bytes for the scores held at one time; None: the search's own.

    Returns:
        Per window the index ``row * (w - 2) + column`` of its match, or -1 where the
        window keeps its content: it does not touch the hole, or nothing is known. Among
        equals the exact search takes the lowest index.

    Raises:
        ValueError: shapes disagree, the map is smaller than a patch, another method, or
            ``max_uses`` less than 1.
    """
    height, width = keys.shape[-2:]
    if min(height, width) < PATCH:
        raise ValueError(f"feature map is {width}x{height}: a patch needs {PATCH}x{PATCH} cells")
    check_method(method)
    if max_uses is not None:
        check_max_uses(max_uses)
    hole = hole_cells(mask, height, width)[:, 0] > 0
    matches = keys.new_full((len(keys), height - 2, width - 2), KEPT, dtype=torch.int64)
    for item, cells in enumerate(hole):
        compared = keys[item].float()
        search = Search(
            compared, compared, windows_touching(cells), candidate_windows(cells, guard)
        )
        if search.queries.any() and search.candidates.any():
            matches[item] = nearest(
                search,
                method=method,
                init=None if init is None else init[item],
                max_uses=max_uses,
                seed=seed,
                memory_budget=memory_budget,
            )
    return matches


def paste_patches(
    features: Float[Tensor, "B C h w"],
    indices: Int64[Tensor, "B h-2 w-2"],
    mask: Float[Tensor, "B 1 H W"],
) -> Float[Tensor, "B C h w"]:
    """Copy matched windows over the hole and average where they overlap.

    Differentiable with respect to the copied values. Known cells are untouched, and the
    answer lies in memory as the features do.
    """
    hole = hole_cells(mask, *features.shape[-2:])[:, 0] > 0
    answer = features.clone()
    for item in range(len(features)):
        cells = features[item].flatten(1)
        for row, column in _split(hole[item]):
            source, given = _sources(indices[item], row, column)
            covered = given.any(0)
            mean = _mean_of(cells, source[:, covered], given[:, covered])
            answer[item, :, row[covered], column[covered]] = mean.to(features.dtype)
    return answer


def _split(hole: Bool[Tensor, "h w"]) -> list[tuple[Tensor, Tensor]]:
    """Rows and columns of the hole's cells, some at a time."""
    row, column = hole.nonzero(as_tuple=True)
    return list(
        zip(torch.split(row, _CELLS_AT_ONCE), torch.split(column, _CELLS_AT_ONCE), strict=True)
    )


def _sources(
    indices: Int64[Tensor, "rows columns"], row: Int64[Tensor, "n"], column: Int64[Tensor, "n"]
) -> tuple[Int64[Tensor, "9 n"], Bool[Tensor, "9 n"]]:
    """The cells that nine windows bring to each of these cells, and which windows do."""
    windows = indices.shape[1]
    width = windows + PATCH - 1
    around = F.pad(indices, (PATCH - 1,) * 4, value=KEPT)
    offsets = torch.arange(PATCH, device=indices.device)
    down, right = offsets.repeat_interleave(PATCH)[:, None], offsets.repeat(PATCH)[:, None]
    # The window that has this cell `down` and `right` of its corner.
    match = around[row - down + PATCH - 1, column - right + PATCH - 1]
    source = (match // windows + down) * width + match % windows + right
    return torch.where(match == KEPT, 0, source), match != KEPT


def _mean_of(
    cells: Float[Tensor, "C cells"], source: Int64[Tensor, "9 n"], given: Bool[Tensor, "9 n"]
) -> Float[Tensor, "C n"]:
    """The mean of the given cells, computed in float32 at least."""
    total = cells.new_zeros(
        len(cells), source.shape[1], dtype=torch.promote_types(cells.dtype, torch.float32)
    )
    for one, there in zip(source, given, strict=True):
        copied = cells.index_select(1, one)
        total += copied if there.all() else copied.masked_fill(~there, 0)
    return total / given.sum(0)
