"""Similarity of given pairs against its definition."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.match.similarity import similarities
from kintsugi.models.match.windows import Search


def window(keys: Tensor, index: int) -> Tensor:
    row, column = divmod(index, keys.shape[2] - 2)
    return keys[:, row : row + 3, column : column + 3].flatten().double()


# Channels: fewer than a slice, one slice and a part, two whole ones.
@pytest.mark.parametrize("channels", [1, 40, 64])
@pytest.mark.parametrize("budget", [1, 2**20])
@pytest.mark.parametrize("same", [True, False])
def test_is_the_normalised_cross_correlation(channels: int, budget: int, same: bool) -> None:
    random = torch.Generator().manual_seed(channels)
    query_keys = torch.randn(channels, 7, 9, generator=random)
    keys = query_keys if same else torch.randn(channels, 6, 5, generator=random)
    every = [torch.ones(k.shape[1] - 2, k.shape[2] - 2) > 0 for k in (query_keys, keys)]
    queries = torch.randint(every[0].numel(), (20,), generator=random)
    matches = torch.randint(every[1].numel(), (20, 3), generator=random)
    found = similarities(Search(query_keys, keys, *every), queries, matches, budget=budget)
    for query, row, values in zip(queries.tolist(), matches.tolist(), found, strict=True):
        p = window(query_keys, query)
        for match, value in zip(row, values.tolist(), strict=True):
            q = window(keys, match)
            assert value == pytest.approx(float(p @ q / (p.norm() * q.norm())), abs=1e-5)


def test_zero_windows_are_like_nothing() -> None:
    keys = torch.zeros(3, 5, 5)
    search = Search(keys, keys, torch.ones(3, 3) > 0, torch.ones(3, 3) > 0)
    found = similarities(search, torch.tensor([0]), torch.tensor([[4]]), budget=2**20)
    assert found.item() == 0
