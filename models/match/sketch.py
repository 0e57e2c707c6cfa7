"""Sketches: windows as short vectors whose products are near their similarity; no search.

A window of 256 channels has 2304 numbers; what distinguishes windows lies in far fewer
directions. Shapes: C channels, h w feature cells, D numbers of a sketch; windows as in
`kintsugi.models.match.windows`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.windows import PATCH, SMALLEST_NORM, Search, window_norms

# On relu3_1 of photographs the best match among the four best by 64 numbers came 0.99 of
# the way from a random one to the exact one, by 32 numbers 0.97 to 0.99.
SKETCH_SIZE = 64
# Channels that are left of each cell before windows are looked at.
_CELL_SIZE = 64
# Windows from which the directions are found, and steps of finding them.
_SAMPLES = 2048
_STEPS = 6


@dataclass(frozen=True)
class Sketches:
    """One row per query and per candidate, in reading order of the windows.

    Attributes:
        queries: Q D, float32.
        candidates: N D, float32. ``queries @ candidates.T`` is near the similarities.
    """

    queries: Float[Tensor, "Q D"]
    candidates: Float[Tensor, "N D"]


def sketch_windows(search: Search, *, generator: torch.Generator, budget: int) -> Sketches:
    """Sketch the queries and the candidates of a search.

    The directions are the principal ones of the search's own windows (not centred: the
    products are to be kept, not the distances), first of cells, then of windows of what
    is left of the cells.

    Args:
        search: Keys of queries and candidates.
        generator: Chooses the windows that are looked at; on the CPU.
        budget: Bytes for one band of rows; sketches themselves take 4 D a window.
    """
    sides = (
        (search.query_keys, search.queries),
        (search.candidate_keys, search.candidates),
    )
    picked = [_pick(where, generator) for _, where in sides]
    units = torch.cat(
        [_unit_windows(keys, index) for (keys, _), index in zip(sides, picked, strict=True)]
    )
    channels = units.shape[1]
    cells = units.transpose(1, 2).reshape(-1, channels)
    cell_basis = principal_directions(cells.T @ cells, min(_CELL_SIZE, channels), generator)
    short = (units.transpose(1, 2) @ cell_basis).transpose(1, 2).flatten(1)
    basis = principal_directions(short.T @ short, min(SKETCH_SIZE, short.shape[1]), generator)
    filters = basis.T.reshape(-1, cell_basis.shape[1], PATCH, PATCH)
    queries, candidates = (
        _project(keys, where, cell_basis, filters, budget) for keys, where in sides
    )
    return Sketches(queries, candidates)


def principal_directions(
    moments: Float[Tensor, "n n"], count: int, generator: torch.Generator
) -> Float[Tensor, "n count"]:
    """Orthonormal directions that hold nearly the most of a symmetric matrix of moments.

    By subspace iteration: a few products, where all eigenvectors would take seconds.
    """
    start = torch.randn(len(moments), count, generator=generator).to(moments)
    directions: Tensor = torch.linalg.qr(start).Q
    for _ in range(_STEPS):
        directions = torch.linalg.qr(moments @ directions).Q
    return directions


def _pick(where: Bool[Tensor, "rows columns"], generator: torch.Generator) -> Tensor:
    """Some of the true windows, drawn with repeats: their indices."""
    windows = where.flatten().nonzero().flatten()
    count = min(_SAMPLES // 2, len(windows))
    return windows[torch.randint(len(windows), (count,), generator=generator).to(where.device)]


def _unit_windows(keys: Float[Tensor, "C h w"], index: Tensor) -> Float[Tensor, "n C 9"]:
    """Windows scaled to length 1."""
    channels, _, width = keys.shape
    row, column = index // (width - 2), index % (width - 2)
    offsets = torch.arange(PATCH, device=keys.device)
    rows = row[:, None, None] + offsets[:, None]
    columns = column[:, None, None] + offsets
    windows = keys.flatten(1)[:, (rows * width + columns).flatten()]
    windows = windows.reshape(channels, len(index), PATCH**2).transpose(0, 1)
    norms = torch.linalg.vector_norm(windows, dim=(1, 2), keepdim=True)
    units: Tensor = windows / norms.clamp_min(SMALLEST_NORM)
    return units


def _project(
    keys: Float[Tensor, "C h w"],
    where: Bool[Tensor, "h-2 w-2"],
    cell_basis: Tensor,
    filters: Tensor,
    budget: int,
) -> Float[Tensor, "n D"]:
    """Sketches of the true windows, in bands of rows."""
    channels, height, width = keys.shape
    size = len(filters)
    counts = where.sum(1).tolist()
    sketches = keys.new_empty(sum(counts), size)
    # Of a band live its reduced cells and, with what the convolution takes, its windows.
    rows_at_once = max(1, budget // (4 * width * (cell_basis.shape[1] + 3 * size)) - 2)
    done = 0
    for top in range(0, height - 2, rows_at_once):
        bottom = min(top + rows_at_once, height - 2)
        if not any(counts[top:bottom]):
            continue
        band = keys[:, top : bottom + 2]
        short = (cell_basis.T @ band.reshape(channels, -1)).reshape(1, -1, *band.shape[1:])
        windows = (F.conv2d(short, filters)[0] / window_norms(band)).permute(1, 2, 0)
        found = windows[where[top:bottom]]
        sketches[done : done + len(found)] = found
        done += len(found)
    return sketches
