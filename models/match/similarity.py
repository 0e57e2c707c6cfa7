"""Similarity of given pairs of windows, by all channels in float32; searches nothing."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from kintsugi.models.match.tree import rows_of
from kintsugi.models.match.windows import PATCH, Search, window_norms

# Channels that are compared at one time; fixed, so that no budget changes a sum.
_CHANNELS_AT_ONCE = 32


def similarities(
    search: Search, queries: Int64[Tensor, " Q"], matches: Int64[Tensor, "Q k"], *, budget: int
) -> Float[Tensor, "Q k"]:
    """Normalised cross-correlation of each query with each of its k matches.

    Args:
        search: The keys; which windows are queries or candidates does not matter here.
        queries: Indices of windows in the grid of the queries.
        matches: Indices of windows in the grid of the candidates.
        budget: Bytes for one chunk of queries. A slice of the channels with the channels
            last takes 128 more a cell.
    """
    query_width, width = search.query_keys.shape[2], search.candidate_keys.shape[2]
    query_cells = _cells_of(queries, query_width)
    # 9 cells of the query and of each match, and the numbers of each cell.
    row_bytes = 4 * PATCH**2 * _CHANNELS_AT_ONCE * (matches.shape[1] + 1)
    at_once = max(1, budget // row_bytes)
    chunks = [slice(start, start + at_once) for start in range(0, len(queries), at_once)]
    products = torch.zeros(matches.shape, device=matches.device)
    for first in range(0, len(search.query_keys), _CHANNELS_AT_ONCE):
        channels = slice(first, first + _CHANNELS_AT_ONCE)
        query_keys = search.query_keys[channels].flatten(1).T.contiguous()
        keys = query_keys
        if search.candidate_keys is not search.query_keys:
            keys = search.candidate_keys[channels].flatten(1).T.contiguous()
        for chunk in chunks:
            query = rows_of(query_keys, query_cells[chunk]).flatten(1)
            match = rows_of(keys, _cells_of(matches[chunk], width)).flatten(2)
            products[chunk] += (match @ query[..., None])[..., 0]
    query_norms = _norms(search.query_keys, budget)
    norms = query_norms
    if search.candidate_keys is not search.query_keys:
        norms = _norms(search.candidate_keys, budget)
    return products / query_norms[queries, None] / norms[matches]


def _norms(keys: Float[Tensor, "C h w"], budget: int) -> Float[Tensor, " n"]:
    """`window_norms` of every window in reading order, in bands of rows."""
    channels, height, width = keys.shape
    rows = max(1, budget // (4 * channels * width) - 2)
    bands = [
        window_norms(keys[:, top : top + rows + PATCH - 1]).flatten()
        for top in range(0, height - PATCH + 1, rows)
    ]
    return torch.cat(bands)


def _cells_of(windows: Int64[Tensor, "*n"], width: int) -> Int64[Tensor, "*n 9"]:
    """The nine cells of each window on a map of this width."""
    offsets = torch.arange(PATCH, device=windows.device)
    offsets = (offsets[:, None] * width + offsets).flatten()
    first = windows // (width - 2) * width + windows % (width - 2)
    return first[..., None] + offsets
