"""Leaves of alike vectors, and the search for a vector's nearest in the leaves most like it.

Knows vectors only, nothing of windows or maps. Similarity is the inner product. Shapes:
N vectors to be found, Q that ask, D numbers each; K leaves of M members.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

# Members of a leaf at most: one product with all of them is still cheap.
LEAF_SIZE = 128
# Leaves that each query looks into. Twice as many came 0.001 to 0.005 closer to the exact
# matches of photographs (1 is all the way), in a tenth more time.
PROBES = 8
# Members from which a group's main direction is found, and steps of finding it.
_SAMPLES = 64
_STEPS = 4
# Queries that share one product with a leaf.
_TILE = 32


@dataclass(frozen=True)
class Leaves:
    """N vectors in K groups of equal size; a few vectors stand in two groups to fill up.

    Attributes:
        members: Rows of the vectors.
        means: Mean of each leaf's vectors.
    """

    members: Int64[Tensor, "K M"]
    means: Float[Tensor, "K D"]


def grow_leaves(
    vectors: Float[Tensor, "N D"], *, generator: torch.Generator, budget: int
) -> Leaves:
    """Halve the vectors along their main direction until the groups are small.

    Args:
        vectors: At least one.
        generator: Where the main directions start; on the CPU.
        budget: Bytes for what is gathered of the vectors at one time.
    """
    count, size = vectors.shape
    levels = 0
    while LEAF_SIZE << levels < count:
        levels += 1
    # As many for every leaf: some of the first stand at the end again.
    order = torch.arange(-(-count // 2**levels) * 2**levels, device=vectors.device) % count
    for level in range(levels):
        groups = order.reshape(2**level, -1)
        start = torch.randn(len(groups), size, generator=generator).to(vectors)
        direction = _main_directions(vectors, groups, start, budget)
        along = _along(vectors, groups, direction, budget)
        order = groups.gather(1, along.argsort(dim=1, stable=True))
    members = order.reshape(2**levels, -1)
    at_once = max(1, budget // (4 * size * members.shape[1]))
    means = torch.cat([rows_of(vectors, part).mean(1) for part in torch.split(members, at_once)])
    return Leaves(members, means)


def search_leaves(
    queries: Float[Tensor, "Q D"], vectors: Float[Tensor, "N D"], leaves: Leaves, *, budget: int
) -> tuple[Int64[Tensor, "Q P"], Float[Tensor, "Q P"]]:
    """The nearest vector in each of the leaves whose means are nearest.

    Returns: Rows of the vectors and their inner products, one of each leaf looked into.
    """
    probes = min(PROBES, len(leaves.means))
    at_once = max(1, budget // (4 * len(leaves.means)))
    chosen = torch.cat(
        [
            (part @ leaves.means.T).topk(probes, dim=1).indices
            for part in torch.split(queries, at_once)
        ]
    ).flatten()
    leaf, pairs = _tiles(chosen, len(leaves.means))
    best = torch.empty_like(chosen)
    score = queries.new_empty(len(chosen))
    size = leaves.members.shape[1]
    at_once = max(1, budget // (4 * (queries.shape[1] * (_TILE + size) + _TILE * size)))
    for pair, part in zip(torch.split(pairs, at_once), torch.split(leaf, at_once), strict=True):
        members = leaves.members[part]
        value, index = (rows_of(queries, pair // probes) @ rows_of(vectors, members).mT).max(dim=2)
        best[pair] = members.gather(1, index)
        score[pair] = value
    return best.reshape(-1, probes), score.reshape(-1, probes)


def rows_of(table: Float[Tensor, "n D"], rows: Int64[Tensor, "*m"]) -> Float[Tensor, "*m D"]:
    """``table[rows]``, several times as fast on the CPU; no row may be negative."""
    return F.embedding(rows, table)


def _main_directions(
    vectors: Float[Tensor, "N D"], groups: Int64[Tensor, "g m"], start: Tensor, budget: int
) -> Float[Tensor, "g D"]:
    """Each group's direction of largest variance, nearly: some steps from ``start``."""
    spaced = groups[:, :: max(1, groups.shape[1] // _SAMPLES)][:, :_SAMPLES]
    at_once = max(1, budget // (2 * 4 * vectors.shape[1] * spaced.shape[1]))
    found = []
    for group, direction in zip(
        torch.split(spaced, at_once), torch.split(start, at_once), strict=True
    ):
        sample = rows_of(vectors, group)
        sample = sample - sample.mean(1, keepdim=True)
        turned = direction[..., None]
        for _ in range(_STEPS):
            turned = sample.mT @ (sample @ turned)
            # All members may be equal: then there is no direction, and any order will do.
            turned = turned / turned.norm(dim=1, keepdim=True).clamp_min(1e-30)
        found.append(turned[..., 0])
    return torch.cat(found)


def _along(
    vectors: Float[Tensor, "N D"],
    groups: Int64[Tensor, "g m"],
    direction: Float[Tensor, "g D"],
    budget: int,
) -> Float[Tensor, "g m"]:
    """How far each member lies along its group's direction."""
    owner = torch.arange(len(groups), device=groups.device).repeat_interleave(groups.shape[1])
    at_once = max(1, budget // (3 * 4 * vectors.shape[1]))
    pieces = zip(torch.split(groups.flatten(), at_once), torch.split(owner, at_once), strict=True)
    return torch.cat(
        [(rows_of(vectors, rows) * rows_of(direction, group)).sum(1) for rows, group in pieces]
    ).reshape(groups.shape)


def _tiles(
    chosen: Int64[Tensor, " n"], count: int
) -> tuple[Int64[Tensor, " t"], Int64[Tensor, "t T"]]:
    """Those who chose the same of ``count`` leaves, in tiles of equal size.

    Returns: Per tile its leaf and the places in ``chosen``; a tile that is not full
    repeats its leaf's last.
    """
    order = chosen.argsort(stable=True)
    asked = torch.bincount(chosen, minlength=count)
    tiles = (asked + _TILE - 1) // _TILE
    leaf = torch.repeat_interleave(tiles)
    number = torch.arange(len(leaf), device=leaf.device) - (tiles.cumsum(0) - tiles)[leaf]
    within = number[:, None] * _TILE + torch.arange(_TILE, device=leaf.device)
    within = torch.minimum(within, asked[leaf, None] - 1)
    return leaf, order[(asked.cumsum(0) - asked)[leaf, None] + within]
