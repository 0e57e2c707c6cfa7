"""Sketches of windows: how near their products are to the similarities."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.match.sketch import SKETCH_SIZE, principal_directions, sketch_windows
from kintsugi.models.match.windows import Search


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def search_of(channels: int) -> Search:
    """Two maps; some windows of each."""
    maps = [torch.randn(channels, *size, generator=generator()) for size in ((14, 11), (12, 17))]
    grids = [torch.rand(m.shape[1] - 2, m.shape[2] - 2, generator=generator()) < 0.4 for m in maps]
    return Search(maps[0], maps[1], grids[0], grids[1])


def unit_windows(keys: Tensor, where: Tensor) -> Tensor:
    windows = keys.unfold(1, 3, 1).unfold(2, 3, 1)[:, where].transpose(0, 1).flatten(1)
    return windows / windows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("budget", [1, 4000, 2**20])
def test_of_few_channels_nothing_is_lost(budget: int) -> None:
    search = search_of(7)
    sketches = sketch_windows(search, generator=generator(), budget=budget)
    queries = unit_windows(search.query_keys, search.queries)
    candidates = unit_windows(search.candidate_keys, search.candidates)
    torch.testing.assert_close(
        sketches.queries @ sketches.candidates.T, queries @ candidates.T, rtol=0, atol=1e-5
    )


def test_products_follow_the_similarities_of_windows_with_more_channels() -> None:
    search = search_of(7)
    # 40 channels that are mixed from 7, and a little noise.
    mix = torch.randn(40, 7, generator=generator())
    query_keys, candidate_keys = (
        torch.einsum("kc,chw->khw", mix, keys)
        + 0.1 * torch.randn(40, *keys.shape[1:], generator=generator())
        for keys in (search.query_keys, search.candidate_keys)
    )
    search = Search(query_keys, candidate_keys, search.queries, search.candidates)
    sketches = sketch_windows(search, generator=generator(), budget=2**20)
    assert sketches.queries.shape == (int(search.queries.sum()), SKETCH_SIZE)
    similarity = unit_windows(query_keys, search.queries) @ (
        unit_windows(candidate_keys, search.candidates).T
    )
    error = (sketches.queries @ sketches.candidates.T - similarity).abs()
    assert error.max() < 0.05


def test_zero_windows_have_zero_sketches() -> None:
    keys = torch.zeros(5, 6, 6)
    search = Search(keys, keys, torch.ones(4, 4) > 0, torch.ones(4, 4) > 0)
    sketches = sketch_windows(search, generator=generator(), budget=2**20)
    assert torch.equal(sketches.queries, torch.zeros_like(sketches.queries))


def test_principal_directions_hold_the_largest_eigenvalues() -> None:
    values = 0.7 ** torch.arange(30)
    turn = torch.linalg.qr(torch.randn(30, 30, generator=generator())).Q
    moments = turn * values @ turn.T
    found = principal_directions(moments, 6, generator())
    torch.testing.assert_close(found.T @ found, torch.eye(6), rtol=0, atol=1e-5)
    held = torch.trace(found.T @ moments @ found)
    assert held == pytest.approx(float(values[:6].sum()), rel=0.01)
