"""Agreement with the best matches: 1 for them, 0 for random ones, on a sample all the same."""

import pytest
import torch

from kintsugi.benchmarks.match import quality
from kintsugi.benchmarks.match.quality import compare_matches
from kintsugi.models.match.approximate import random_matches
from kintsugi.models.match.windows import Search, candidate_windows, windows_touching
from kintsugi.models.paper import patch_swap as published_swap


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.rand(1, 8, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def mask() -> torch.Tensor:
    mask = torch.zeros(1, 1, 24, 24)
    mask[..., 8:16, 8:16] = 1
    return mask


def test_the_best_are_1_and_random_ones_0(features: torch.Tensor, mask: torch.Tensor) -> None:
    hole = mask[0, 0] > 0
    search = Search(features[0], features[0], windows_touching(hole), candidate_windows(hole, 0))
    best = published_swap(features, mask)[1][0]
    matches = {"best": best, "random": random_matches(search, 7)}
    agreements, count = compare_matches(features, mask, matches)
    assert count == int(search.queries.sum())
    assert agreements["best"].same_winners == 1
    assert agreements["best"].quality == pytest.approx(1, abs=1e-4)
    assert agreements["random"].same_winners < 0.1
    assert abs(agreements["random"].quality) < 0.3


def test_of_many_queries_a_sample_is_compared(
    features: torch.Tensor, mask: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "SAMPLE_PRODUCTS", 0)
    best = published_swap(features, mask)[1][0]
    # What lies outside the sample is not looked at.
    agreements, count = compare_matches(features, mask, {"best": best})
    assert count == quality.SMALLEST_SAMPLE
    assert agreements["best"].same_winners == 1
    assert agreements["best"].quality == pytest.approx(1, abs=1e-4)
