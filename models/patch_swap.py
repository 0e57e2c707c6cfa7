"""Match: replace each feature patch over the hole by its nearest known one; no weights.

Shapes: B batch, C channels, h w feature cells; windows and their indices as in
`models.windows`. The searches are `models.exact_match` and `models.approximate_match`.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from models.exact_match import nearest_exact
from models.windows import KEPT, PATCH, Search, candidate_windows, hole_cells, windows_touching


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
    return torch.stack(
        [
            _match_one(item.float(), cells[0] > 0, guard=guard, memory_budget=memory_budget)
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


def _match_one(
    keys: Float[Tensor, "C h w"], hole: Tensor, *, guard: int, memory_budget: int | None
) -> Int64[Tensor, "h-2 w-2"]:
    search = Search(keys, keys, windows_touching(hole), candidate_windows(hole, guard))
    if not search.queries.any() or not search.candidates.any():
        return torch.full_like(search.queries, KEPT, dtype=torch.int64)
    return nearest_exact(search, memory_budget=memory_budget)
