"""Match: replace each feature patch over the hole by its nearest known one; no weights.

Shapes: B batch, C channels, h w feature cells; windows and their indices as in
`kintsugi.models.match.windows`. The searches are behind `kintsugi.models.match.search`.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.search import Method, check_options, nearest
from kintsugi.models.match.windows import (
    KEPT,
    PATCH,
    Search,
    candidate_windows,
    hole_cells,
    windows_touching,
)
from kintsugi.models.precision import Precision

# Cells that are pasted at one time: what is copied for them stays in the processor's caches.
_CELLS_AT_ONCE = 1024


def patch_swap(
    features: Float[Tensor, "B C h w"],
    mask: Float[Tensor, "B 1 H W"] | Bool[Tensor, "B 1 H W"],
    *,
    keys: Float[Tensor, "B K h w"] | None = None,
    guard: int = 0,
    method: Method = "exact",
    init: Int64[Tensor, "B h-2 w-2"] | None = None,
    seed: int = 0,
    precision: Precision = "float32",
) -> Float[Tensor, "B C h w"]:
    """Patch-swap (paper section 3.3): match, then paste.

    Args:
        features: Feature map whose hole holds the coarse prediction; its patches are copied.
        mask: 1 or true = hole, at image size: a whole multiple of the map's size.
        keys: What is compared; the features themselves if None.
        guard, method, init, seed, precision: As `match_patches` takes them.

    Returns:
        Features with the hole replaced; known cells are bit-equal to the input's. Where
        no known window exists the features come back as they came.

    Raises:
        ValueError: shapes disagree, the map is smaller than a patch, or an option is none.
    """
    if keys is not None and (len(keys), *keys.shape[2:]) != (len(features), *features.shape[2:]):
        raise ValueError(
            f"keys are {_shape(keys)} and features {_shape(features)}:"
            " encode both from images of one size and number"
        )
    indices = match_patches(
        features if keys is None else keys,
        mask,
        guard=guard,
        method=method,
        init=init,
        seed=seed,
        precision=precision,
    )
    return paste_patches(features, indices, mask)


@torch.no_grad()
def match_patches(
    keys: Float[Tensor, "B C h w"],
    mask: Float[Tensor, "B 1 H W"] | Bool[Tensor, "B 1 H W"],
    *,
    guard: int = 0,
    method: Method = "exact",
    init: Int64[Tensor, "B h-2 w-2"] | None = None,
    seed: int = 0,
    precision: Precision = "float32",
) -> Int64[Tensor, "B h-2 w-2"]:
    """Find, for every window that touches the hole, the most similar window without hole.

    Similarity is the normalised cross-correlation <p, q> / (|p| |q|); |p| is the same
    for all candidates and left out (paper section 3.3, equation of d(p, p')).

    Args:
        keys: What is compared, in any floating type; compared in float32. Values that are
            not finite count as 0, and windows with one are not copied while there are others.
        mask: 1 or true = hole, at image size: a whole multiple of the map's size.
        guard: Cells around the hole that are no candidates either, at least 0. With too few
            known cells for it the guard shrinks, at last to 0.
        method: "exact", "approximate", or "auto": exact where that is affordable
            (`kintsugi.models.match.search`).
        init: Where the approximate search starts: indices on this map's own grid, as
            `kintsugi.models.match.approximate.upsample_matches` carries them up.
        seed: Decides every random choice of the approximate search.
        precision: What the exact search multiplies in; changes its speed, not its answer.

    Returns:
        Per window the index ``row * (w - 2) + column`` of its match, or -1 where the
        window keeps its content: it does not touch the hole, or nothing is known. Among
        equals the exact search takes the lowest index.

    Raises:
        ValueError: shapes disagree, the map is smaller than a patch, or an option is none.
    """
    height, width = keys.shape[-2:]
    if min(height, width) < PATCH:
        raise ValueError(f"feature map is {width}x{height}: a patch needs {PATCH}x{PATCH} cells")
    check_options(method=method, precision=precision)
    if guard < 0:
        raise ValueError(f"guard={guard}: give 0 cells or more")
    if init is not None:
        _check_indices("init", init, keys)
    hole = hole_of(mask, keys)
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
                seed=seed,
                precision=precision,
            )
    return matches


def paste_patches(
    features: Float[Tensor, "B C h w"],
    indices: Int64[Tensor, "B h-2 w-2"],
    mask: Float[Tensor, "B 1 H W"] | Bool[Tensor, "B 1 H W"],
) -> Float[Tensor, "B C h w"]:
    """Copy matched windows over the hole and average where they overlap.

    Differentiable with respect to the copied values. Known cells are untouched, and the
    answer lies in memory as the features do.

    Raises:
        ValueError: shapes disagree.
    """
    hole = hole_of(mask, features)
    _check_indices("indices", indices, features)
    answer = features.clone()
    for item in range(len(features)):
        cells = features[item].flatten(1)
        for row, column in _split(hole[item]):
            source, given = _sources(indices[item], row, column)
            covered = given.any(0)
            mean = _mean_of(cells, source[:, covered], given[:, covered])
            answer[item, :, row[covered], column[covered]] = mean.to(features.dtype)
    return answer


def hole_of(mask: Tensor, features: Float[Tensor, "B C h w"]) -> Bool[Tensor, "B h w"]:
    """The hole's cells. Raises: ValueError when the mask is not of these features."""
    if mask.shape[:-2] != (len(features), 1):
        raise ValueError(
            f"mask is {_shape(mask)} and features {_shape(features)}: give a mask of"
            f" {len(features)}x1xHxW, one channel for each item (expand() repeats one)"
        )
    return hole_cells(mask, *features.shape[-2:])[:, 0] > 0


def _check_indices(name: str, indices: Tensor, features: Float[Tensor, "B C h w"]) -> None:
    """Raises: ValueError when there is not one index for each window."""
    batch, _, height, width = features.shape
    wanted = (batch, height - PATCH + 1, width - PATCH + 1)
    if indices.shape != wanted:
        raise ValueError(
            f"{name} are {_shape(indices)} and features {_shape(features)}: give"
            f" {'x'.join(map(str, wanted))}, one for each window (`upsample_matches`"
            " carries indices to another size)"
        )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


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
