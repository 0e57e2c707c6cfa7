"""The published form equals the paper's loops on small maps, and the reference finds the best."""

import numpy as np
import pytest
import torch

from kintsugi.benchmarks.match.reference import (
    plain_winners,
    same_winners,
    windows_at,
)
from kintsugi.models.match.windows import Search, candidate_windows, windows_touching
from kintsugi.models.paper import patch_swap as published_swap
from tests.models.naive_patch_swap import score_table, swap_batch


def features_of(height: int, width: int) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height))


def mask_of(height: int, width: int, box: tuple[int, int, int, int]) -> torch.Tensor:
    mask = torch.zeros(1, 1, height, width)
    top, bottom, left, right = box
    mask[..., top:bottom, left:right] = 1
    return mask


CASES = [(9, 11, (3, 6, 4, 8)), (8, 8, (0, 4, 0, 5)), (10, 6, (4, 5, 0, 6))]


@pytest.mark.parametrize(("height", "width", "box"), CASES)
def test_the_published_form_is_the_papers(
    height: int, width: int, box: tuple[int, int, int, int]
) -> None:
    features, mask = features_of(height, width), mask_of(height, width, box)
    swapped, _ = published_swap(features, mask)
    naive = swap_batch(features.double().numpy(), mask.double().numpy())
    assert np.abs(swapped.numpy() - naive).max() < 1e-5
    # Not merely: nothing was changed.
    assert not torch.equal(swapped, features)


@pytest.mark.parametrize(("height", "width", "box"), CASES)
def test_winners_are_the_papers(height: int, width: int, box: tuple[int, int, int, int]) -> None:
    features, mask = features_of(height, width), mask_of(height, width, box)
    hole = mask[0, 0] > 0
    search = Search(features[0], features[0], windows_touching(hole), candidate_windows(hole, 0))
    table = score_table(features[0].double().numpy(), hole.numpy(), 0)
    expected = torch.full((height - 2, width - 2), -1)
    for (row, column), scores in table.items():
        best = max(scores, key=lambda place: scores[place])
        expected[row, column] = best[0] * (width - 2) + best[1]
    assert torch.equal(published_swap(features, mask)[1][0], expected)
    assert torch.equal(plain_winners(search), expected)


def test_another_winner_counts_as_the_same_only_when_as_similar() -> None:
    keys = features_of(6, 12)[0]
    # The windows in columns 0 and 9 are equal.
    keys[..., 9:] = keys[..., :3]
    queries, candidates = torch.zeros(2, 4, 10, dtype=torch.bool)
    queries[1, 5] = True
    candidates[0, [0, 4, 9]] = True
    keys[:, 1:4, 5:8] = 2 * keys[:, 0:3, 0:3]
    search = Search(keys, keys, queries, candidates)
    best = plain_winners(search)
    assert best[1, 5] == 0
    assert same_winners(search, torch.where(queries, 9, -1), best) == 1
    assert same_winners(search, torch.where(queries, 4, -1), best) == 0


def test_what_is_no_candidate_never_wins() -> None:
    keys = torch.ones(1, 3, 8)
    keys[..., 5:] = -1
    queries, candidates = torch.zeros(2, 1, 6, dtype=torch.bool)
    queries[0, 0] = candidates[0, 5] = True
    assert plain_winners(Search(keys, keys, queries, candidates))[0, 0] == 5


def test_windows_at_cuts_where_it_says() -> None:
    keys = torch.arange(2 * 5 * 6.0).reshape(2, 5, 6)
    cut = windows_at(keys, torch.tensor([[0, 0], [2, 3]]))
    assert torch.equal(cut[1], keys[:, 2:5, 3:6])


def test_no_known_window_is_said() -> None:
    with pytest.raises(ValueError, match="leave more of it known"):
        published_swap(features_of(5, 5), mask_of(5, 5, (1, 4, 1, 4)))
