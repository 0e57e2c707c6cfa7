"""Patch-swap as the paper describes it, in plain float64 loops; shares nothing with models/.

Every 3x3 patch that touches the hole is replaced by the patch of the known region with
the highest normalised cross-correlation <p, q> / (|p| |q|); overlaps are averaged.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def cells_of(mask: Array, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Mask (H W) to cells: a cell with any hole pixel is hole."""
    stride = mask.shape[0] // height
    cells = np.zeros((height, width), dtype=bool)
    for row in range(height):
        for column in range(width):
            box = mask[row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
            cells[row, column] = box.max() > 0
    return cells


def windows_within(allowed: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Top-left cells of the windows that hold allowed cells only."""
    height, width = allowed.shape
    return [
        (row, column)
        for row in range(height - 2)
        for column in range(width - 2)
        if allowed[row : row + 3, column : column + 3].all()
    ]


def far_from(hole: npt.NDArray[np.bool_], distance: int) -> npt.NDArray[np.bool_]:
    """Cells whose square neighbourhood of this radius holds no hole cell."""
    height, width = hole.shape
    return np.array(
        [
            [
                not hole[
                    max(0, row - distance) : row + distance + 1,
                    max(0, column - distance) : column + distance + 1,
                ].any()
                for column in range(width)
            ]
            for row in range(height)
        ]
    )


def candidates_of(hole: npt.NDArray[np.bool_], guard: int) -> list[tuple[int, int]]:
    """Known windows, ``guard`` cells off the hole; the guard shrinks until some are left."""
    for distance in range(guard, -1, -1):
        found = windows_within(far_from(hole, distance))
        if found:
            return found
    return []


def score_table(
    keys: Array, hole: npt.NDArray[np.bool_], guard: int
) -> dict[tuple[int, int], dict[tuple[int, int], float]]:
    """Normalised cross-correlation of every query (C h w keys) with every candidate."""

    def patch(place: tuple[int, int]) -> Array:
        row, column = place
        values: Array = keys[:, row : row + 3, column : column + 3].ravel()
        norm = np.sqrt(values @ values)
        return values / norm if norm > 0 else values

    everywhere = windows_within(np.ones_like(hole))
    known = set(windows_within(~hole))
    queries = [place for place in everywhere if place not in known]
    candidates = candidates_of(hole, guard)
    units = {place: patch(place) for place in everywhere}
    return {
        query: {place: float(units[query] @ units[place]) for place in candidates}
        for query in queries
    }


def nearest_in(scores: dict[tuple[int, int], float]) -> tuple[int, int]:
    """The best candidate; they stand in reading order, and max keeps the first of equals."""
    return max(scores, key=lambda place: scores[place])


def swap(features: Array, keys: Array, mask: Array, *, guard: int) -> Array:
    """One map, features and keys C h w, mask H W."""
    _, height, width = features.shape
    hole = cells_of(mask, height, width)
    table = score_table(keys, hole, guard)
    table = {query: scores for query, scores in table.items() if scores}
    if not table:
        return features.copy()
    matches = {query: nearest_in(scores) for query, scores in table.items()}
    total = np.zeros_like(features)
    count = np.zeros((height, width))
    for (row, column), (source_row, source_column) in matches.items():
        patch = features[:, source_row : source_row + 3, source_column : source_column + 3]
        total[:, row : row + 3, column : column + 3] += patch
        count[row : row + 3, column : column + 3] += 1
    answer = features.copy()
    for row in range(height):
        for column in range(width):
            if hole[row, column] and count[row, column]:
                answer[:, row, column] = total[:, row, column] / count[row, column]
    return answer


def swap_batch(
    features: Array,
    mask: Array,
    *,
    keys: Array | None = None,
    guard: int = 0,
) -> Array:
    """Features B C h w, mask B 1 H W."""
    compared = features if keys is None else keys
    return np.stack(
        [swap(*item, guard=guard) for item in zip(features, compared, mask[:, 0], strict=True)]
    )
