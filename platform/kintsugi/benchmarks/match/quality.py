"""How near matches come to the best ones, on a sample of the queries; times nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kintsugi.benchmarks.match.reference import plain_winners, same_winners
from kintsugi.models.match.approximate import mean_similarity, random_matches
from kintsugi.models.match.windows import (
    KEPT,
    PATCH,
    Search,
    candidate_windows,
    hole_cells,
    windows_touching,
)

# Products that finding the sample's winners may take: some seconds on two cores. Up to
# 512 px it is enough for all queries.
SAMPLE_PRODUCTS = 2.5e11
SMALLEST_SAMPLE = 64


@dataclass(frozen=True)
class Agreement:
    """How far one method agrees with the best matches.

    Attributes:
        same_winners: Share of queries with the best match or one as similar, 0-1.
        quality: (mean similarity - random's) / (the best's - random's); 1 is the best.
    """

    same_winners: float
    quality: float


@torch.no_grad()
def compare_matches(
    features: Tensor, mask: Tensor, matches: Mapping[str, Tensor], *, seed: int = 0
) -> tuple[dict[str, Agreement], int]:
    """Compare matches with what plain convolution finds.

    Args:
        features: 1 C h w.
        mask: 1 1 H W, 1 = hole.
        matches: method -> h-2 w-2 indices.
        seed: Decides sample and random matches.

    Returns: method -> agreement, and how many queries were compared.
    """
    hole = hole_cells(mask, *features.shape[-2:])[0, 0] > 0
    queries = windows_touching(hole)
    search = Search(features[0], features[0], queries, candidate_windows(hole, 0))
    sampled = replace(search, queries=_sample(queries, len(features[0]), seed))
    best = plain_winners(sampled)
    floor = mean_similarity(sampled, random_matches(sampled, seed))
    scale = mean_similarity(sampled, best) - floor
    agreements = {}
    for name, indices in matches.items():
        asked = torch.where(sampled.queries, indices, KEPT)
        quality = (mean_similarity(sampled, asked) - floor) / scale if scale > 0 else 1.0
        agreements[name] = Agreement(same_winners(sampled, asked, best), quality)
    return agreements, int(sampled.queries.sum())


def _sample(queries: Tensor, channels: int, seed: int) -> Tensor:
    """Some of the true places, drawn by the seed: as many as are affordable."""
    places = queries.flatten().nonzero().flatten()
    affordable = int(SAMPLE_PRODUCTS / (queries.numel() * PATCH**2 * channels))
    count = min(len(places), max(SMALLEST_SAMPLE, affordable))
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
    chosen = torch.zeros_like(queries.flatten())
    chosen[places[order[:count]]] = True
    return chosen.reshape(queries.shape)
