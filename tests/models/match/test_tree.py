"""Leaves of alike vectors and the search in them."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.match import tree
from kintsugi.models.match.tree import grow_leaves, rows_of, search_leaves

BUDGET = 2**20


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def clustered(count: int) -> Tensor:
    """Vectors around 20 centres, far from one another."""
    centres = torch.randn(20, 16, generator=generator()) * 10
    which = torch.arange(count) % 20
    return centres[which] + torch.randn(count, 16, generator=generator())


@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, 1000, 4097])
def test_every_vector_is_in_a_leaf(count: int) -> None:
    leaves = grow_leaves(clustered(count), generator=generator(), budget=BUDGET)
    assert leaves.members.shape[1] <= tree.LEAF_SIZE
    assert torch.equal(leaves.members.unique(), torch.arange(count))
    # Only what is needed to fill the leaves up stands twice.
    assert leaves.members.numel() - count < len(leaves.members)
    torch.testing.assert_close(leaves.means, clustered(count)[leaves.members].mean(1))


def test_a_leaf_holds_alike_vectors() -> None:
    vectors = clustered(4000)
    leaves = grow_leaves(vectors, generator=generator(), budget=BUDGET)
    within = vectors[leaves.members].var(dim=1).mean()
    assert within < vectors.var(dim=0).mean() / 4


def test_equal_vectors_have_no_direction_and_do_no_harm() -> None:
    leaves = grow_leaves(torch.ones(1000, 4), generator=generator(), budget=BUDGET)
    assert torch.equal(leaves.means, torch.ones_like(leaves.means))


def test_of_every_leaf_looked_into_the_nearest_is_found() -> None:
    vectors, queries = clustered(1000), clustered(77)
    leaves = grow_leaves(vectors, generator=generator(), budget=BUDGET)
    # Eight leaves; all are looked into.
    assert len(leaves.members) == tree.PROBES
    places, scores = search_leaves(queries, vectors, leaves, budget=BUDGET)
    best, index = (queries @ vectors.T).max(dim=1)
    torch.testing.assert_close(scores.amax(1), best)
    products = (vectors[places] @ queries[..., None])[..., 0]
    torch.testing.assert_close(products, scores, rtol=1e-5, atol=1e-3)
    assert torch.equal(places.gather(1, scores.argmax(1, keepdim=True))[:, 0], index)


def test_the_leaves_most_alike_are_looked_into() -> None:
    vectors, queries = clustered(8000), clustered(500)
    leaves = grow_leaves(vectors, generator=generator(), budget=BUDGET)
    _, scores = search_leaves(queries, vectors, leaves, budget=BUDGET)
    best = (queries @ vectors.T).amax(1)
    # Eight of 64 leaves: most find the best there is.
    assert torch.isclose(scores.amax(1), best).float().mean() > 0.9


@pytest.mark.parametrize("budget", [1, 50_000])
def test_the_budget_changes_nothing(budget: int) -> None:
    vectors, queries = clustered(900), clustered(70)
    leaves = grow_leaves(vectors, generator=generator(), budget=BUDGET)
    less = grow_leaves(vectors, generator=generator(), budget=budget)
    assert torch.equal(less.members, leaves.members)
    places, _ = search_leaves(queries, vectors, leaves, budget=BUDGET)
    assert torch.equal(search_leaves(queries, vectors, leaves, budget=budget)[0], places)


def test_rows_of_is_indexing() -> None:
    table, rows = clustered(30), torch.tensor([[[3, 0], [29, 3]]])
    assert torch.equal(rows_of(table, rows), table[rows])
